"""NumPy arrays as tensors."""

import torch

NUMPY_DTYPES = "uint8 uint16 uint32 int8 int16 int32 float16 float32 float64".split()


def check_array(array):
    """TypeError unless it is a plain NumPy array of a dtype that can be denoised."""
    if array.dtype.name not in NUMPY_DTYPES:
        raise TypeError(f"expected an array of {', '.join(NUMPY_DTYPES)}, got {array.dtype}")
    if hasattr(array, "mask"):
        raise TypeError("expected an array without a mask: array.filled(nan) has NaN there, which stay")


def tensor_of(array):
    """The tensor (H, W) or (C, H, W) of a NumPy array (H, W) or (H, W, C), in any order of its bytes. Errors:
    `check_array`."""
    check_array(array)
    native = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    return native if native.dim() == 2 else native.movedim(2, 0)

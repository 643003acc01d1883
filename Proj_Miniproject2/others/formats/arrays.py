"""NumPy arrays as tensors."""

import torch

NUMPY_DTYPES = "uint8 uint16 uint32 int8 int16 int32 float16 float32 float64".split()
WIDE = "int64", "uint64"  # taken where the values are those of 32 bits


def check_array(array):
    """TypeError unless it is a plain NumPy array of a dtype that can be denoised; ValueError for values beyond 32
    bits."""
    if array.dtype.name not in (*NUMPY_DTYPES, *WIDE):
        raise TypeError(f"expected an array of {', '.join(NUMPY_DTYPES)}, got {array.dtype}")
    if hasattr(array, "mask"):
        raise TypeError("expected an array without a mask: array.filled(nan) has NaN there, which stay")
    if array.dtype.name in WIDE and array.size and not narrow(array):
        raise ValueError(f"has values from {array.min()} to {array.max()} in {array.dtype}, more than 32 bits hold")


def narrow(array):
    """The integers of 32 bits in which all values of an array are, if there are such."""
    import numpy as np

    low, high = array.min(), array.max()
    fitting = (dtype for dtype in (np.int32, np.uint32) if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)
    return next(fitting, None)


def as_floats(array):
    """An array of any real numbers as float64. TypeError for others, of which a part would be lost in silence."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected an array of real numbers, got {array.dtype}")
    return array.astype("float64")


def tensor_of(array):
    """The tensor (H, W) or (C, H, W) of a NumPy array (H, W) or (H, W, C), in any order of its bytes; of 32 bits for
    integers of 64. Errors: `check_array`."""
    check_array(array)
    dtype = narrow(array) if array.dtype.name in WIDE else array.dtype.newbyteorder("=")
    # What can't be written over is copied, as torch has no such tensors.
    native = torch.from_numpy(array.astype(dtype, order="C", copy=not array.flags.writeable))
    return native if native.dim() == 2 else native.movedim(2, 0)

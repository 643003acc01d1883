"""What the public functions take: a picture in memory, or several of one shape."""

import contextlib
import functools
import os
import sys

import torch

from ...model import FLOATS
from ..formats.arrays import NUMPY_DTYPES, check_array, tensor_of
from ..formats.pictures import pixels_of

DTYPES = (torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, *FLOATS)
EIGHT_BITS = "L", "LA", "RGB", "RGBA"  # Pillow's modes
MODES = *EIGHT_BITS, "I;16", "I", "F"


def undisturbed(function):
    """The function as it is without what its caller has set: torch.autocast, which rounds, and takes not all dtypes, or
    another default device than the processor, in whose memory pictures are measured."""

    @functools.wraps(function)
    def called(*args, **options):
        elsewhere = torch.get_default_device().type != "cpu"
        here = torch.device("cpu") if elsewhere else contextlib.nullcontext()  # as it costs time in every call of torch
        with torch.autocast("cpu", enabled=False), here:
            return function(*args, **options)

    return called


def axis_of(picture, pages=False):
    """Where a picture, see `denoise`, has its channels: -3 of a tensor, -1 of an array, None of a Pillow image.

    Raises TypeError or ValueError for anything else; pages: whether the first axis should count pictures.
    """
    if is_instance(picture, "PIL.Image", "Image"):
        if pages:
            raise ValueError("a Pillow image is one picture: pages=True goes with arrays and tensors")
        if picture.mode not in MODES:
            raise ValueError(f"expected a Pillow image of mode {', '.join(MODES)}, got {picture.mode}: convert it")
        return None
    if isinstance(picture, torch.Tensor):
        if picture.dtype not in DTYPES or picture.layout != torch.strided or picture.is_meta:
            raise TypeError(f"expected a dense tensor of {', '.join(NUMPY_DTYPES)}, got {picture.dtype}")
        axis, expected = -3, "(H, W) or (C, H, W)"
    elif is_instance(picture, "numpy", "ndarray"):
        check_array(picture)
        axis, expected = -1, "(H, W) or (H, W, C)"
    elif isinstance(picture, (str, os.PathLike)):
        raise TypeError(
            f"expected a picture, got the path {picture}: read it first, as PIL.Image.open or tifffile.imread do, or "
            "run `noise2noise denoise`, which takes files"
        )
    else:
        raise TypeError(f"expected a NumPy array, a tensor or a Pillow image, got {type(picture).__name__}")
    shape = picture.shape[1:] if pages else picture.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[axis] not in (1, 2, 3, 4)) or 0 in picture.shape:
        many = " after the first axis, which counts the pages" if pages else ": pages=True takes several"
        raise ValueError(f"expected a picture {expected}, C from 1 to 4{many}, got {tuple(picture.shape)}")
    return axis


def read(picture):
    """What dask, xarray, zarr and others have for an array, as a NumPy array; all else as it is."""
    own = isinstance(picture, torch.Tensor) or is_instance(picture, "numpy", "ndarray")
    if own or not hasattr(picture, "__array__") or is_instance(picture, "PIL.Image", "Image"):
        return picture
    import numpy as np

    return np.asarray(picture)


def is_instance(thing, module, name):
    """Whether a thing is of a class of a module that may not even be there: who has none of it needs none."""
    return isinstance(thing, getattr(sys.modules.get(module), name, ()))


def tensor_from(picture):
    """One picture of those that `axis_of` takes, as a tensor (H, W) or (C, H, W)."""
    if isinstance(picture, torch.Tensor):
        return picture
    if not is_instance(picture, "PIL.Image", "Image"):
        return tensor_of(picture)
    if picture.mode in EIGHT_BITS:
        return pixels_of(picture)
    import numpy as np

    return tensor_of(np.asarray(picture))

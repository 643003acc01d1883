"""Pictures in memory, denoised: by which weights, in which range, and what stays as it is.

`denoise` is the package's public function; the command of that name does the same with files.
"""

import os
import sys

import torch

from ...model import FLOATS
from ..formats.arrays import NUMPY_DTYPES, check_array
from ..formats.pictures import image_of, in_mode, pixels_of
from .way import denoise_array, denoise_pixels
from .weights import chosen

DTYPES = (torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, *FLOATS)


def denoise(picture, *, weights=None, strength=1, pages=False):
    """A noisy picture, denoised: the same kind of thing, of the same shape, dtype and range.

    Args:
        picture: a NumPy array (H, W) or (H, W, C); a tensor (H, W) or (C, H, W), as torch has them; or a Pillow image
            of mode L, LA, RGB, RGBA, I;16, I or F. C is 1 for grey, 3 for colours, 2 and 4 for these and transparency,
            which stays as it is. Integers of 8, 16 or 32 bits, of 64 where the values fit into 32, floats, or bools.
            What dask, xarray and zarr have for arrays is read, and comes out as a NumPy array, or as a DataArray
        weights: a file of weights of the network photo, as `noise2noise train --shots` and `--singles` write, instead
            of those shipped
        strength: 0 leaves the picture as it is, 1 gives the network's result, values between a blend; 2 denoises the
            result once more
        pages: whether the first axis counts pictures, each denoised by itself: arrays (P, H, W) or (P, H, W, C),
            tensors (P, H, W) or (P, C, H, W)

    The range of uint8 is [0, 255]; there a lone pixel unlike all around it is taken for a dead one. Any other dtype may
    have any range, which is found for each picture by itself, see `noise.ranges.seen`: units and offset don't matter.
    But weights that were trained on measured pictures see all in the range of these, which their file holds, and take
    no others. The picture loses what the network, which doesn't see them so, takes away: hot pixels stay as far above
    what is around them, NaN and infinities stay, and a constant picture stays as it is. Integers are rounded, and end
    where their dtype does.

    Raises TypeError or ValueError for anything else, and for weights of another network; OSError if they can't be read.
    """
    check_strength(strength)
    options = {"weights": weights, "strength": strength, "pages": pages}
    if isinstance(picture, torch.Tensor) and picture.dtype == torch.bool:
        return denoise(picture.to(torch.uint8) * 255, **options) >= 128
    if isinstance(picture, torch.Tensor) and picture.dtype == torch.int64 and picture.layout == torch.strided:
        if bool((picture != picture.to(torch.int32)).any()):
            raise ValueError("has values in int64 that int32 doesn't hold")
        return denoise(picture.to(torch.int32), **options).to(torch.int64)
    if isinstance(picture, torch.Tensor):
        if picture.dtype not in DTYPES or picture.layout != torch.strided or picture.is_meta:
            raise TypeError(f"expected a dense tensor of {', '.join(NUMPY_DTYPES)}, got {picture.dtype}")
        one, axis = denoise_pixels, -3
    elif is_instance(picture, "numpy", "ndarray") and picture.dtype == bool:
        return denoise(picture.astype("uint8") * 255, **options) >= 128
    elif is_instance(picture, "numpy", "ndarray"):
        check_array(picture)
        one, axis = denoise_array, -1
    elif is_instance(picture, "PIL.Image", "Image"):
        if pages:
            raise ValueError("a Pillow image is one picture: pages=True goes with arrays and tensors")
        return denoise_any_image(picture, weights, strength)
    elif isinstance(picture, (str, os.PathLike)):
        raise TypeError(
            f"expected a picture, got the path {picture}: read it first, as PIL.Image.open or tifffile.imread do, or "
            "run `noise2noise denoise`, which takes files"
        )
    elif hasattr(picture, "__array__"):  # of dask, xarray, zarr and others
        import numpy as np

        result = denoise(np.asarray(picture), **options)
        return picture.copy(data=result) if is_instance(picture, "xarray", "DataArray") else result
    else:
        raise TypeError(f"expected a NumPy array, a tensor or a Pillow image, got {type(picture).__name__}")
    shape = picture.shape[1:] if pages else picture.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[axis] not in (1, 2, 3, 4)) or 0 in picture.shape:
        expected = "(H, W) or (H, W, C)" if axis == -1 else "(H, W) or (C, H, W)"
        many = " after the first axis, which counts the pages" if pages else ": pages=True takes several"
        raise ValueError(f"expected a picture {expected}, C from 1 to 4{many}, got {tuple(picture.shape)}")
    models = chosen(weights=weights)
    if not pages:
        return one(models, picture, strength=strength)
    result = picture.detach().clone() if axis == -3 else picture.copy()
    for place, page in enumerate(picture):
        result[place] = one(models, page, strength=strength)
    return result


def denoise_any_image(image, weights, strength):
    """As `denoise`, for a Pillow image."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return denoise_image(chosen(weights=weights), image, strength=strength)
    if image.mode not in ("I;16", "I", "F"):
        raise ValueError(
            f"expected a Pillow image of mode L, LA, RGB, RGBA, I;16, I or F, got {image.mode}: convert it"
        )
    import numpy as np
    from PIL import Image

    result = Image.fromarray(denoise_array(chosen(weights=weights), np.asarray(image), strength=strength))
    result.info, result.format = image.info, image.format
    return result


def is_instance(thing, module, name):
    """Whether a thing is of a class of a module that may not even be there: who has none of it needs none."""
    return isinstance(thing, getattr(sys.modules.get(module), name, ()))


def check_strength(strength):
    if not 0 <= strength <= 2:
        raise ValueError(f"strength must lie in [0, 2], got {strength}")


def denoise_image(models, image, progress=iter, strength=1):
    """What the models make of a Pillow image of mode L, LA, RGB or RGBA: one of the same mode, with the same alpha, and
    with what `write_image` needs. progress: as for `Model.predict`, in each pass."""
    pixels = pixels_of(in_mode(image, image.mode.removesuffix("A")))
    result = image_of(denoise_pixels(models, pixels, progress, strength))
    if image.mode.endswith("A"):
        result.putalpha(image.getchannel("A"))
    result.info, result.format = image.info, image.format
    return result

"""Pictures in memory, denoised: by which weights, in which range, and what stays as it is.

`denoise` is the package's public function; the command of that name does the same with files.
"""

import torch

from ..formats.arrays import as_floats
from ..formats.pictures import image_of, in_mode, pixels_of
from ..noise.estimate import Noise, TooSmall, spread
from .arguments import EIGHT_BITS, axis_of, is_instance, read, tensor_from, undisturbed
from .measuring import noises, told
from .way import colours_of, denoise_array, denoise_pixels
from .weights import chosen


@undisturbed
def denoise(picture, *, weights=None, strength=1, pages=False, noise=None, repair=False, dtype=None):
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
            tensors (P, H, W) or (P, C, H, W). Their noise is estimated once, from 8 of them, if it is the same in all
        noise: what `estimate_noise` gives for this picture or others of this camera, or for all pages, instead of what
            it would give for this one
        repair: whether dead and hot pixels are replaced by what is around them; without, they stay as far from it
        dtype: "float32" for an array or a tensor of floats, unrounded, whatever came

    The range of uint8 is [0, 255]; there lone pixels unlike all around them are taken for dead ones. Any other dtype
    have any range: units and offset don't matter. The noise is estimated for each picture by itself, made even, taken
    away, and what is left is brought back; what has none stays as it is. But weights of one's own see pictures as
    they were trained, and those that were trained on measured pictures take no others. Hot pixels stay as far above
    what is around them, NaN, infinities and empty borders stay. Integers are rounded, and end where their dtype does.

    Raises TypeError or ValueError for anything else, and for weights of another network; OSError if they can't be read.
    """
    check_strength(strength)
    options = {"weights": weights, "strength": strength, "pages": pages, "noise": noise, "repair": repair}
    if dtype is not None:
        return unrounded(picture, dtype, options)
    if isinstance(picture, torch.Tensor) and picture.dtype == torch.bool:
        return denoise(picture.to(torch.uint8) * 255, **options) >= 128
    if isinstance(picture, torch.Tensor) and picture.dtype == torch.int64 and picture.layout == torch.strided:
        if bool((picture != picture.to(torch.int32)).any()):
            raise ValueError("has values in int64 that int32 doesn't hold")
        return denoise(picture.to(torch.int32), **options).to(torch.int64)
    if is_instance(picture, "numpy", "ndarray") and picture.dtype == bool:
        return denoise(picture.astype("uint8") * 255, **options) >= 128
    if (array := read(picture)) is not picture:
        result = denoise(array, **options)
        return picture.copy(data=result) if is_instance(picture, "xarray", "DataArray") else result
    axis = axis_of(picture, pages)
    if noise is not None:
        check_noise(noise, tensor_from(picture[0] if pages else picture))
    models = chosen(weights=weights)
    check_made_even(models, noise is not None or repair)
    if axis is None:
        return denoise_any_image(models, picture, strength, noise, repair)
    one = denoise_pixels if axis == -3 else denoise_array
    if not pages:
        return one(models, picture, strength=strength, noise=noise, repair=repair)
    if noise is None:
        noise = noise_of_pages(models, picture)
    result = picture.detach().clone() if axis == -3 else picture.copy()
    for place, page in enumerate(picture):
        result[place] = one(models, page, strength=strength, noise=noise, repair=repair)
    return result


def unrounded(picture, dtype, options):
    """The picture denoised, as floats of 32 bits. ValueError for another dtype, and for a Pillow image."""
    if getattr(dtype, "__name__", str(dtype)).removeprefix("torch.") != "float32":
        raise ValueError(f"dtype should be float32, got {dtype}")
    if isinstance(picture, torch.Tensor):
        if picture.is_complex():
            raise TypeError(f"expected a tensor of real numbers, got {picture.dtype}")
        return denoise(picture.to(torch.float64), **options).to(torch.float32)
    if is_instance(picture, "PIL.Image", "Image"):
        raise ValueError("dtype goes with arrays and tensors: numpy.asarray makes one of a Pillow image")
    array = read(picture)
    array = as_floats(array) if is_instance(array, "numpy", "ndarray") else array  # else `denoise` says what it is
    return denoise(array, **options).astype("float32")


def noise_of_pages(models, pages):
    """The noise that all pages of a tensor or an array have; None where each has its own, or none is asked for."""
    if not any(model.even for model in models):
        return None
    try:
        found = noises(told(tensor_from(pages[place])) for place in spread(len(pages)))
    except TooSmall:
        return None
    return found[0] if len(found) == 1 else None


def check_made_even(models, asked):
    """ValueError if something is asked for that only models which see even noise can do."""
    if asked and not any(model.even for model in models):
        raise ValueError(
            "these weights find out the noise by themselves: what is known of it, and to repair, goes with "
            "those that see it made even"
        )


def check_noise(noise, pixels):
    """TypeError or ValueError unless it can be the noise of pixels (H, W) or (C, H, W)."""
    if not isinstance(noise, Noise):
        raise TypeError(f"expected noise as estimate_noise gives it, got {type(noise).__name__}")
    channels = len(colours_of(pixels))
    if len(noise.sd) != channels:
        raise ValueError(f"expected the noise of {channels} channels, got that of {len(noise.sd)}")


def denoise_any_image(models, image, strength, noise, repair):
    """As `denoise`, for a Pillow image."""
    if image.mode in EIGHT_BITS:
        return denoise_image(models, image, strength=strength, noise=noise, repair=repair)
    import numpy as np
    from PIL import Image

    array = denoise_array(models, np.asarray(image), strength=strength, noise=noise, repair=repair)
    result = Image.fromarray(array)
    result.info, result.format = image.info, image.format
    return result


def check_strength(strength):
    if not 0 <= strength <= 2:
        raise ValueError(f"strength must lie in [0, 2], got {strength}")


def denoise_image(models, image, progress=iter, strength=1, noise=None, repair=False):
    """What the models make of a Pillow image of mode L, LA, RGB or RGBA: one of the same mode, with the same alpha, and
    with what `write_image` needs. progress: as for `Model.predict`, in each pass."""
    pixels = pixels_of(in_mode(image, image.mode.removesuffix("A")))
    result = image_of(denoise_pixels(models, pixels, progress, strength, noise, repair=repair))
    if image.mode.endswith("A"):
        result.putalpha(image.getchannel("A"))
    result.info, result.format = image.info, image.format
    return result

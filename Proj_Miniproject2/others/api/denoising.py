"""Pictures in memory, denoised: by which weights, in which range, and what stays as it is.

`denoise` is the package's public function; the command of that name does the same with files.
"""

import os
import sys

import torch

from ...model import FLOATS
from ..formats.arrays import NUMPY_DTYPES, check_array, tensor_of
from ..formats.files import load
from ..formats.pictures import image_of, in_mode, pixels_of
from ..networks import NETWORKS
from ..noise.correlation import ALIKE, correlation
from ..noise.ranges import range_of, seen

STRIP = 256  # rows
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


# ---------------------------------------------------------------------------------------------------------------
# Which weights


def chosen(network=None, weights=None, views=None):
    """The models for colours with independent noise and for all else; with a network or weights, one for both."""
    if network or weights:
        return [seeing(trained(network or "photo", weights), views)] * 2
    return [seeing(trained(name), views) for name in ("photo", "camera")]


def seeing(model, views=None):
    """The model, which takes the mean over so many views of a picture; where None, as many as it is made for.
    ValueError for one that sees a picture only as it stands."""
    if views is not None:
        if not hasattr(model, "VIEWS"):
            able = ", ".join(name for name, kind in NETWORKS.items() if hasattr(kind, "VIEWS"))
            raise ValueError(f"this network sees a picture only as it stands: --views goes with {able}")
        model.VIEWS = views
    return model


def trained(network, path=None):
    """The model of that name in `NETWORKS`, with the weights of a file, or those shipped, and the `range` they have.

    Raises as `Model.load_weights`, and says whose weights they are if those of another of the networks.
    """
    model = NETWORKS[network]()
    path = path or model.PRETRAINED
    try:
        model.load_weights(path)
    except ValueError as error:
        fitting = [name for name, kind in NETWORKS.items() if fits(kind, path)]
        if not fitting:
            raise
        raise ValueError(f"{path} does not hold the weights of this network: try --network {fitting[0]}") from error
    try:
        model.range = range_of(load(path, "cpu"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model


def fits(kind, path):
    """Whether a file holds weights of that class of models."""
    try:
        kind().load_weights(path)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------
# One picture


def denoise_image(models, image, progress=iter, strength=1):
    """What the models make of a Pillow image of mode L, LA, RGB or RGBA: one of the same mode, with the same alpha, and
    with what `write_image` needs. progress: as for `Model.predict`, in each pass."""
    pixels = pixels_of(in_mode(image, image.mode.removesuffix("A")))
    result = image_of(denoise_pixels(models, pixels, progress, strength))
    if image.mode.endswith("A"):
        result.putalpha(image.getchannel("A"))
    result.info, result.format = image.info, image.format
    return result


def denoise_array(models, array, progress=iter, strength=1):
    """As `denoise_pixels`, for a NumPy array (H, W) or (H, W, C), in any order of its bytes. Errors: `check_array`."""
    result = denoise_pixels(models, tensor_of(array), progress, strength)
    result = result if result.dim() == 2 else result.movedim(0, 2)
    return result.numpy().astype(array.dtype, order="C")


def denoise_pixels(models, pixels, progress=iter, strength=1):
    """What the models make of pixels (H, W) or (C, H, W) of any of DTYPES, see `denoise`: of that shape and dtype.

    A model that was trained on measured pictures has their `range`, and takes no others.
    """
    if pixels.dim() == 2:
        return denoise_pixels(models, pixels[None], progress, strength)[0]
    colours = pixels.detach()[: 1 if len(pixels) < 3 else 3]
    known = getattr(models[0], "range", None)
    if known and pixels.dtype == torch.uint8:
        raise ValueError("has 8 bits a value, but the weights were trained on another kind of picture, of more")
    if pixels.dtype == torch.uint8:
        result = passed(models, colours, progress, strength).expand_as(colours)
    else:
        before = colours.to("cpu", torch.float64)
        values, scale = seen(before, known)
        if not scale:
            return pixels.detach().clone()
        change = passed(models, values, progress, strength).double() - values
        limits = (torch.finfo if pixels.is_floating_point() else torch.iinfo)(pixels.dtype)
        result = before + scale * change
        result = result if pixels.is_floating_point() else result.round_()
        result = torch.where(before.isfinite(), result.clamp(limits.min, limits.max), before).to(pixels)
    return torch.cat([result, pixels.detach()[len(result) :]]) if len(pixels) % 2 == 0 else result


def passed(models, pixels, progress, strength):
    """Pixels (C, H, W) of one channel or three, uint8 or float32 in [0, 255], after as many passes as the strength has.

    Which model they go through, see `chosen`, is for the picture to show. Pixels that are grey are kept so: of three
    equal channels one is returned.
    """
    independent, other = models
    if bool((pixels[1:] == pixels[0]).all()):
        pixels, model = pixels[:1], other
    else:
        model = independent if correlation(pixels) < ALIKE else other
    for share in (min(strength, 1), strength - 1):
        if share > 0:
            pixels = blended(pixels, denoised(model, pixels, progress), share)
    return pixels


def denoised(model, pixels, progress):
    """What a model makes of pixels, as for `passed`."""
    noisy, output = pixels[None].expand(-1, 3, -1, -1), torch.empty_like(pixels)[None]
    for place, piece in model.pieces(noisy, progress):  # not `predict`, whose float32 takes four times as much
        clean = (piece if len(pixels) == 3 else piece.mean(1, keepdim=True)).clamp_(0, 255)
        output[place] = clean if pixels.is_floating_point() else clean.round_()
    return output[0]


def blended(before, after, share):
    """Pixels with so much of `after` in them, for the rest `before`."""
    if share == 1:
        return after
    strips = zip(before.split(STRIP, 1), after.split(STRIP, 1), strict=True)  # as float32 takes four times as much
    mixed = (one.float().lerp(other.float(), share) for one, other in strips)
    return torch.cat([(m if before.is_floating_point() else m.round_()).to(before.dtype) for m in mixed], 1)

"""Pictures to train on as they come, 8 bits or measured: read from files, and brought to one range for the network."""

from typing import NamedTuple

import torch

from ..formats.arrays import tensor_of
from ..formats.opening import open_picture
from ..formats.streams import memory
from ..noise.estimate import estimate
from ..noise.ranges import LEVELS, SPAN, found, in_levels, repaired
from ..noise.stabilise import evened

LEAST_SD = 0.5  # grey levels, of noise that a network should see
LEAST_ALONE = 112  # pixels of the longer side of what is a training's only picture


class Page(NamedTuple):
    """One picture. Of 8 bits: `pixels` uint8 (3, H, W), `range` None. Measured: float32 (1 or 3, H, W), in grey levels
    of the (low, scale) `range`, see `ranges.found`; transparency is left out."""

    name: str  # the file's, and the page's number if it has several
    dtype: torch.dtype  # as in the file
    pixels: torch.Tensor
    range: tuple | None = None


def read_pages(path, what=""):
    """Yields all pictures in a file. ValueError, which begins with `what`, for one that can't be read, and for a
    measured one that is the same everywhere."""
    try:
        picture = open_picture(path)
        pages = picture.count()
        for number, array in enumerate(picture.pages(), 1):
            if 4 * array.size * pages > memory():
                size = f"{4e-9 * array.size * pages:.3g} GB of float32"
                raise ValueError(f"its {pages} pages are {size}, more than this machine's memory: take fewer")
            try:
                page = page_of(f"{path}, page {number}" if pages > 1 else str(path), tensor_of(array))
            except (TypeError, ValueError) as error:
                raise ValueError(f"page {number}: {error}" if pages > 1 else str(error)) from error
            yield page
    except ImportError:  # an extra is missing
        raise
    except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
        raise ValueError(f"{what}{path}: {error}") from error


def page_of(name, pixels):
    """The `Page` of a tensor (H, W) or (C, H, W) of that name."""
    pixels = pixels[None] if pixels.dim() == 2 else pixels
    if pixels.dtype == torch.uint8 and len(pixels) % 2 == 0 and pixels[-1].min() < 255:
        raise ValueError("has transparent parts, which would be lost")
    pixels = pixels[: 1 if len(pixels) < 3 else 3]
    if pixels.dtype == torch.uint8:
        return Page(name, pixels.dtype, pixels.expand(3, -1, -1))
    picture = repaired(pixels.double())
    low, scale = found(picture)
    if not scale:
        raise ValueError("shows nothing: it is the same nearly everywhere")
    return Page(name, pixels.dtype, in_levels(picture, low, scale).float(), (low, scale))


def in_one_range(pages):
    """Brings the pixels of measured pages, in place, to the one range that has those of all, clamped to [0, 255].

    Returns its (low, scale); None for pages of 8 bits, which stay. ValueError unless all have one dtype.
    """
    first = pages[0]
    for page in pages:
        if page.dtype != first.dtype:
            kinds = f"{first.name} is of {first.dtype}, {page.name} of {page.dtype}".replace("torch.", "")
            raise ValueError(f"expected pictures of one kind, but {kinds}")
    if first.range is None:
        return None
    low = min(page.range[0] for page in pages)
    scale = max((page.range[0] - low) / SPAN + page.range[1] for page in pages)
    for page in pages:
        its_low, its_scale = page.range
        moved = in_levels(its_low, low, scale) - LEVELS[0] * its_scale / scale
        page.pixels.mul_(its_scale / scale).add_(moved).clamp_(0, 255)
    return low, scale


def even(pictures):
    """Grey pictures (C, H, W), or lists of a scene's shots, as a network sees them that knows even noise: float32, with
    noise of the standard deviation STRENGTH. And (sd, middle): what it was, and the mean, in grey levels.

    Of shots the noise is half of what two differ by.
    """
    if isinstance(pictures[0], list):
        pairs = ((shots[0].double() - shots[1].double()) for shots in pictures)
        variance = sum((d - d.mean()).square().mean() for d in pairs) / 2 / len(pictures)
        middle = sum(shots[0].double().mean() for shots in pictures) / len(pictures)
    else:
        variance = sum(estimate([picture[:1]]).sd[0] ** 2 for picture in pictures) / len(pictures)
        middle = sum(picture.double().mean() for picture in pictures) / len(pictures)
    sd, middle = max(float(variance) ** 0.5, LEAST_SD), float(middle)

    def seen(picture):
        return [seen(one) for one in picture] if isinstance(picture, list) else evened(picture.float(), sd, middle)

    return [seen(picture) for picture in pictures], (sd, middle)


def two_parts(pixels):
    """A picture (C, H, W) alone, as one to validate on and one to train on, which `photos.split` wants: a seventh of
    it, at the top or on the left, and the rest. ValueError for one that is too small."""
    axis = 1 if pixels.shape[1] >= pixels.shape[2] else 2
    longest = pixels.shape[axis]
    if longest < LEAST_ALONE:
        raise ValueError(f"a single picture or scene should have {LEAST_ALONE} pixels a side or more, got {longest}")
    return pixels.split([longest // 7, longest - longest // 7], axis)

"""Training pairs from one's own shots: two or more pictures of each of several scenes, taken from the same place.

Noise2Noise needs no more: the scene is the same, the noise is another, whatever it is. The shots of a scene must show
it pixel for pixel alike (a tripod, or burst mode) and have one size: from shifted ones a network learns to blur.
They may fade or flicker, see `brightness`.
"""

import warnings
from itertools import combinations
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from ..formats.opening import open_picture, picture_paths
from ..formats.progress import progress
from .pages import in_one_range, read_pages, two_parts

SIDE = 1024  # pixels: a larger shot is made smaller to be compared, and then pixel by pixel in its middle
ROUNDING = 1 / 4  # squared grey levels: more than two images without noise differ by, as they are rounded
BLOCKS = 4, 16  # pixels: the side of the blocks whose means tell how bright a shot is, the smallest and the largest
FEW = 16  # of them: with fewer one can't tell
SURE = 5  # standard errors: by so much shots differ in brightness, where it isn't their noise
CHANCE = 12  # over the root of the number of pixels: by so much shots may come nearer to each other when moved


def read_scenes(paths):
    """The shots of each scene, in the order of the scenes' names, and the range that measured ones were brought to.

    Returns a list of lists of tensors, all as `pages.in_one_range` makes them, and its (low, scale) or None. A scene
    alone becomes two, see `pages.two_parts`.

    paths: two or more folders that hold the first, the second, ... shot of every scene under the same file names; or
    one with a subfolder for each scene; or files. A file with several pages, which are its shots, is a scene; those
    with one belong to the scene of their folder. Warns of shots that are shifted. Raises ValueError for a scene with a
    single shot, with shots of different sizes, with the same one twice or with one that is shifted by more than half of
    the picture, and for what can't be read.
    """
    scenes = {}
    for name, path in shots_in([*map(Path, paths)]):
        scenes.setdefault(name, []).append(path)
    if not scenes:
        raise ValueError(f"there is no shot in {', '.join(map(str, paths))}")
    for name, files in scenes.items():
        if len(files) < 2 and count(files[0]) < 2:
            raise ValueError(f"the scene {name} has a single shot, {files[0]}: each needs two or more")
    named = progress(sorted(scenes.items()), desc="scenes")
    scenes = {name: read_shots(name, files) for name, files in named}
    known = in_one_range([page for pages in scenes.values() for page in pages])
    shots = [[page.pixels for page in pages] for pages in scenes.values()]
    return shots if len(shots) > 1 else [[*part] for part in zip(*map(two_parts, shots[0]), strict=True)], known


def shots_in(paths):
    """(name of the scene, path) of each shot, for `read_scenes`."""
    files = [path.is_file() for path in paths]
    if len(set(files)) > 1:
        raise ValueError("expected folders of shots, or files, got both")
    for path in paths:
        for file in [path] if all(files) else picture_paths(path):
            if len(paths) > 1 and not all(files):
                yield str(file.relative_to(path)), file
            else:
                yield str(file if count(file) > 1 else file.parent), file


def count(path):
    """How many pictures are in a file."""
    try:
        return open_picture(path).count()
    except ValueError as error:
        raise ValueError(f"the shot {path}: {error}") from error


def read_shots(name, paths):
    """The shots of the scene of that name, as `read_pages` gives them; errors as for `read_scenes`."""
    pages = [page for path in paths for page in read_pages(path, "the shot ")]
    sizes = {tuple(page.pixels.shape[1:]) for page in pages}
    if len(sizes) > 1:
        raise ValueError(f"the shots of the scene {name} have different sizes (height, width): {sorted(sizes)}")
    if len({page.dtype for page in pages}) == 1 < len({len(page.pixels) for page in pages}):
        raise ValueError(f"some shots of the scene {name} are grey and some have colours: expected one kind")
    sums = [page.pixels.sum(dtype=torch.float64).item() for page in pages]  # to compare few of a long movie in full
    for (one, total), (other, same) in combinations(zip(pages, sums, strict=True), 2):
        if total == same and one.range == other.range and torch.equal(one.pixels, other.pixels):
            raise ValueError(
                f"{one.name} and {other.name} are the same picture, with the same noise: expected different shots"
            )
    first = pages[0]
    for page in pages[1:]:
        rows, columns = moved = shift(first.pixels, page.pixels)
        if any(moved):
            what = (
                f"{page.name} and {first.name} don't lie on each other: shifted by {rows} rows and {columns} columns "
                "of pixels"
            )
            if any(2 * abs(d) > n for d, n in zip(moved, page.pixels.shape[1:], strict=True)):
                raise ValueError(f"{what}, more than half of the picture")
            warnings.warn(f"{what}; of such shots a network learns to blur", stacklevel=2)
    return pages


def shift(one, other):
    """By how many (rows, columns) what `one` shows lies further down and to the right in `other`, (C, H, W).

    (0, 0) also where the noise hides it.
    """
    one, other = (image.float().mean(0) for image in (one, other))
    found = 0, 0
    for scale in sorted({tuple(-(-n // SIDE) for n in one.shape), (1, 1)}, reverse=True):
        pair = [avg_pool2d(image[None], scale)[0] for image in overlap(one, other, found)]
        middle = tuple(slice(max(0, (n - SIDE) // 2), (n + SIDE) // 2) for n in pair[0].shape)
        more = displacement(*(image[middle] for image in pair))
        found = tuple(d + s * m for d, s, m in zip(found, scale, more, strict=True))
    return found


def overlap(one, other, shift):
    """The parts of two images (H, W) that show the same if the second is shifted by that many (rows, columns)."""
    ends = [(max(0, d), n + min(0, d)) for d, n in zip(shift, one.shape, strict=True)]
    rows, columns = (slice(first, last) for first, last in ends)
    rows_before, columns_before = (slice(first - d, last - d) for d, (first, last) in zip(shift, ends, strict=True))
    return one[rows_before, columns_before], other[rows, columns]


def displacement(one, other):
    """As `shift`, for float images (H, W), by phase correlation (Kuglin and Hines, "The phase correlation image
    alignment method", 1975). It counts if it makes the two more alike, apart from their brightness, than chance does,
    in which noise that reaches over some pixels is alike."""
    size = [2 * n for n in one.shape]  # so that nothing comes back in at the other side
    rows, columns = (torch.hann_window(n, periodic=False) ** 0.25 for n in one.shape)
    first, second = (torch.fft.rfft2((x - x.mean()) * rows[:, None] * columns, s=size) for x in (one, other))
    cross = second * first.conj()
    likeness = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=size)
    found = divmod(int(likeness.argmax()), size[1])
    found = tuple(i if 2 * i < n else i - n for i, n in zip(found, size, strict=True))
    there, here = overlap(one, other, found)
    here_before = overlap(one, other, tuple(-d for d in found))[1]
    after, before = (difference(there, x) for x in (here, here_before))
    return found if after < (1 - CHANCE / max(1, there.numel()) ** 0.5) * before - ROUNDING else (0, 0)


def difference(one, other):
    """The mean square of what is left of an image if another one is taken away, as bright and as rich in contrast as
    leaves the least: a regression."""
    one, other = (image.double() - image.double().mean() for image in (one, other))
    gain = (one * other).sum() / other.square().sum().clamp(min=1e-9)
    return (one - gain * other).square().mean()


def brightness(shots):
    """How bright each of a scene's shots (C, H, W) is, and how rich in contrast, as fading and flickering change them.

    Returns their means, and the gains of each over the mean of all, by a regression of the means of blocks, which noise
    hardly touches: float64 (shots, C, 1, 1). None if noise may explain all that they differ by; gains of 1 if it may
    explain theirs.
    """
    height, width = shots[0].shape[1:]
    side = min(max(min(height, width) // 8, BLOCKS[0]), BLOCKS[1])
    if (height // side) * (width // side) < FEW:
        return None
    blocks = torch.stack([avg_pool2d(shot.double(), side).flatten(1) for shot in shots])
    means = blocks.mean(2, keepdim=True)
    blocks = blocks - means
    shared = blocks.mean(0)
    power = shared.square().sum(1, keepdim=True).clamp(min=1e-9)
    gains = ((blocks * shared).sum(2, keepdim=True) / power).clamp(min=0.1)  # of a black shot nothing can be made
    noise = (blocks - gains * shared).square().mean(2, keepdim=True).sqrt()
    brighter = (means - means.mean(0)).abs() > SURE * noise / blocks.shape[2] ** 0.5
    richer = (gains - 1).abs() > SURE * noise / power.sqrt()
    if not bool((brighter | richer).any()):
        return None
    return means[..., None], torch.where(richer.any(0), gains, 1)[..., None]


def as_bright(pixels, known, shot, other):
    """Pixels (C, H, W) of a scene's `other` shot, as bright as the `shot` is: float32. known: of `brightness`."""
    means, gains = known
    return ((pixels - means[other]) * (gains[shot] / gains[other]) + means[shot]).float()

"""Training pairs from one's own shots: two or more photos of each of several scenes, taken from the same place.

Noise2Noise needs no more: the scene is the same, the noise is another, whatever it is. The shots of a scene must show
it pixel for pixel alike (a tripod, or burst mode) and have one size: from shifted ones a network learns to blur.
"""

import warnings
from itertools import combinations
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from .photos import read_photo
from .pictures import photo_paths
from .progress import progress

SIDE = (
    1024  # pixels a side: a shot that is larger is made smaller to be compared, and then pixel by pixel in its middle
)
CHANCE = 12  # over the root of the number of pixels: by so much shots may come nearer to each other when moved


def read_scenes(folders):
    """The shots of each scene: a list of lists of uint8 tensors (3, H, W), in the order of the scenes' names.

    folders: two or more that hold the first, the second, ... shot of every scene under the same file names; or one with
    a subfolder for each scene. Warns of shots that are shifted. Raises ValueError for a scene with a single shot, with
    shots of different sizes, with the same one twice or with one that is shifted by more than half of the picture, for
    what can't be read, and for fewer than two scenes.
    """
    scenes = {}
    for folder in map(Path, folders):
        for path in photo_paths(folder):
            # With one folder a scene is a subfolder, else a file name.
            scene = path.parent if len(folders) == 1 else path.relative_to(folder)
            scenes.setdefault(str(scene), []).append(path)
    if len(scenes) < 2:
        raise ValueError(f"expected at least two scenes, to train and to validate on, got {len(scenes)}")
    for name, paths in scenes.items():
        if len(paths) < 2:
            raise ValueError(f"the scene {name} has a single shot, {paths[0]}: each needs two or more")
    return [read_shots(name, paths) for name, paths in progress(sorted(scenes.items()), desc="scenes")]


def read_shots(name, paths):
    """The shots of the scene of that name; errors as for `read_scenes`."""
    images = []
    for path in paths:
        try:
            images.append(read_photo(path))
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            raise ValueError(f"the shot {path}: {error}") from error
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"the shots of the scene {name} have different sizes (height, width): {sorted(sizes)}")
    for (one, image), (other, same) in combinations(zip(paths, images, strict=True), 2):
        if torch.equal(image, same):
            raise ValueError(f"{one} and {other} are the same picture, with the same noise: expected different shots")
    for path, image in zip(paths[1:], images[1:], strict=True):
        rows, columns = moved = shift(images[0], image)
        if any(moved):
            what = (
                f"{path} and {paths[0]} don't lie on each other: shifted by {rows} rows and {columns} columns of pixels"
            )
            if any(2 * abs(d) > n for d, n in zip(moved, image.shape[1:], strict=True)):
                raise ValueError(f"{what}, more than half of the picture")
            warnings.warn(f"{what}; of such shots a network learns to blur", stacklevel=2)
    return images


def shift(one, other):
    """By how many (rows, columns) what `one` shows lies further down and to the right in `other`, uint8 (3, H, W).

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
    alignment method", 1975). It counts if it brings the two nearer to each other than chance does, in which noise that
    reaches over some pixels is alike."""
    size = [2 * n for n in one.shape]  # so that nothing comes back in at the other side
    rows, columns = (torch.hann_window(n, periodic=False) ** 0.25 for n in one.shape)
    first, second = (torch.fft.rfft2((x - x.mean()) * rows[:, None] * columns, s=size) for x in (one, other))
    cross = second * first.conj()
    likeness = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=size)
    found = divmod(int(likeness.argmax()), size[1])
    found = tuple(i if 2 * i < n else i - n for i, n in zip(found, size, strict=True))
    there, here = overlap(one, other, found)
    here_before = overlap(one, other, tuple(-d for d in found))[1]
    after, before = ((there - x).square().mean() for x in (here, here_before))
    return found if after < (1 - CHANCE / max(1, there.numel()) ** 0.5) * before else (0, 0)

"""Training pairs from single noisy pictures, of which nobody took a second shot: two neighbouring pixels show nearly
the same, and if their noise is independent they are two shots of it.

So of each 2 x 2 pixels one is the input's and one beside it the target's, both drawn at random, which makes pairs of
half the height and width (Huang et al., "Neighbor2Neighbor: self-supervised denoising from single noisy images", 2021;
"Zero-Shot Noise2Noise", Mansour and Heckel 2023, takes the means of the two diagonals). The input's noise is as strong
as the picture's. Their term for what neighbours don't share is left out: with a network that knows pictures already it
took too little noise away.
"""

import statistics
from pathlib import Path

import torch

from ..formats.opening import picture_paths
from ..formats.progress import progress
from ..noise.correlation import ALIKE, least_correlation
from .pages import in_one_range, read_pages, two_parts
from .sources import CROP, stream_seed

LEAST_SIDE = 32  # pixels
BESIDE = torch.tensor([[0, 1], [1, 0], [0, 2], [2, 0], [1, 3], [3, 1], [2, 3], [3, 2]])  # of the four in 2 x 2 pixels


def read_singles(path):
    """The pictures in a folder, or in a file, and the range that measured ones were brought to.

    Returns a list of tensors as `pages.in_one_range` makes them, and its (low, scale) or None. A picture alone becomes
    two, see `pages.two_parts`. Raises ValueError for what can't be read or is too small, and where neighbouring pixels
    share their noise.
    """
    path = Path(path)
    files = [path] if path.is_file() else picture_paths(path)
    pages = [page for file in progress(files, desc="pictures") for page in read_pages(file)]
    if not pages:
        raise ValueError(f"there is no picture in {path}")
    for page in pages:
        height, width = page.pixels.shape[1:]
        if min(height, width) < LEAST_SIDE:
            least = f"at least {LEAST_SIDE} x {LEAST_SIDE}"
            raise ValueError(f"{page.name}: expected {least} pixels, got {height} x {width}")
    shared = statistics.median(least_correlation(without_copies(page.pixels)) for page in pages)
    if shared > ALIKE:
        raise ValueError(
            f"neighbouring pixels of {path} share their noise, with a correlation of about {shared:.1f}, or have none: "
            "a network would learn to keep it. Take two shots of each scene, and --shots"
        )
    known, pictures = in_one_range(pages), [page.pixels for page in pages]
    return pictures if len(pictures) > 1 else [*two_parts(pictures[0])], known


def without_copies(pixels):
    """Pixels (C, H, W) of which one channel stays if all are equal."""
    return pixels[:1] if bool((pixels[1:] == pixels[0]).all()) else pixels


def singles(pictures, run):
    """Pairs of neighbouring pixels, in crops of single pictures; see above.

    A picture comes as often as any other. Pairs are (pairs, 3, size, size), size CROP or half of the pictures' shortest
    side, and of the pictures' dtype; those of one channel have three equal ones.
    """
    size = min(CROP, *(min(picture.shape[1:]) // 2 for picture in pictures))

    def draw(epoch):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        pairs = torch.empty(2, run.pairs, 3, size, size, dtype=pictures[0].dtype)
        for i in range(run.pairs):
            picture = pictures[int(torch.randint(len(pictures), (), generator=generator))]
            _, height, width = picture.shape
            top, left = (int(torch.randint(n - 2 * size + 1, (), generator=generator)) for n in (height, width))
            crop = picture[:, top : top + 2 * size, left : left + 2 * size]
            four = crop.unflatten(2, (size, 2)).unflatten(1, (size, 2)).transpose(2, 3).flatten(3)  # C, size, size, 4
            two = BESIDE[torch.randint(len(BESIDE), (size, size), generator=generator)].expand(len(crop), -1, -1, -1)
            pairs[:, i] = four.gather(3, two).movedim(3, 0)
        return tuple(pairs)

    return draw

"""Noisy pairs cut from photos, the way the course made its data: see `noise.py`."""

import warnings

import torch

from ...model import check_int
from ..formats.pictures import in_mode, photo_paths, pixels_of, read_image
from ..formats.progress import progress
from ..noise.kinds import block_mean, draw_offsets

HELD_OUT = 14  # one photo in so many is set aside
MOST_ENLARGED = 8  # times, of a photo that is smaller than wanted
SOFT = 0.4, 1.6  # pixels, of `softened`
CHUNK = 1000  # pairs gathered at once: bounds the memory for indices


def read_photo(path, min_side=1):
    """A photo, upright, as uint8 (3, H, W); upscaled (bicubic) if its short side is below `min_side`.

    ValueError for what would lose something (see `read_image`), transparent parts, too, and for one that would have to
    be enlarged more than MOST_ENLARGED times.
    """
    from PIL import Image

    image = read_image(path)
    if image.mode.endswith("A") and image.getchannel("A").getextrema()[0] < 255:
        raise ValueError("has transparent parts, which would be lost")
    image, short = in_mode(image, "RGB"), min(image.size)
    if short * MOST_ENLARGED < min_side:
        raise ValueError(f"of {image.width} x {image.height} pixels is too small to be enlarged to {min_side}")
    if short < min_side:
        width, height = (max(min_side, round(side * min_side / short)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return pixels_of(image)


def load_photos(folder, min_side=256):
    """All photos in `folder` and its subfolders, in the order of their paths.

    Returns a list of uint8 tensors (3, H, W). A photo with a side below `min_side` is upscaled (bicubic) to
    `min_side` on its short side. A photo that `read_photo` refuses, and a subfolder that can't be read, is named in a
    warning and skipped. Raises ValueError if `folder` is no folder or holds no readable photo.
    """
    check_int("min_side", min_side, 1)
    photos = []
    for path in progress(photo_paths(folder, skip), desc="photos", unit="photo"):
        try:
            photos.append(read_photo(path, min_side))
        except ImportError:  # an extra is missing
            raise
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            warnings.warn(f"skipped {path}: {error}", stacklevel=2)
    if not photos:
        raise ValueError(f"no readable photo in {folder}")
    return photos


def skip(error):
    """Warn of an OSError."""
    warnings.warn(f"skipped {error.filename}: {error.strerror}", stacklevel=3)


def split(photos):
    """(photos to train on, photos set aside to validate on): what every command keeps to. Two lists.

    Raises ValueError if there are fewer than two photos.
    """
    if len(photos) < 2:
        raise ValueError(f"expected at least two photos, to train and to validate on, got {len(photos)}")
    return [photo for i, photo in enumerate(photos) if i % HELD_OUT], photos[::HELD_OUT]


class PairStream:
    """Fresh noisy pairs from photos, without end: other ones with every seed.

    photos: uint8 tensors (3, H, W), both sides at least `size * block` pixels. block: side in pixels of the
    block that becomes one pixel. size: side in pixels of the images made. Raises ValueError for other photos.
    """

    def __init__(self, photos, block=8, size=32):
        check_int("block", block, 1)
        check_int("size", size, 1)
        photos = list(photos)
        if not photos:
            raise ValueError("expected at least one photo, got none")
        side = size * block
        for i, photo in enumerate(photos):
            right_kind = photo.dtype == torch.uint8 and photo.dim() == 3 and photo.shape[0] == 3
            if not right_kind or min(photo.shape[1:]) < side:
                raise ValueError(
                    f"expected photos to be uint8 (3, H, W) with sides of at least {side} pixels, "
                    f"got {photo.dtype} {tuple(photo.shape)} for photo {i}"
                )
        self.block, self.size = block, size
        # One flat tensor, channels last: a pixel's three values lie together, one index gathers them all.
        self.pixels = torch.cat([photo.permute(1, 2, 0).reshape(-1, 3) for photo in photos])
        self.heights = torch.tensor([photo.shape[1] for photo in photos])
        self.widths = torch.tensor([photo.shape[2] for photo in photos])
        areas = self.heights * self.widths
        self.starts = areas.cumsum(0) - areas

    def __len__(self):
        """The number of photos."""
        return len(self.starts)

    def draw(self, n, seed, targets=1):
        """`n` pairs, each two independent draws of one crop: (noisy1, noisy2), uint8 (n, 3, size, size).

        Photo and position of the crop are drawn uniformly, and the pair is flipped and transposed at random,
        both images alike. With several `targets` noisy2 is the mean of as many draws, float32. A pure function of the
        photos and the arguments.
        """
        return self._make(*self._random_crops(n, seed), targets=targets)

    def draw_with_clean(self, n, seed):
        """The pairs of `draw(n, seed)` and their clean images: (noisy1, noisy2, clean). Five times slower."""
        return self._make(*self._random_crops(n, seed), clean=True)

    # Crops are (photo, top, left, flips): a photo's number, the crop's first row and column, each (n,), and
    # whether its blocks are mirrored top to bottom, mirrored left to right, and transposed, bool (3, n).

    def _random_crops(self, n, seed):
        check_int("n", n, 0)
        generator = torch.Generator().manual_seed(seed)
        photo = torch.randint(len(self), (n,), generator=generator)
        top, left = self._random_position(photo, generator)
        flips = torch.randint(2, (3, n), generator=generator).bool()
        return (photo, top, left, flips), generator

    def _random_position(self, photo, generator):
        places = torch.stack([self.heights[photo], self.widths[photo]]) - self.size * self.block + 1
        return (torch.rand(places.shape, generator=generator, dtype=torch.float64) * places).long()

    def _fixed_crops(self, n, seed):
        check_int("n", n, 0)
        generator = torch.Generator().manual_seed(seed)
        photo = torch.arange(n) % len(self)
        top, left = self._random_position(photo, generator)
        first = photo[: len(self)]
        top[: len(self)] = (self.heights[first] - self.size * self.block) // 2
        left[: len(self)] = (self.widths[first] - self.size * self.block) // 2
        return (photo, top, left, torch.zeros(3, n, dtype=torch.bool)), generator

    def _make(self, crops, generator, clean=False, progress=iter, targets=1):
        n, size, side = len(crops[0]), self.size, self.size * self.block
        images = [torch.empty(n, 3, size, size, dtype=torch.uint8) for _ in range(3 if clean else 2)]
        if targets > 1:
            images[1] = images[1].float()
        for k in progress(range(0, n, CHUNK)):
            chunk = slice(k, k + CHUNK)
            photo, top, left, flips = (part[..., chunk] for part in crops)
            width = self.widths[photo]
            corner = self.starts[photo] + top * width + left
            i, j = self._blocks(flips)
            width = width[:, None, None]
            first = corner[:, None, None] + (i * width + j) * self.block  # each block's first pixel

            def draw(first=first, width=width):
                row, column = draw_offsets(first.shape, self.block, generator)
                index = row.mul_(width).add_(column).add_(first)
                return self.pixels.index_select(0, index.flatten())

            for noisy, draws in zip(images, (1, targets), strict=False):
                pixels = draw() if draws == 1 else sum(draw().float() for _ in range(draws)) / draws
                noisy[chunk] = pixels.view(-1, size, size, 3).permute(0, 3, 1, 2)
            for means in images[2:]:
                for b, (start, w) in enumerate(zip(corner.tolist(), width.flatten().tolist(), strict=True)):
                    crop = self.pixels[start:].as_strided((1, 3, side, side), (0, 1, 3 * w, 3))
                    means[k + b] = block_mean(crop, self.block)[0][:, i[b], j[b]]
        return tuple(images)

    def _blocks(self, flips):
        """Which block of its crop each pixel shows: row and column, each (n, size, size)."""
        mirror_i, mirror_j, transpose = flips[:, :, None, None]
        last = self.size - 1
        i, j = torch.arange(self.size)[:, None], torch.arange(self.size)
        i, j = torch.where(transpose, j, i), torch.where(transpose, i, j)
        return torch.where(mirror_i, last - i, i), torch.where(mirror_j, last - j, j)


def pairs_of(photos, n=None, seed=0, block=8, size=32, clean=True, progress=iter):
    """A fixed set of `n` pairs (by default one of each photo), never flipped: (noisy1, noisy2, clean), uint8.

    Each is (n, 3, size, size); without `clean`, the first two alone. The photos take turns, in order: first a
    crop of each one's centre, then crops at uniformly drawn positions. Deterministic by `seed`. photos,
    block, size: as in `PairStream`. progress: wraps the loop over chunks of pairs, as tqdm does.
    """
    stream = PairStream(photos, block, size)
    crops, generator = stream._fixed_crops(len(stream) if n is None else n, seed)
    return stream._make(crops, generator, clean, progress)


def random_crops(photos, n, size, generator):
    """n crops (n, 3, size, size) of photos; photo and place are drawn uniformly."""
    crops = torch.empty(n, 3, size, size, dtype=torch.uint8)
    which = torch.randint(len(photos), (n,), generator=generator).tolist()
    for crop, i, (u, v) in zip(crops, which, torch.rand(n, 2, generator=generator).tolist(), strict=True):
        _, height, width = photos[i].shape
        top, left = int(u * (height - size + 1)), int(v * (width - size + 1))
        crop.copy_(photos[i][:, top : top + size, left : left + size])
    return crops


def softened(images, shares, generator):
    """Images (N, C, H, W), float, each in its share of all draws as soft as a camera's own pixels are, of which smaller
    photos show nothing: blurred by a Gaussian whose standard deviation is log-uniform between the two of SOFT."""
    n, _, height, width = images.shape
    chosen, place = torch.rand(2, n, 1, 1, 1, generator=generator)
    sd = SOFT[0] * (SOFT[1] / SOFT[0]) ** place
    sd = torch.where(chosen < torch.tensor(shares).view(-1, 1, 1, 1), sd, 0.01)  # which is too little for any blur
    return gaussian_blur(height, sd) @ images @ gaussian_blur(width, sd).mT


def gaussian_blur(size, sd):
    """The matrices (..., size, size) that blur columns of so many pixels, for sd (..., 1, 1). At the ends the weights
    of what is there sum to 1."""
    at = torch.arange(size, dtype=torch.float32)
    weights = (-(((at[:, None] - at) / sd) ** 2) / 2).exp()
    return weights / weights.sum(-1, keepdim=True)

"""Mosaics of a sensor's colours, in which each pixel has seen one of them: taken apart for who denoises, put together
again. What is next to each other in a mosaic has seen two colours, so a network would take their pattern for noise, or
for detail."""

import math
from itertools import islice

PATTERNS = "RGGB", "BGGR", "GRBG", "GBRG"  # by Bayer: of two rows and two columns
BAYER = 2, 2
BLOCK = 16  # pixels: the side of the blocks in which the colours are compared
ENOUGH = 2048  # rows and columns of a larger picture that are looked at
APART = 0.5  # standard deviations of what differs by chance: noise reaches an eighth, see `is_mosaic`


def apart(mosaic, period):
    """The planes of a mosaic, a NumPy array (H, W): yields one for each place of its pattern, which has a period of so
    many rows and columns. One whose sides are no multiples of these goes on as it is before its end."""
    import numpy as np

    mosaic = mosaic[np.ix_(*map(whole_rows, mosaic.shape, period))]
    for i, j in np.ndindex(period):
        yield mosaic[i :: period[0], j :: period[1]].copy()


def whole_rows(number, period):
    """The rows of a picture, and some of its last ones again, for a multiple of a period of them."""
    if number < period:
        raise ValueError(f"has {number} rows or columns, fewer than its pattern of colours")
    return [i if i < number else i - period for i in range(-(-number // period) * period)]


def together(planes, period, shape):
    """The mosaic (H, W) of its planes, as `apart` gives them."""
    import numpy as np

    planes = list(planes)
    whole = np.empty([p * n for p, n in zip(period, planes[0].shape, strict=True)], planes[0].dtype)
    for (i, j), plane in zip(np.ndindex(period), planes, strict=True):
        whole[i :: period[0], j :: period[1]] = plane
    return whole[: shape[0], : shape[1]]


def in_dtype(values, dtype):
    """Floats in a dtype: integers are rounded, and end where it does."""
    import numpy as np

    if dtype.kind in "iu":
        values = np.rint(values).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)


def is_mosaic(picture):
    """Whether a picture (H, W) seems to be one of Bayer's mosaics: in most of its blocks of BLOCK x BLOCK pixels the
    mean of those on one diagonal of two by two differs from that of the other, by far more than one such pair does."""
    import numpy as np

    height, width = (min(n // BLOCK * BLOCK, ENOUGH) for n in picture.shape[:2])
    if picture.ndim != 2 or picture.dtype.kind not in "uif" or not height or not width:
        return False
    values = picture[:height, :width].astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    across = values[::2, ::2] + values[1::2, 1::2] - values[::2, 1::2] - values[1::2, ::2]
    half = BLOCK // 2
    blocks = across.reshape(height // BLOCK, half, width // BLOCK, half).swapaxes(1, 2).reshape(-1, half * half)
    blocks = blocks[np.isfinite(blocks).all(1) & (np.ptp(blocks, 1) > 0)]
    return len(blocks) > 0 and bool((np.abs(blocks.mean(1)) > APART * blocks.std(1)).mean() > 0.5)


class Mosaic:
    """A picture, as `opening.open_picture` gives it, whose pages are mosaics of two by two pixels: its own pages are
    the four planes of each. ValueError for pages that are none."""

    def __init__(self, picture):
        self.picture = picture

    def fours(self):
        return True

    def count(self):
        return self.picture.count() * math.prod(BAYER)

    def pages(self):
        import numpy as np

        for page in self.picture.pages():
            if page.ndim != 2:
                raise ValueError(f"has {page.shape[2]} channels: expected a mosaic, which has one")
            missing = self.picture.missing(page)
            if missing is not None and missing.any():
                page = np.where(missing, np.nan, page.astype(np.float64))
            yield from apart(page, BAYER)

    def missing(self, page):
        return None  # it is not a number, and stays so

    def shown(self):
        return self.picture.pages()

    def write(self, pages, path, twice=False, dtype=None):
        self.picture.write(pages if twice else self.mosaics(iter(pages), dtype), path, twice, dtype)

    def mosaics(self, planes, dtype):
        import numpy as np

        for before in self.picture.pages():
            after = together(islice(planes, math.prod(BAYER)), BAYER, before.shape)
            missing = self.picture.missing(before)
            after = after if missing is None else np.where(missing, before, after)
            yield in_dtype(after, np.dtype(dtype or before.dtype))

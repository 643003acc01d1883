"""Mosaics of a sensor's colours, in which each pixel has seen one of them: taken apart for who denoises, put together
again. What is next to each other in a mosaic has seen two colours, so a network would take their pattern for noise, or
for detail."""

PATTERNS = "RGGB", "BGGR", "GRBG", "GBRG"  # by Bayer: of two rows and two columns
BLOCK = 16  # pixels: the side of the blocks in which the colours are compared
ENOUGH = 2048  # rows and columns of a larger picture that are looked at
APART = 0.5  # standard deviations of what differs by chance: noise reaches an eighth, see `is_mosaic`


def colours_of(pattern):
    """The colours of a pattern as `PATTERNS` has them: rows of letters."""
    return [pattern[:2], pattern[2:]]


def groups(colours):
    """Which places of a pattern are denoised together: lists of (row, column).

    Of Bayer's each green goes with the red and the blue, as the channels of one picture. Of all others each place is a
    picture of its own.
    """
    places = [(i, j) for i, row in enumerate(colours) for j in range(len(row))]
    if sorted("".join(colours)) == sorted("RGGB") and len(places) == 4:
        by = {letter: [p for p in places if colours[p[0]][p[1]] == letter] for letter in "RGB"}
        return [[by["R"][0], green, by["B"][0]] for green in by["G"]]
    return [[place] for place in places]


def apart(mosaic, colours):
    """The pictures (H, W) or (H, W, 3), one for each of the `groups`, of a mosaic, a NumPy array. One whose sides are
    no multiples of the pattern's goes on as it is before its end."""
    import numpy as np

    rows, columns = (whole_rows(n, p) for n, p in zip(mosaic.shape, (len(colours), len(colours[0])), strict=True))
    mosaic = mosaic[np.ix_(rows, columns)]
    for group in groups(colours):
        planes = [mosaic[i :: len(colours), j :: len(colours[0])] for i, j in group]
        yield np.stack(planes, -1) if len(planes) > 1 else planes[0].copy()


def whole_rows(number, period):
    """The rows of a picture, and some of its last ones again, for a multiple of a period of them."""
    if number < period:
        raise ValueError(f"has {number} rows or columns, fewer than its pattern of colours")
    return [i if i < number else i - period for i in range(-(-number // period) * period)]


def together(pages, colours, shape):
    """A mosaic (H, W), float64, of pictures as `apart` gives. A place that several have is their mean."""
    import numpy as np

    height, width = shape
    period, wide = len(colours), len(colours[0])
    total = np.zeros([-(-height // period) * period, -(-width // wide) * wide])
    seen = np.zeros([period, wide])
    for group, page in zip(groups(colours), pages, strict=True):
        for place, (i, j) in enumerate(group):
            total[i::period, j::wide] += page[..., place] if len(group) > 1 else page
            seen[i, j] += 1
    for i, j in np.ndindex(seen.shape):
        total[i::period, j::wide] /= seen[i, j]
    return total[:height, :width]


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
    across = values[::2, ::2] + values[1::2, 1::2] - values[::2, 1::2] - values[1::2, ::2]
    half = BLOCK // 2
    blocks = across.reshape(height // BLOCK, half, width // BLOCK, half).swapaxes(1, 2).reshape(-1, half * half)
    blocks = blocks[np.isfinite(blocks).all(1) & (np.ptp(blocks, 1) > 0)]
    return len(blocks) > 0 and bool((np.abs(blocks.mean(1)) > APART * blocks.std(1)).mean() > 0.5)


class Mosaic:
    """A picture, as `opening.open_picture` gives it, whose pages are mosaics: its own pages are the pictures of their
    colours. ValueError for pages that are none."""

    def __init__(self, picture, colours):
        self.picture, self.colours = picture, colours

    def count(self):
        return self.picture.count() * len(groups(self.colours))

    def pages(self):
        import numpy as np

        for page in self.picture.pages():
            if page.ndim != 2:
                raise ValueError(f"has {page.shape[2]} channels: expected a mosaic, which has one")
            missing = self.picture.missing(page)
            if missing is not None and missing.any():
                page = np.where(missing, np.nan, page.astype(np.float64))
            yield from apart(page, self.colours)

    def missing(self, page):
        return None  # it is not a number, and stays so

    def shown(self):
        return self.picture.pages()

    def write(self, pages, path, twice=False, dtype=None):
        self.picture.write(pages if twice else self.mosaics(iter(pages), dtype), path, twice, dtype)

    def mosaics(self, pages, dtype):
        import numpy as np

        for before in self.picture.pages():
            own = [next(pages) for _ in groups(self.colours)]
            after, missing = together(own, self.colours, before.shape), self.picture.missing(before)
            after = after if missing is None else np.where(missing, before, after)
            yield in_dtype(after, np.dtype(dtype or before.dtype))

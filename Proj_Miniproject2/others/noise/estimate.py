"""What the noise of a picture is, from the picture alone: how strong, how much with brightness, how far neighbours and
channels share it, and which pixels tell nothing.

Where a picture is calm, differences of its pixels are those of its noise. So second differences, which are zero on
planes, are squared and averaged over blocks. Of noise that is independent in every pixel they are the same at any
distance, of texture they grow: blocks where they don't show noise alone. Sorted by brightness they tell the variance
there, and a line through them the noise of a detector,

    variance = gain (value - offset) + read_noise^2

(Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", 2008). Noise that
neighbours share hardly shows in their differences, but in those of pixels some way apart, where texture shows as well.
Then there are no such blocks, and the calmest ones tell the strength, roughly.
"""

import math
from itertools import product
from typing import NamedTuple

import torch
from torch.nn.functional import avg_pool2d, max_pool2d

from .ranges import empty, found, medians, unspoilt, without_infinities
from .stabilise import stabilised

DISTANCES = 1, 2, 4, 8  # pixels, of the second differences
BLOCK, SMALL_BLOCK = 16, 8  # pixels a side, and of pictures whose sides are shorter than SMALL
SMALL = 192
GROWTH = 1.3, 1.5  # times, of the squared differences of noise alone from the first to the second and third distance
# Times at most, of a tenth of the blocks, if noise is independent, but texture nearly everywhere; and if neighbours
# hardly correlate.
TEXTURED = 1.1, 1.5
# Which share of a class of blocks counts, the calmest, and what that has of the mean of plain noise: of blocks that
# show noise alone, and of all.
ALONE, AMONG_TEXTURE = (0.5, 0.9), (0.25, 0.8)
LEAST_WHITE = 0.05  # of the blocks show noise alone, if it is independent
CHANCE, SHARED = 0.2, 0.22  # so few of the blocks may be texture by chance; if half have neighbours so alike, they are
CLASSES = 16  # of brightness
LEAST_CLASSES, LEAST_IN_CLASS = 4, 12  # blocks; from so many classes on they tell a gain
# Times its standard error is a line's slope, if it is no chance, and so many standard deviations of the noise do its
# classes differ in brightness.
CERTAIN, APART = 3, 0.3
LINED = 1.5  # times as much do rows differ as columns, or columns as rows, nearly everywhere, if there are lines
CALM = 0.1  # of the blocks are the calmest
LEAST_SIDE = 16  # pixels
TILE, TILES = 256, 9  # of a large picture so many parts of so many pixels a side are looked at
WITHIN = 0, 5, 2, 7, 1, 6, 3, 4  # eighths of a part of a stack: which page of each of eight parts is looked at
DEVIANT = 6  # standard deviations of the noise: what lies further off is none of it
MOST_DEAD = 0.1  # of the pixels: if more are unlike all around them, they are photons, one by one
FEW_DEAD = 1e-3
LEAST_DRAWN, DRAWN = 10, 2  # odd pixels beside each other, and so many times more than by chance: lines, dots, letters
SATURATED, LEAST_SATURATED = 1e-4, 9  # of the pixels, and pixels, have the highest value, if it is saturation's
# Of a block that is saturated, and of the blocks that are in parts: if more of these are so nearly all over, it is
# something bright that saturates them, and not noise that is cut off.
MOST_SATURATED, BLOWN, IN_PARTS = 0.9, 0.1, 0.1
LAGS = 1, 2, 3, 4, 5, 6, 7  # pixels: how far apart it is looked whether noise is shared, within a block


class TooSmall(ValueError):
    """A picture has too few pixels to tell its noise."""


EACH = "gain", "offset", "read_noise", "sd", "span", "lines", "middle", "trusted"  # of `Noise`, for each channel


class Noise(NamedTuple):
    """The noise of a picture, or of all pages of a stack. For each of its channels, as tuples:

    gain, offset, read_noise: the variance is gain (value - offset) + read_noise^2, in the picture's units. The offset
        is 0, or what was said, or where that can't be, the value at which the variance is none, or the darkest
    sd: the standard deviation over the whole picture
    span: (low, scale), between what the values lie, and a 175th of it, see `ranges.found`; a scale of 0 if they are
        the same nearly everywhere
    lines: the standard deviation of noise that whole rows or columns share, which isn't in `sd`; 0 where there is none
    middle: the mean of what is seen
    trusted: the share of the picture that shows nothing but independent noise

    And for all: white, whether it is independent from pixel to pixel; correlation of neighbouring pixels, from 0 to 1;
    reach, the distance in pixels from which on they share less than a tenth of it; channels, the correlation of
    neighbouring channels; and the shares of the pixels that are saturated, empty (as padding is) and dead.
    """

    gain: tuple
    offset: tuple
    read_noise: tuple
    sd: tuple
    span: tuple
    lines: tuple
    middle: tuple
    trusted: tuple
    white: bool
    correlation: float
    reach: int
    channels: float
    saturated: float
    empty: float
    dead: float

    def floor(self, channel):
        """The variance at the value 0 of a channel."""
        return self.read_noise[channel] ** 2 - self.gain[channel] * self.offset[channel]

    def of(self, channel):
        """The noise of one channel alone."""
        return self._replace(**{name: getattr(self, name)[channel : channel + 1] for name in EACH})


def estimate(pages, gain=None, read_noise=None, offset=None):
    """The `Noise` of a picture, or of a stack's pages: tensors (C, H, W) of any range, one or more, of which one is in
    memory at a time. NaN tells nothing.

    gain, read_noise, offset: what is known of the camera, in the picture's units. Of many pages `spread` tells which
    to give. Raises ValueError for pictures of less than LEAST_SIDE pixels a side, for a gain or a read noise that is
    negative or no number, and for an offset above all that the pictures hold.
    """
    parts = [part for page in pages for part in looked_at(page)]
    check_known(gain, read_noise, offset)
    if offset is not None and not any(bool((part >= offset).any()) for part in parts):
        raise ValueError(f"the offset {offset:g} lies above all values: the noise's variance would be negative")
    channels = [of_channel([part[i] for part in parts], gain, read_noise, offset) for i in range(len(parts[0]))]
    variance, *lags = torch.stack([channel["lags"] for channel in channels]).mean(0)
    correlations = [(lag / variance.clamp(min=1e-300)).item() for lag in lags]
    shares = ("saturated", "empty", "dead")
    return Noise(
        **{name: tuple(channel[name] for channel in channels) for name in EACH},
        white=all(channel["white"] for channel in channels),
        correlation=correlations[0],
        reach=next((lag for lag, c in zip(LAGS, correlations, strict=True) if c < 0.1), LAGS[-1]),
        channels=between_channels(parts),
        **{name: sum(channel[name] for channel in channels) / len(channels) for name in shares},
    )


def spread(count):
    """Which of so many pages tell the noise of all: eight at most, from all over it, and not always the same of
    channels or depths that take turns."""
    step = -(-count // len(WITHIN))
    places = (part * step + eighths * step // len(WITHIN) for part, eighths in enumerate(WITHIN))
    return [place for place in places if place < count]


def looked_at(page):
    """The parts of a page (C, H, W) that tell its noise, copied: they are looked at as the page would be."""
    height, width = page.shape[1:]
    if min(height, width) < LEAST_SIDE:
        raise TooSmall(f"noise is estimated from {LEAST_SIDE} x {LEAST_SIDE} pixels or more, got {height} x {width}")
    return [page[(slice(None), *tile)].clone() for tile in tiles(page.shape[1:])]


def check_known(gain, read_noise, offset):
    """ValueError for what no camera has."""
    for name, value in (("gain", gain), ("read noise", read_noise)):
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"the {name} must be a number, at least 0, got {value}")
    if offset is not None and not math.isfinite(offset):
        raise ValueError(f"the offset must be a number, got {offset}")


class Evidence(NamedTuple):
    """What a channel shows of its noise: of its blocks the `means` (N,), the mean squared second differences `squares`
    (K, N) at as many of DISTANCES as it has room for, those `along` rows and columns alone (2, N), and the `lags`
    (1 + L, N), see `covariances`; and the `values` (M,) of the pixels that tell something."""

    means: torch.Tensor
    squares: torch.Tensor
    along: torch.Tensor
    lags: torch.Tensor
    values: torch.Tensor


def of_channel(parts, gain, read_noise, offset):
    """The fields of `Noise` of a channel, parts (H, W), as a dict, and the `lags` (L,) of its calmest blocks."""
    parts = [part.double() for part in parts]
    finite = [without_infinities(part[None])[0] for part in parts]
    calm = [unspoilt(part[None])[0] for part in finite]
    highest = max(part.max() for part in finite)
    full = [part == highest for part in calm]
    below = torch.cat([part[~mask] for part, mask in zip(calm, full, strict=True)])
    next_to = (
        int((below == below.max()).sum()) if len(below) else 0
    )  # of a tail fewer have the highest value than these
    saturated = share(full)
    if saturated < SATURATED or sum(int(mask.sum()) for mask in full) < max(LEAST_SATURATED, next_to + 1):
        full, saturated = [torch.zeros_like(mask) for mask in full], 0.0
    blank = [empty(part[None])[0] | holes(raw) for part, raw in zip(finite, parts, strict=True)]
    told = [~(f | b) for f, b in zip(full, blank, strict=True)] if are_blown(full) else [~b for b in blank]
    odd = [(c != part) & t for c, part, t in zip(calm, finite, told, strict=True)]
    result = fitted(gathered(calm, told, full), gain, read_noise, offset)
    floor = result["read_noise"] ** 2 - result["gain"] * result["offset"]
    dead = [o & deviant(part, c, result["gain"], floor) for part, c, o in zip(finite, calm, odd, strict=True)]
    seen, around = (torch.cat([p[d] for p, d in zip(ps, dead, strict=True)]) for ps in (finite, calm))
    few = share(dead) <= FEW_DEAD
    if (
        share(dead) > MOST_DEAD
        or are_drawn(dead)
        or 2 * share(dead) < share(odd)
        or not (few or are_dead(seen, around))
    ):
        dead = [torch.zeros_like(o) for o in odd]
        result = fitted(gathered(finite, told, full), gain, read_noise, offset)
    shown = torch.cat([c[~b] for c, b in zip(calm, blank, strict=True)])
    span = found(shown[None, None]) if len(shown) else (0, 0)
    if offset is None:
        result |= off_set(result, span[0])
    blank = [b | ~part.isfinite() for b, part in zip(blank, parts, strict=True)]
    return result | {"span": span, "saturated": saturated, "empty": share(blank), "dead": share(dead)}


def off_set(result, darkest):
    """Another offset and read noise than those of an offset of 0, where the `darkest` value lies far below that."""
    gain, offset, read_noise = (result[name] for name in ("gain", "offset", "read_noise"))
    if not gain or darkest >= offset - DEVIANT * read_noise:
        return {}
    floor = read_noise**2 - gain * offset
    offset = max(darkest, -floor / gain)
    return {"offset": offset, "read_noise": max(floor + gain * offset, 0) ** 0.5}


def holes(picture):
    """Which pixels of a picture (H, W) that are no numbers lie among others of their kind."""
    gaps = ~picture.isfinite()
    if not bool(gaps.any()):
        return gaps
    crowded = medians(gaps[None].double())
    return gaps & (max_pool2d(crowded, 3, stride=1, padding=1)[0] > 0)


def are_drawn(odd):
    """Whether odd pixels, masks (H, W), are parts of lines, dots and letters: dead ones lie anywhere, and have others
    within two pixels as chance has it."""
    number = sum(int(mask.sum()) for mask in odd)
    beside = sum(float((avg_pool2d(mask[None].double(), 5, 1, 2)[0] * 25 - 1)[mask].sum()) for mask in odd)
    return beside > LEAST_DRAWN + DRAWN * 24 * number * share(odd)


def are_dead(values, around):
    """Whether the values (N,) of pixels unlike those around them are those of dead ones, and not of photons, one by
    one: nearly all of these lie above, and by the same, and as far from each other as what they fell on."""
    low, middle, high = quartiles(values - around)
    photons = bool((values > around).double().mean() > 0.9) and high - low < middle / 2
    stuck, _, most = quartiles(values)
    low, _, high = quartiles(around)
    return not photons or (stuck == most and low < high)


def quartiles(values):
    return values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype)).tolist()


def share(masks):
    return torch.stack([mask.double().mean() for mask in masks]).mean().item()


def deviant(picture, around, gain, floor):
    """Which pixels lie further from `around` than DEVIANT standard deviations of the noise."""
    if gain:
        return (stabilised(picture, gain, floor) - stabilised(around, gain, floor)).abs() > DEVIANT
    return (picture - around).square() > DEVIANT**2 * floor


def gathered(parts, told, full):
    """The `Evidence` of tiles (H, W), where `told` is true; `full` where they are saturated."""
    looked = [look(*one) for one in zip(parts, told, full, strict=True)]
    return Evidence(*(torch.cat(one, -1) for one in zip(*looked, strict=True)))


def look(picture, told, full):
    """The `Evidence` of a tile (H, W). Where it is saturated it shows less noise than it has: what is `censored`."""
    side = block_of(picture.shape)
    distances = [d for d in DISTANCES if 4 * d + side <= min(picture.shape)] or [1]
    margin = max(distances)
    near = -max_pool2d(-told[None, None].double(), 5, stride=1, padding=2)[0, 0]
    saturated = blocks(inside(full.to(picture.dtype), margin), side)
    whole = (blocks(inside(near, margin), side) == 1) & (saturated < MOST_SATURATED)
    shown = censored(saturated[whole])
    squares = [blocks(inside(second_differences(picture, d).square(), margin - d), side)[whole] for d in distances]
    part = inside(picture, margin)
    down, across = (x[2:] + x[:-2] - 2 * x[1:-1] for x in (picture, picture.mT))
    lines = inside(down, margin - 1)[:, 1:-1], inside(across.mT, margin - 1)[1:-1]
    along = torch.stack([blocks(one.square() / 6, side)[whole] for one in lines])
    evidence = torch.stack(squares) / shown, along / shown, covariances(part, side)[:, whole] / shown
    return blocks(part, side)[whole], *evidence, picture[told & ~full]


def are_blown(full):
    """Whether what saturates pixels, masks (H, W), is brighter by far than noise is strong."""
    shares = torch.cat([blocks(mask.double(), block_of(mask.shape)) for mask in full])
    parts = shares[shares > IN_PARTS]
    return len(parts) > 0 and (parts > MOST_SATURATED).double().mean() > BLOWN


def censored(share):
    """What of the variance of Gaussian noise is left where all above a threshold is cut off, as a share of it is: share
    tensors in [0, 1). (The variance of a censored normal distribution, as in Tobin, "Estimation of relationships for
    limited dependent variables", 1958.)"""
    normal = torch.distributions.Normal(0.0, 1.0)
    at = normal.icdf((1 - share).clamp(1e-9, 1 - 1e-9))  # the threshold
    density = normal.log_prob(at).exp()
    mean = at * share - density
    square = (1 - share) - at * density + at.square() * share
    return torch.where(share > 0, square - mean.square(), 1.0)


def covariances(picture, side):
    """For each block (N,) the mean product of pixels that lie 0, and so far apart as LAGS are, in rows and in columns,
    of what a block has beside a plane: (1 + L, N)."""
    height, width = (n // side * side for n in picture.shape)
    cut = picture[:height, :width].unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2).flatten(0, 1)
    at = torch.arange(side, dtype=cut.dtype) - (side - 1) / 2
    cut = cut - cut.mean((1, 2), keepdim=True)
    slope = at / at.square().sum() / side
    cut = cut - (cut.sum(1) @ slope)[:, None, None] * at - (cut.sum(2) @ slope)[:, None, None] * at[:, None]
    products = [cut.square().mean((1, 2))]
    for lag in LAGS:
        down, across = cut[:, lag:] * cut[:, :-lag], cut[:, :, lag:] * cut[:, :, :-lag]
        products.append((down.mean((1, 2)) + across.mean((1, 2))) / 2)
    return torch.stack(products)


def block_of(shape):
    """The side of the blocks of a picture of that shape."""
    return BLOCK if min(shape) >= SMALL else SMALL_BLOCK


def fitted(evidence, gain, read_noise, offset):
    """The noise that a channel's `Evidence` shows: a dict of `Noise`'s fields, and "lags"."""
    means, squares, along, lags, values = evidence
    if not len(means):  # all of it is empty
        nothing = {"gain": 0.0, "offset": 0.0, "read_noise": 0.0, "sd": 0.0, "trusted": 0.0, "white": True}
        nothing |= {"lines": 0.0, "middle": 0.0}
        return nothing | {"lags": torch.zeros(1 + len(LAGS), dtype=torch.float64)}
    calm = squares[:3].sum(0).argsort()[: max(LEAST_IN_CLASS, int(CALM * len(means)))]
    alone = squares[0] > 0
    for further, growth in zip(squares[1:3], GROWTH, strict=False):
        alone &= further < growth * squares[0]
    trusted, enough = alone.double().mean().item(), int(alone.sum()) >= LEAST_IN_CLASS
    growth = (squares[:2][-1] / squares[0].clamp(min=1e-300)).quantile(CALM)
    white = True
    shared = lags[1] / lags[0].clamp(min=1e-300)
    if trusted >= LEAST_WHITE and enough and (trusted > CHANCE or shared[alone].median() < SHARED):
        levels, variances = classes(means[alone], squares[0][alone], *ALONE)
    elif growth < TEXTURED[bool(shared.median() < SHARED)] and len(means) >= LEAST_IN_CLASS:
        # independent, but in texture nearly everywhere
        levels, variances = classes(means, squares[0], *AMONG_TEXTURE)
    else:
        white = not squares[0][calm].sum() or (gain is not None and read_noise is not None)  # a detector's is
        levels, variances = means[calm].mean()[None], squares[: len(GROWTH) + 1][-1][calm].mean()[None]
    gain, floor = line(levels, variances, gain, read_noise, offset)
    variance = (gain * values.clamp(levels.min(), levels.max()) + floor).clamp(min=0).mean()
    if offset is None:  # 0, or where the variance is none
        offset = -floor / gain if floor < 0 else 0.0
    return {
        "gain": gain,
        "offset": float(offset),
        "read_noise": max(floor + gain * offset, 0) ** 0.5,
        "sd": variance.sqrt().item(),
        "lines": lines_in(along[:, alone]) if enough else 0.0,
        "middle": values.mean().item(),
        "trusted": trusted,
        "white": white,
        "lags": lags[:, calm].mean(1),
    }


def lines_in(along):
    """The standard deviation of what rows, or columns, have of their own, from the mean squared differences across rows
    and across columns (2, N) of blocks: 0 unless nearly all show it, as texture may lie in any direction."""
    for one, other in (along, along.flip(0)):
        if (one / other.clamp(min=1e-300)).quantile(CALM) > LINED:
            return (one - other).mean().item() ** 0.5
    return 0.0


def classes(means, squares, share, of_mean):
    """The brightness (K,) and the variance (K,) of blocks, in classes of as many each: of each the calmest share
    counts, as there may be texture in the others, and `of_mean` is what that has of the mean where there is none. Where
    noise grows with brightness the calmest are darker, too, so it is their own brightness that counts."""
    order = means.argsort()
    size = max(LEAST_IN_CLASS, len(order) // CLASSES)
    parts = [part for part in order.split(size) if len(part) >= LEAST_IN_CLASS]
    calm = [part[squares[part].argsort()[: int(share * len(part))]] for part in parts]
    levels, variances = (torch.stack([values[part].mean() for part in calm]) for values in (means, squares))
    return levels, variances / of_mean


def line(levels, variances, gain=None, read_noise=None, offset=None):
    """The gain and the floor, the variance at 0, of classes of brightness: what isn't known is found.

    A line, iteratively reweighted: a class counts by the inverse of its variance, and less if that lies far above the
    line, as texture makes it.
    """
    if gain is not None and read_noise is not None:
        return float(gain), read_noise**2 - gain * (offset or 0)
    if gain is not None:
        return float(gain), (variances - gain * levels).median().item()
    if read_noise is not None:
        above = (levels - (offset or 0)).clamp(min=1e-300)
        gain = max(((variances - read_noise**2) / above).median().item(), 0)
        return gain, read_noise**2 - gain * (offset or 0)
    if len(levels) < LEAST_CLASSES or levels.max() - levels.min() < APART * variances.median().sqrt():
        return 0.0, variances.mean().item()
    most, middle = variances.max().clamp(min=1e-300), levels.mean()
    unit = (levels - middle).abs().max().clamp(min=1e-300)  # or of two columns unlike each other one is taken for zeros
    from_middle, weights = (levels - middle) / unit, 1 / variances.clamp(min=most / 50)
    at = torch.stack([from_middle, torch.ones_like(levels)], 1)
    for _ in range(20):
        slope, height = torch.linalg.lstsq(at * weights[:, None], (variances * weights)[:, None]).solution[:, 0]
        on_line = slope * from_middle + height
        above = variances - on_line
        usual = 4.5 * (above * weights).abs().median().clamp(min=1e-12) / weights
        weights = 1 / on_line.clamp(min=most / 50) / (1 + (above.clamp(min=0) / usual) ** 2)
    relative = 1 / on_line.clamp(min=most / 50)
    scatter = 1.48 * (above * relative).abs().median()
    if slope <= CERTAIN * scatter / (from_middle * relative).norm():
        return 0.0, max(height.item(), 0.0)
    gain = slope / unit
    return gain.item(), (height - gain * middle).item()


def between_channels(pictures):
    """The correlation of the noise of neighbouring channels, in the calmer half of the blocks of pictures (C, H, W); 0
    for a single channel."""
    if len(pictures[0]) < 2:
        return 0.0
    products = []
    for picture in pictures:
        whole = [without_infinities(channel[None].double())[0].nan_to_num() for channel in picture]
        part = [second_differences(channel, 1) for channel in whole]
        side = block_of(picture.shape[1:])
        own = torch.stack([blocks(one.square(), side) for one in part])
        shared = torch.stack([blocks(one * other, side) for one, other in zip(part, part[1:], strict=False)])
        products.append(torch.cat([own, shared]))
    products = torch.cat(products, 1)
    products = products[:, (products[: len(pictures[0])] > 0).all(0)]
    if not products.shape[1]:
        return 0.0
    own, both = products[: len(pictures[0])], products[len(pictures[0]) :]
    calm = own.sum(0).argsort()[: max(LEAST_IN_CLASS, own.shape[1] // 2)]  # fewer would be those that share little
    own, both = own[:, calm].mean(1), both[:, calm].mean(1)
    return (both / (own[:-1] * own[1:]).sqrt().clamp(min=1e-300)).mean().item()


def second_differences(pictures, distance):
    """(..., H, W) to (..., H - 2 distance, W - 2 distance): zero where a picture is a plane; of independent noise the
    standard deviation is that of the noise."""
    d = distance
    rows = pictures[..., 2 * d :, :] + pictures[..., : -2 * d, :] - 2 * pictures[..., d:-d, :]
    return (rows[..., 2 * d :] + rows[..., : -2 * d] - 2 * rows[..., d:-d]) / 6


def tiles(shape):
    """Slices of a picture of that shape: all of it, or TILES parts, evenly from all over it."""
    grid = [*product(*(range(0, max(n - TILE, 0) + 1, TILE) for n in shape))]
    side = [n if n < 2 * TILE else TILE for n in shape]
    chosen = grid[:: -(-len(grid) // TILES)]
    return [tuple(slice(start, start + n) for start, n in zip(place, side, strict=True)) for place in chosen]


def inside(picture, margin):
    """A picture without so many pixels at every side."""
    return picture[margin:-margin, margin:-margin] if margin else picture


def blocks(pictures, side):
    """The means of the blocks of pictures (..., H, W): (..., N)."""
    height, width = (n // side * side for n in pictures.shape[-2:])
    cut = pictures[..., :height, :width].unflatten(-1, (-1, side)).unflatten(-3, (-1, side))
    return cut.mean((-3, -1)).flatten(-2)


def rough_sd(pictures):
    """The standard deviation (N,) of pictures' noise (N, C, H, W), whatever it is, or of their texture: that of their
    calmest blocks."""
    squares = blocks(second_differences(pictures, DISTANCES[len(GROWTH)]).square(), SMALL_BLOCK)
    calm = squares.sort(-1).values[..., : max(1, int(CALM * squares.shape[-1]))]
    return calm.mean((1, 2)).sqrt()

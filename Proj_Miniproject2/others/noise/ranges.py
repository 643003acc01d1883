"""Pictures of any range, as measurements are, brought to the one that networks know: [0, 255]."""

import math
from collections import OrderedDict

import torch
from torch.nn.functional import pad

LEVELS = 40, 215  # what the picture's range becomes: noise goes beyond it, and should stay within [0, 255]
SPAN = LEVELS[1] - LEVELS[0]
BEYOND = 0.005  # the share of the pixels that may lie below the range, and above it
FAR, FAR_HERE = 7, 10  # see `outliers`
MOST_TOGETHER = 4  # outliers in one neighbourhood
SCATTERED, BESIDE = 2e-3, 0.3  # see `unspoilt`
EMPTY = 9  # the side of the least square that is empty if all of it is equal
STRIP = 64  # rows whose neighbourhoods are looked at together


def seen(picture, known=None):
    """What a network should see of a picture, and by how much it was made smaller.

    picture: float64 (C, H, W) in any range. known: the (low, scale) that the network was trained in, see `found`,
    instead of the picture's own. Returns float32 (C, H, W) in [0, 255], and the scale: a step of 1 in these was one of
    `scale` in the picture. The scale is 0 for a picture without a range, which is the same nearly everywhere or of NaN
    alone. For a > 0 a picture a x + b gives the same values as x, and a times its scale, if none is known.

    NaN, infinities and `outliers`, as hot pixels are, are replaced by the median around them. What lies far beyond the
    range is clamped. Raises ValueError if the range is too large for float64, or if the known one is of another kind of
    picture.
    """
    picture = repaired(picture.detach())
    low, scale = own = found(picture)
    if not scale:
        return torch.full_like(picture, LEVELS[0], dtype=torch.float32), 0
    if known:
        low, scale = known
        check_known(picture, own, known)
    return in_levels(picture, low, scale).clamp(0, 255).float(), scale


def repaired(picture):
    """A picture whose NaN, infinities and `outliers` are replaced by the median around them."""
    picture = without_infinities(picture)
    for _ in range(MOST_TOGETHER):  # in each turn those that lie beside others
        around = medians(picture)
        odd = outliers(picture, around)
        if not bool(odd.any()):
            break
        picture = torch.where(odd, around, picture)
    return picture


def unspoilt(picture):
    """As `repaired`, also if `outliers` are so many that some lie beside several others, as of 8 in 100 pixels do.

    Where SCATTERED of the pixels are outliers, and beside what was lone hardly anything lies as far, BESIDE as many, it
    is no line or letter.
    """
    calm = repaired(picture)
    lone = (calm != picture).sum()
    for _ in range(MOST_TOGETHER if lone > SCATTERED * picture.numel() else 0):
        around = medians(calm)
        far = is_far(calm, around)[0]
        if not 0 < far.sum() < BESIDE * lone:
            break
        calm = torch.where(far, around, calm)
    return calm


def without_infinities(picture):
    """A picture (C, H, W) whose NaN and infinities are replaced by the median around them, or of all of it."""
    if bool(picture.isfinite().all()):
        return picture
    picture = torch.where(picture.isfinite(), picture, torch.nan)
    around = medians(picture)
    around = torch.where(around.isnan(), picture.nanmedian(), around)
    return torch.where(picture.isnan(), around, picture)


def found(picture):
    """The range of a picture that is `repaired`: (low, scale), of which `in_levels` makes LEVELS; the scale is 0 if it
    has none. What is `empty`, as borders are, doesn't count."""
    low, high = bounds(picture.flatten())
    rest = picture[~empty(picture)]
    if low < high and len(rest):
        low, high = bounds(rest)
    low, high = float(low), float(high)
    scale = (high - low) / SPAN
    if scale == math.inf:
        raise ValueError(f"has values from {low:g} to {high:g}, too far from each other")
    return low, scale if scale > 0 else 0


def in_levels(picture, low, scale):
    """The picture in a network's grey levels; they may lie beyond [0, 255]."""
    return (picture - low) / scale + LEVELS[0]


def check_known(picture, own, known):
    """ValueError unless a network that was trained in the range `known` can see a picture of the range `own`: at least
    half of its pixels lie in [0, 255], and they differ by a grey level."""
    (low, scale), (known_low, known_scale) = own, known
    levels = in_levels(picture, *known)
    inside = ((levels >= 0) & (levels <= 255)).double().mean()
    if inside < 0.5 or SPAN * scale < known_scale:
        high, known_high = (first + SPAN * step for first, step in (own, known))
        raise ValueError(
            f"has values from {low:g} to {high:g}, but the weights were trained on another kind of picture, with "
            f"values from {known_low:g} to {known_high:g}"
        )


# A file of weights knows how its network sees pictures: those that were trained on measured ones have their range, so
# that all are seen alike, and those that were trained on even noise (see `stabilise`) say so. It lies where torch keeps
# what it knows of a state_dict besides tensors: who doesn't ask for it has the same weights.


def with_range(state, low, scale):
    """A state_dict, with a range of measured pictures."""
    return with_about(state, range=(float(low), float(scale)))


def with_about(state, **about):
    """A state_dict with what is to be known of it: `range`, the (low, scale) of measured pictures; `seen`, the standard
    deviation of the noise of what it was trained on, and the middle, in grey levels; `even`, whether it is of a network
    that sees noise of any picture made even."""
    state = OrderedDict(state)
    state._metadata = {"": about}
    return state


def about(state):
    """What a state_dict from a file says of how its network sees pictures, a dict."""
    all_of_it = getattr(state, "_metadata", None)
    own = all_of_it.get("") if isinstance(all_of_it, dict) else None
    return own if isinstance(own, dict) else {}


def range_of(state):
    """The (low, scale) that a state_dict from a file has, or None. ValueError if they can't be that."""
    kept = about(state).get("range")
    if kept is not None and (not is_pair(kept) or kept[1] <= 0):
        raise ValueError(f"the range of its pictures should be two numbers, the second above 0, got {kept!r:.80}")
    return kept


def seen_of(state):
    """The (sd, middle) that a state_dict from a file has, or None. ValueError if they can't be that."""
    kept = about(state).get("seen")
    if kept is not None and (not is_pair(kept) or kept[0] <= 0):
        raise ValueError(f"what it sees should be two numbers, the first above 0, got {kept!r:.80}")
    return kept


def is_pair(kept):
    """Whether it is a tuple of two finite floats."""
    return (
        isinstance(kept, tuple) and [type(value) for value in kept] == [float, float] and all(map(math.isfinite, kept))
    )


def is_even(state):
    """Whether a state_dict from a file is of a network that sees even noise."""
    return about(state).get("even") is True


def outliers(picture, around):
    """Which pixels of a picture have nothing to do with those around them: bool (C, H, W).

    Above all of their neighbours but one, or below, they are by more than FAR times the distance to the median of their
    neighbourhood, `around`, that nine in ten pixels keep, and by more than FAR_HERE times the median distance right
    there (11.5 and 6.7 standard deviations of Gaussian noise). Pixels that are just that median, as in empty parts, and
    in pictures of few photons, aren't counted.
    """
    far, bound = is_far(picture, around)
    far = far.nonzero()  # few, so that the rest takes no time
    rows, columns = torch.arange(-1, 2).repeat_interleave(3), torch.arange(-1, 2).repeat(3)
    rows = (far[:, 1:2] + rows).clamp(0, picture.shape[1] - 1)
    columns = (far[:, 2:] + columns).clamp(0, picture.shape[2] - 1)
    patches, places = picture[far[:, :1], rows, columns].sort(1).values, far.unbind(1)
    value = picture[places]
    result = torch.zeros_like(picture, dtype=torch.bool)
    result[places] = (value - patches[:, 6] > bound[places]) | (patches[:, 2] - value > bound[places])
    return result


def is_far(picture, around):
    """Which pixels lie further from the median of their neighbourhood than `outliers` may, bool (C, H, W), and what
    that is, of this shape."""
    distance = (picture - around).abs()
    some = distance[distance > 0]
    if not len(some):
        return torch.zeros_like(picture, dtype=torch.bool), distance
    keep = max(1 - 0.1 * distance.numel() / len(some), 0.5)
    bound = (FAR_HERE * medians(distance)).clamp(min=float(FAR * quantile(some, keep)))
    return distance > bound, bound


def medians(picture):
    """The median of each pixel's neighbourhood of 3 x 3, NaN left out; the picture goes on as it is at its border."""
    padded, result = pad(picture, (1, 1, 1, 1), mode="replicate"), torch.empty_like(picture)
    for top in range(0, picture.shape[1], STRIP):
        strip = padded[:, top : top + STRIP + 2]
        if bool(strip.isnan().any()):
            part = strip.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).nanmedian(3).values
        else:  # the same by comparisons of whole rows, in a tenth of the time: first those of each column
            three = strip[:, :-2], strip[:, 1:-1], strip[:, 2:]
            lowest, middle, highest = lowest_of(*three), middle_of(*three), highest_of(*three)
            lowest, middle, highest = ((t[..., :-2], t[..., 1:-1], t[..., 2:]) for t in (lowest, middle, highest))
            part = middle_of(highest_of(*lowest), middle_of(*middle), lowest_of(*highest))
        result[:, top : top + STRIP] = part
    return result


def lowest_of(a, b, c):
    return a.minimum(b).minimum(c)


def highest_of(a, b, c):
    return a.maximum(b).maximum(c)


def middle_of(a, b, c):
    return a.minimum(b).maximum(a.maximum(b).minimum(c))


def empty(picture):
    """Which pixels lie in a square of EMPTY x EMPTY that are all equal: bool (C, H, W); none in smaller pictures."""
    result = torch.zeros(picture.shape, dtype=torch.bool)
    if min(picture.shape[1:]) < EMPTY:
        return result
    rows, columns = (n - EMPTY + 1 for n in picture.shape[1:])
    for channel, found in zip(picture, result, strict=True):  # one after the other, as of a large picture each counts
        across = consecutive(channel[:, 1:] == channel[:, :-1], 1)  # EMPTY equal ones in a row
        squares = consecutive(channel[1:] == channel[:-1], 0)[:rows, :columns]
        for i in range(EMPTY):
            squares = squares & across[i : i + rows]
        if bool(squares.any()):
            for i in range(EMPTY):
                for j in range(EMPTY):
                    found[i : i + rows, j : j + columns] |= squares
    return result


def consecutive(equal, axis):
    """Where EMPTY - 1, a power of 2, are true one after the other along an axis."""
    length = 1
    while length < EMPTY - 1:
        n = equal.shape[axis] - length
        equal = equal.narrow(axis, 0, n) & equal.narrow(axis, length, n)
        length *= 2
    return equal


def bounds(values):
    """Between what all values (N,) lie, but for a share BEYOND at either end."""
    return quantile(values, BEYOND), quantile(values, 1 - BEYOND)


def quantile(values, share):
    """The value below which a share of the values (N,) lies: one of them."""
    return values.kthvalue(1 + round(share * (len(values) - 1))).values

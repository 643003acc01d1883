"""Mosaics of a sensor's colours, denoised: what the colours have in common, and what they differ in."""

import math
from functools import partial
from itertools import islice

import torch
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

from ..formats.arrays import tensor_of
from ..formats.mosaic import in_dtype
from ..noise.estimate import TooSmall, estimate
from ..noise.ranges import without_infinities
from ..noise.stabilise import restored, stabilised
from .way import alive, denoise_array, denoise_pixels

# Of the four pixels of a Bayer pattern, row by row, an orthonormal basis: their sum, the differences on both diagonals,
# of which one is that of two greens, and of both diagonals. Noise that is white and even stays so, as strong as it was,
# and what is seen gathers in the sum.
BASIS = ((0.5, 0.5, 0.5, 0.5), (0.5**0.5, 0, 0, -(0.5**0.5)), (0, 0.5**0.5, -(0.5**0.5), 0), (0.5, -0.5, -0.5, 0.5))
LOOKS = 2  # at how far colours are apart
FAR = 3  # blocks: over so many on each side the colours are apart by the same, where noise is measured


def denoise_fours(models, planes, progress=iter, strength=1, known=None, repair=False):
    """Denoise the planes of mosaics of 2 x 2 pixels, NumPy arrays (H, W), four after another: yields as many.

    Each mosaic's own noise, one for all its colours, is made even before these are mixed by BASIS. known: of the
    camera, see `estimate_noise`. repair: as there.
    """
    planes = iter(planes)
    while four := list(islice(planes, len(BASIS))):
        yield from denoise_one(by_basis, noise_of, models, four, progress, strength, known or {}, repair)


def denoise_coloured(models, planes, colours, progress=iter, strength=1, known=None, repair=False):
    """The same of the planes of one mosaic of a larger pattern, as X-Trans has: a list. colours: the number of each."""
    side = math.isqrt(len(colours))
    pattern = torch.tensor(colours).view(side, side)
    ways = partial(by_colours, pattern), partial(noise_below_colours, pattern)
    return denoise_one(*ways, models, list(planes), progress, strength, known or {}, repair)


def denoise_one(way, told, models, planes, progress, strength, known, repair):
    """The planes of one mosaic, denoised by a `way`, once their noise, which is `told`, is even."""
    whole = torch.stack([tensor_of(plane) for plane in planes]).double()
    try:
        noise = told(whole, known)
    except TooSmall:
        noise = None
    if noise is None or not any(model.even for model in models):
        return [denoise_array(models, plane, progress, strength) for plane in planes]
    if not noise.sd[0] or not strength:
        return planes
    finite = without_infinities(whole)
    picture = torch.cat([alive(plane[None], noise) for plane in finite]) if noise.dead else finite
    gain, floor = noise.gain[0], noise.floor(0)
    even = stabilised(picture, gain, floor) if gain else picture / noise.sd[0]

    def denoised(plane, sd=1):
        own = estimate([plane[None]], gain=0, read_noise=sd)._replace(white=True)  # as all noise of a sensor is
        return denoise_pixels(models, plane, progress, max(strength, 1), own, whole=False)

    clean = way(even, denoised)
    if torch.equal(clean, even):  # the noise is too faint; `restored` would add what noise takes from a mean
        return planes
    result = restored(clean, gain, floor, noise.offset[0]) if gain else clean * noise.sd[0]
    result = picture + min(strength, 1) * (result - picture)
    result = result if repair else result + (finite - picture)
    result = torch.where(whole.isfinite(), result, whole).numpy()
    return [in_dtype(one, plane.dtype) for one, plane in zip(result, planes, strict=True)]


def by_basis(even, denoised):
    """Four planes (4, H, W) of even noise, mixed by BASIS, `denoised` one by one, and brought back."""
    basis = torch.tensor(BASIS, dtype=even.dtype)
    mixed = torch.einsum("ij,jhw->ihw", basis, even)
    clean = torch.stack([denoised(plane) for plane in mixed])
    return even if torch.equal(clean, mixed) else torch.einsum("ji,jhw->ihw", basis, clean)


def by_colours(pattern, even, denoised):
    """The planes (P * P, H, W) of a mosaic of a `pattern` (P, P) and even noise, denoised: by how far the means of its
    colours in small blocks lie apart, and then by what is left, a grey picture of all pixels. As that has detail, which
    sets colours apart where there are none, they are looked at once more without it."""
    mosaic, grey = pixel_shuffle(even[None], len(pattern))[0, 0], 0
    for _ in range(LOOKS):
        apart, counts = colours_apart(mosaic - grey, pattern)
        clean, most = torch.zeros_like(apart), counts.argmax()
        for colour in range(len(counts)):
            if colour != most:  # which follows from the others
                clean[colour] = denoised(apart[colour], (1 / counts[colour] - 1 / counts.sum()).item() ** 0.5)
                clean[most] -= counts[colour] / counts[most] * clean[colour]
        offsets = at_its_colours(clean, mosaic, pattern)
        before = mosaic - offsets
        grey = denoised(before)
    return even if torch.equal(grey, before) else pixel_unshuffle((grey + offsets)[None, None], len(pattern))[0]


def noise_below_colours(pattern, planes, known):
    """The noise of the planes of a mosaic, one for all, once its colours are of one brightness: blocks are as bright
    then as the mean of their pixels was, and as noisy."""
    mosaic = pixel_shuffle(planes[None], len(pattern))[0, 0]
    apart, _ = colours_apart(mosaic, pattern)
    smooth = avg_pool2d(apart, 2 * FAR + 1, 1, FAR, count_include_pad=False)
    return estimate([(mosaic - at_its_colours(smooth, mosaic, pattern))[None]], **known)


def colours_apart(mosaic, pattern):
    """By how much the means of the colours of a mosaic (H, W) lie above that of all of their block, (C, h, w), and how
    many pixels of a block each has, (C,). Blocks are the smallest in which all have as many everywhere."""
    masks = torch.stack([pattern == colour for colour in pattern.unique()]).to(mosaic)
    sides = (side for side in range(1, len(pattern) + 1) if len(pattern) % side == 0)
    parts = (masks.unfold(1, side, side).unfold(2, side, side).sum((3, 4)).flatten(1) for side in sides)
    counts = next(part[:, 0] for part in parts if bool((part == part[:, :1]).all()) and bool(part.all()))
    side = math.isqrt(int(counts.sum()))
    tiles = masks.repeat(1, *(n // len(pattern) for n in mosaic.shape))
    sums = avg_pool2d(mosaic * tiles, side) * side**2
    return sums / counts[:, None, None] - sums.sum(0) / side**2, counts


def at_its_colours(apart, mosaic, pattern):
    """What lies apart in blocks, (C, h, w), in each pixel of a mosaic (H, W), of the colour that it has."""
    wide = interpolate(apart[None], mosaic.shape, mode="bilinear")[0]
    numbers = torch.searchsorted(pattern.unique(), pattern)
    return wide.gather(0, numbers.repeat(*(n // len(pattern) for n in mosaic.shape))[None])[0]


def noise_of(planes, known):
    """The noise of the planes (4, H, W) of a mosaic, one for all. Where texture hides it, as each plane has but every
    second pixel, the difference of the two greens tells it: they are nearer to each other. Where it is known what no
    light is, all of it is then said to be of photons."""
    noise = estimate([plane[None] for plane in planes], **known)
    if noise.white or known.get("gain") is not None or known.get("read_noise") is not None:
        return noise
    diagonals = [planes[[0, 3]], planes[[1, 2]]]
    sds = [estimate([(one - other)[None] / 2**0.5]).sd[0] for one, other in diagonals]
    sd, greens = min(zip(sds, diagonals, strict=True), key=lambda pair: pair[0])
    if not 0 < sd < noise.sd[0]:
        return noise
    offset = known.get("offset")
    light = 0 if offset is None else greens.nanmean().item() - offset
    told = {"gain": sd**2 / light, "read_noise": 0} if light > 0 else {"gain": 0, "read_noise": sd}
    return estimate([plane[None] for plane in planes], **{**known, **told})

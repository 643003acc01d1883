"""Mosaics of a sensor's colours, denoised: what the colours have in common, and what they differ in."""

from itertools import islice

import torch

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


def denoise_fours(models, planes, progress=iter, strength=1, known=None, repair=False):
    """Denoise the planes of mosaics of 2 x 2 pixels, NumPy arrays (H, W), four after another: yields as many.

    Each mosaic's own noise, one for all its colours, is made even before these are mixed by BASIS. known: of the
    camera, see `estimate_noise`. repair: as there.
    """
    planes = iter(planes)
    while four := list(islice(planes, len(BASIS))):
        yield from denoise_four(models, four, progress, strength, known or {}, repair)


def denoise_four(models, planes, progress, strength, known, repair):
    """The four planes of one mosaic, denoised."""
    whole = torch.stack([tensor_of(plane) for plane in planes]).double()
    try:
        noise = noise_of(whole, known)
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
    basis = torch.tensor(BASIS, dtype=even.dtype)
    mixed = torch.einsum("ij,jhw->ihw", basis, even)
    clean = torch.empty_like(mixed)
    for i, plane in enumerate(mixed):
        own = estimate([plane[None]], gain=0, read_noise=1)._replace(white=True)  # as all noise of a sensor is
        clean[i] = denoise_pixels(models, plane, progress, max(strength, 1), own, whole=False)
    if torch.equal(clean, mixed):  # the noise is too faint; `restored` would add what noise takes from a mean
        return planes
    even = torch.einsum("ji,jhw->ihw", basis, clean)
    result = restored(even, gain, floor, noise.offset[0]) if gain else even * noise.sd[0]
    result = picture + min(strength, 1) * (result - picture)
    result = result if repair else result + (finite - picture)
    result = torch.where(whole.isfinite(), result, whole).numpy()
    return [in_dtype(one, plane.dtype) for one, plane in zip(result, planes, strict=True)]


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

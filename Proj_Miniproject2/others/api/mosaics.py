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
        noise = estimate([plane[None] for plane in whole], **known)
    except TooSmall:
        noise = None
    if noise is None or not any(model.even for model in models):
        return [denoise_array(models, plane, progress, strength) for plane in planes]
    if not noise.sd[0]:
        return planes
    finite = without_infinities(whole)
    picture = torch.cat([alive(plane[None], noise) for plane in finite]) if noise.dead else finite
    gain, floor = noise.gain[0], noise.floor(0)
    even = stabilised(picture, gain, floor) if gain else picture / noise.sd[0]
    basis = torch.tensor(BASIS, dtype=even.dtype)
    mixed = torch.einsum("ij,jhw->ihw", basis, even)
    for i, plane in enumerate(mixed):
        own = estimate([plane[None]], gain=0, read_noise=1)
        mixed[i] = denoise_pixels(models, plane, progress, strength, own, whole=False)
    even = torch.einsum("ji,jhw->ihw", basis, mixed)
    result = restored(even, gain, floor, noise.offset[0]) if gain else even * noise.sd[0]
    result = result if repair else result + (finite - picture)
    result = torch.where(whole.isfinite(), result, whole).numpy()
    return [in_dtype(one, plane.dtype) for one, plane in zip(result, planes, strict=True)]

"""Noises as pure functions of an image and a `torch.Generator`.

The course's noise comes from pixelating a photo: cut it into blocks; the clean image has the mean of each
block, a noisy image one pixel of each block, drawn uniformly. But for rounding the noise has mean zero given
the photo, as Noise2Noise needs (Lehtinen et al. 2018, arXiv:1803.04189). Generators are CPU generators.
"""

import torch


def draw_offsets(shape, block, generator):
    """For each place of `shape`, the (row, column) of one pixel of its block: two tensors in [0, block)."""
    draw = torch.randint(block * block, shape, generator=generator)
    row = draw.div(block, rounding_mode="floor")
    return row, draw - row * block


def _blocks(crops, block):
    """(N, C, H, W) to (N, C, H / block, W / block, block, block)."""
    if crops.dim() != 4 or block < 1 or crops.shape[-2] % block or crops.shape[-1] % block:
        raise ValueError(f"expected crops (N, C, H, W) of whole blocks of {block} pixels, got {tuple(crops.shape)}")
    return crops.unflatten(-1, (-1, block)).unflatten(-3, (-1, block)).transpose(-3, -2)


def pixel_noise(crops, block, generator):
    """One uniformly drawn pixel of each block, all its channels together.

    crops: (N, C, H, W), H and W multiples of `block`. Returns (N, C, H / block, W / block) of the same dtype.
    """
    blocks = _blocks(crops, block)
    n, c, h, w = blocks.shape[:4]
    row, column = draw_offsets((n, 1, h, w, 1), block, generator)
    index = (row * block + column).to(crops.device).expand(n, c, h, w, 1)
    return blocks.flatten(-2).gather(-1, index).squeeze(-1)


def block_mean(crops, block):
    """The mean of each block, rounded for uint8 crops.

    crops: (N, C, H, W), H and W multiples of `block`. Returns (N, C, H / block, W / block) of the same dtype.
    """
    blocks = _blocks(crops, block)
    if crops.is_floating_point():
        return blocks.mean((-2, -1))
    return blocks.float().mean((-2, -1)).round().to(crops.dtype)


def to_uint8(images):
    """Float images rounded and clamped to [0, 255]."""
    return images.round().clamp(0, 255).to(torch.uint8)


def gaussian_noise(clean, sigma, generator):
    """Additive white Gaussian noise of standard deviation `sigma`, in grey levels of [0, 255].

    clean: uint8, or float in [0, 255], of any shape. Returns uint8, rounded and clamped, as a file would hold
    it.
    """
    if not sigma >= 0:
        raise ValueError(f"expected sigma >= 0, got {sigma}")
    noise = torch.empty(clean.shape).normal_(generator=generator).to(clean.device)
    return to_uint8(clean.float() + sigma * noise)


def camera_noise(clean, sigma, gain, generator):
    """Poisson noise of variance `gain` times the grey level, and Gaussian noise of standard deviation `sigma` upon it.

    clean: float (N, C, H, W) in [0, 255]; sigma, gain: (N, 1, 1, 1), at least 0. Returns float32, neither rounded nor
    clamped, so that its mean is the clean image: a target. An input is `to_uint8` of it, as a file would hold it.
    """
    steps = gain.clamp(min=1e-3)
    counts = torch.where(gain > 0, torch.poisson(clean / steps, generator=generator) * steps, clean)
    return counts + sigma * torch.empty(clean.shape).normal_(generator=generator)


def poisson_noise(clean, peak, generator):
    """Shot noise: Poisson counts of mean `peak` at white, scaled back to [0, 255].

    clean: uint8, or float in [0, 255], of any shape. Returns uint8, rounded and clamped, as a file would hold
    it.
    """
    if not peak > 0:
        raise ValueError(f"expected peak > 0, got {peak}")
    counts = torch.poisson(clean.float().cpu() * (peak / 255), generator=generator).to(clean.device)
    return to_uint8(counts * (255 / peak))

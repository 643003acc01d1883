"""Procedurally drawn scenes, for a machine without photos: the dead-leaves model of natural images.

Opaque leaves fall onto the plane one upon the other, their radii r distributed as r^-3 between two bounds,
which gives the scale invariance of natural images (Matheron 1968; Lee, Mumford & Huang 2001, "Occlusion
models for natural images", IJCV 41). Ours are discs, ellipses and rectangles, each coloured, shaded and
textured.
"""

import math

import torch
from torch.nn.functional import interpolate

from ...model import check_int
from .photos import PairStream, pairs_of

# Chosen such that pairs have the noisy PSNR of the course's: see `builtin_data`.
R_MIN = 4, 60  # radius of a scene's smallest leaves in pixels, in a busy scene and in a calm one
R_MAX = 200  # radius of the largest
LAYERS = 5  # mean number of leaves over a pixel
CONTRAST = 53  # standard deviation of the leaves' brightness, in grey levels, as all below
CHROMA = 20  # standard deviation of each channel around the brightness
SHADE = 30  # standard deviation of the slope, from a leaf's centre to its rim
TEXTURE = 20, 1  # mean standard deviation of the texture, in a busy scene and in a calm one
BANDS = 2, 4, 8  # wavelengths of the texture: the spacing in pixels of the noise it interpolates


def _top_leaf(x, y, radius, angle, aspect, rectangle, size):
    """The number of the leaf seen at each pixel, (size, size). Leaves fall in order, the last lies on top."""
    top = torch.zeros(size * size, dtype=torch.long)
    octave = radius.log2().long()
    for k in range(int(octave.max()) + 1):  # leaves of like size at once, each in a box around its centre
        leaf = (octave == k).nonzero()[:, 0]
        reach = min(2 ** (k + 1), R_MAX) + 1
        box = torch.arange(-reach, reach + 1)
        px, py = x[leaf].long()[:, None, None] + box, y[leaf].long()[:, None, None] + box[:, None]
        dx, dy = px - x[leaf, None, None], py - y[leaf, None, None]
        cos, sin = angle[leaf, None, None].cos(), angle[leaf, None, None].sin()
        # Coordinates along the leaf's axes; a rectangle's corners lie at `radius`, as an ellipse's far ends.
        u, v = (cos * dx + sin * dy).abs(), (cos * dy - sin * dx).abs() / aspect[leaf, None, None]
        diagonal = (1 + aspect[leaf, None, None] ** 2).sqrt()
        distance = torch.where(rectangle[leaf, None, None], torch.maximum(u, v) * diagonal, torch.hypot(u, v))
        inside = distance <= radius[leaf, None, None]
        # The plane is a torus, so that leaves are as dense at the border as elsewhere.
        place = (py % size * size + px % size)[inside]
        top.scatter_reduce_(0, place, leaf[:, None, None].expand_as(inside)[inside], "amax")
    return top.view(size, size)


def _draw_scene(size, calm, generator):
    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    r_min = R_MIN[0] ** (1 - calm) * R_MIN[1] ** calm
    near, far = r_min**-2, R_MAX**-2
    mean_area = 2 * math.pi * math.log(R_MAX / r_min) / (near - far)  # of discs
    n = max(1, round(LAYERS * size**2 / mean_area))
    # The inverse of the distribution function of the density r^-3.
    radius = (near - uniform(n) * (near - far)) ** -0.5
    x, y, angle = uniform(n) * size, uniform(n) * size, uniform(n) * math.pi
    aspect = (0.3 + uniform(n)).clamp(max=1)  # a third of the ellipses are discs
    rectangle = uniform(n) < 0.5
    top = _top_leaf(x, y, radius, angle, aspect, rectangle, size)

    colour = 120 + CONTRAST * normal(1, n) + CHROMA * normal(3, n)
    slope = SHADE * normal(2, n) / radius
    amount = TEXTURE[0] ** (1 - calm) * TEXTURE[1] ** calm * -uniform(n).clamp(min=1e-6).log()
    band = torch.randint(len(BANDS), (n,), generator=generator)
    noise = torch.cat(
        [interpolate(normal(1, 1, size // k, size // k), size=(size, size), mode="bicubic")[0] for k in BANDS]
    )
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    dx = (columns - x[top] + size / 2) % size - size / 2
    dy = (rows - y[top] + size / 2) % size - size / 2
    texture = noise[band[top], rows, columns] * amount[top]
    image = colour[:, top] + slope[0, top] * dx + slope[1, top] * dy + texture
    return image.round().clamp(0, 255).to(torch.uint8)


def draw_scenes(n, size=512, seed=0):
    """`n` scenes, deterministic by `seed`: a list of uint8 tensors (3, size, size)."""
    check_int("n", n, 0)
    check_int("size", size, max(BANDS))
    generator = torch.Generator().manual_seed(seed)
    # Busy and calm ones mixed by the golden ratio, so that any few in a row are a fair sample.
    return [_draw_scene(size, i * (5**0.5 - 1) / 2 % 1, generator) for i in range(n)]


def builtin_data(train=2000, val=200, seed=0):
    """Data from drawn scenes: ((noisy1, noisy2), (noisy, clean)), uint8 (N, 3, 32, 32).

    `train` pairs to train on and `val` to validate on, from other scenes. The noisy images' PSNR is close to
    that of the course's photos, 20.7 dB in the mean. Deterministic by `seed`.
    """
    scenes = draw_scenes(48, seed=seed)
    noisy, _, clean = pairs_of(scenes[32:], val, seed)
    return PairStream(scenes[:32]).draw(train, seed), (noisy, clean)

"""Where a training's pairs come from: the sources, by the names that `train --source` takes.

Each takes a list of photos and a `lab.runs.Run`, and returns a function `epoch -> (inputs, targets)`, uint8 (pairs, 3,
32, 32) if nothing else is said, other pairs with every seed and epoch. Those of SEVERAL_TARGETS know `run.targets`.
"""

import torch

from .noise import camera_noise, gaussian_noise, to_uint8
from .photos import PairStream, pairs_of, random_crops

MIXED_SHARE, SIGMAS = 0.2, (3, 6, 12, 25)  # of the pairs in `mixed`, and their noise
CROP = 96  # side of the images of `camera`
BLOCKS = 6, 7, 8  # of `varied`


def stream_seed(run, epoch):
    return 1_000_000 * (run.seed + 1) + epoch


def fresh(photos, run):
    """New pairs in every epoch."""
    stream = PairStream(photos)
    return lambda epoch: stream.draw(run.pairs, stream_seed(run, epoch), run.targets)


def varied(photos, run):
    """As `fresh`, but every second pair is of a photo that was `recoloured` anew for the epoch, and downsampled by one
    of BLOCKS: large networks learn few photos by heart, and these are new ones."""
    stream = PairStream(photos)

    def draw(epoch):
        seed, others = stream_seed(run, epoch), run.pairs // 2
        generator = torch.Generator().manual_seed(seed)
        new = [recoloured(photo, generator) for photo in photos]
        pairs = [stream.draw(run.pairs - others, seed, run.targets)]
        for i, block in enumerate(BLOCKS, 1):
            n = i * others // len(BLOCKS) - (i - 1) * others // len(BLOCKS)
            pairs.append(PairStream(new, block).draw(n, seed + i * 100_000, run.targets))
        return tuple(torch.cat(parts) for parts in zip(*pairs, strict=True))

    return draw


def recoloured(photo, generator):
    """A photo (3, H, W) with its channels in another order, each by a curve of its own: v -> 255 (v / 255)^gamma."""
    gammas = (0.25 * torch.randn(1, generator=generator) + 0.1 * torch.randn(3, generator=generator)).exp()
    curves = (torch.linspace(0, 1, 256) ** gammas[:, None] * 255).round().byte()
    order = torch.randperm(3, generator=generator).tolist()
    return torch.stack([curve[photo[i].long()] for curve, i in zip(curves, order, strict=True)])


def fixed(photos, run):
    """The same pairs in every epoch, as from the course's file."""
    pair = pairs_of(photos, run.pairs, run.seed, clean=False)
    return lambda epoch: pair


def clean(photos, run):
    """As `fresh`, but the targets are the clean images: what Noise2Noise does without."""
    stream = PairStream(photos)
    return lambda epoch: stream.draw_with_clean(run.pairs, stream_seed(run, epoch))[::2]


def mixed(photos, run):
    """As `fresh`, but in the last quarter of the epochs MIXED_SHARE of the pairs have Gaussian noise of SIGMAS."""
    stream = PairStream(photos)

    def draw(epoch):
        others = round(MIXED_SHARE * run.pairs) if 4 * epoch >= 3 * run.recipe.num_epochs else 0
        seed = stream_seed(run, epoch)
        pair = stream.draw(run.pairs - others, seed)
        other_pair = gaussian_pairs(stream, others, seed + 500_000)
        return tuple(torch.cat(both) for both in zip(pair, other_pair, strict=True))

    return draw


def gaussian_pairs(stream, n, seed):
    """n pairs with Gaussian instead of the course's noise, equally many of each of SIGMAS."""
    *_, images = stream.draw_with_clean(n, seed)
    generator = torch.Generator().manual_seed(seed)
    parts = list(zip(SIGMAS, images.tensor_split(len(SIGMAS)), strict=True))
    return [torch.cat([gaussian_noise(part, sigma, generator) for sigma, part in parts]) for _ in range(2)]


def camera(photos, run):
    """Pairs (pairs, 3, CROP, CROP) of photos at their full resolution with a camera's noise, of any strength.

    Eight in ten are Gaussian with sigma uniform in [0, 55], one has Poisson noise, whose standard deviation at mid-grey
    is uniform in [0, 45], and one has both. Inputs are uint8, rounded and clamped as a file; targets are neither, so
    that the network learns to take away what clamping does to the mean.
    """

    def draw(epoch):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        clean = random_crops(photos, run.pairs, CROP, generator).float()
        kind, strength, shot = torch.rand(3, run.pairs, 1, 1, 1, generator=generator)
        sigma = torch.where(kind < 0.9, 55 * strength, 0)
        gain = torch.where(kind >= 0.8, (45 * shot) ** 2 / 128, 0)
        inputs = to_uint8(camera_noise(clean, sigma, gain, generator))
        # the sum of n draws of either noise is one draw of n times its variance
        return inputs, camera_noise(clean, sigma / run.targets**0.5, gain / run.targets, generator)

    return draw


def shots(scenes, run):
    """Aligned crops of two different shots of a scene, both drawn anew each time, of lists of every scene's shots.

    A scene comes as often as any other. Pairs are uint8 (pairs, 3, size, size), size CROP or the scenes' shortest side.
    """
    size = min(CROP, *(min(images[0].shape[1:]) for images in scenes))

    def draw(epoch):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        pairs = torch.empty(2, run.pairs, 3, size, size, dtype=torch.uint8)
        for i in range(run.pairs):
            images = scenes[int(torch.randint(len(scenes), (), generator=generator))]
            _, height, width = images[0].shape
            top, left = (int(torch.randint(n - size + 1, (), generator=generator)) for n in (height, width))
            two = torch.randperm(len(images), generator=generator)[:2].tolist()
            for pair, which in zip(pairs, two, strict=True):
                pair[i] = images[which][:, top : top + size, left : left + size]
        return tuple(pairs)

    return draw


SEVERAL_TARGETS = fresh, varied, camera

"""Where a training's pairs come from: the sources, by the names that `train --source` takes.

Each takes a list of photos and a `lab.runs.Run`, and returns a function `epoch -> (inputs, targets)`, uint8 (pairs, 3,
32, 32) if nothing else is said, other pairs with every seed and epoch. Those of SEVERAL_TARGETS know `run.targets`.
"""

import torch
from torch.nn.functional import avg_pool2d

from ..noise.estimate import rough_sd
from ..noise.kinds import (
    blurred_noise,
    camera_noise,
    coloured_noise,
    developed_noise,
    filtered,
    gaussian_noise,
    impulse_noise,
    lined_noise,
    log_uniform,
    to_uint8,
    uniform,
    with_jpeg,
)
from ..noise.stabilise import evened, stabilised
from .photos import PairStream, pairs_of, random_crops, softened
from .shots import as_bright, brightness

MIXED_SHARE, SIGMAS = 0.2, (3, 6, 12, 25)  # of the pairs in `mixed`, and their noise
CROP = 96  # side of the images of `camera`, `grey` and `correlated`
MOST_SIGMA, MOST_SHOT = 55, 45  # the strongest noise there, in grey levels; that of Poisson noise at mid-grey
LUMA = 0.299, 0.587, 0.114  # the weights of red, green and blue in a grey picture (ITU-R BT.601, as JPEG and Pillow)
SHARES = {"independent": 0.15, "developed": 0.17, "coloured": 0.11, "lined": 0.05, "grey": 0.52}  # of `correlated`
IMPULSES = 0.1  # of the inputs of `grey` and `correlated` have `impulse_noise`
RATES = 0.001, 0.1  # of their pixels
# The standard deviation that noise is said to have, by which it is made even: a factor of the true one, and at least so
# many grey levels. If it can't be told from texture, a factor of `rough_sd`.
SAID, SAID_LEAST = (0.88, 1.15), 0.7
SAID_ROUGHLY, SAID_ROUGHLY_LEAST = (0.5, 1.8), 3
DRAWN, BOXES = 0.12, 25  # of the crops show so many lines and boxes, or strokes
PAPER, FINE, NIB, INK = (0.4, 0.1), 4, (1, 3.5), (0.1, 0.5)  # see `with_drawings`
SPOTTED, SPOTS, SPREAD = 0.25, 20, (0.7, 2.5)  # of the crops of few photons show so many spots, or fewer; pixels
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
        sigma = torch.where(kind < 0.9, MOST_SIGMA * strength, 0)
        gain = torch.where(kind >= 0.8, (MOST_SHOT * shot) ** 2 / 128, 0)
        inputs = to_uint8(camera_noise(clean, sigma, gain, generator))
        # the sum of n draws of either noise is one draw of n times its variance
        return inputs, camera_noise(clean, sigma / run.targets**0.5, gain / run.targets, generator)

    return draw


def grey(photos, run):
    """Pairs (pairs, 3, CROP, CROP) of grey photos, three equal channels, at their full resolution with any noise, made
    even as `denoise` does (see `noise.stabilise`).

    Of a hundred 20 are of few photons, see `few_photons`. 50 have noise that is independent in every pixel, as
    `gaussian_or_shot` draws it, of which 85 in a hundred Gaussian; 20 `blurred_noise` and 10 `lined_noise`, with a root
    mean square log-uniform between 0.7 and 60 grey levels, and 40. These inputs are rounded and clamped to 8 bits, one
    in ten has impulses, and three in ten went through a JPEG, but no target has or did: its mean is the clean photo.
    """
    return grey_crops(photos, run, run.pairs)


def grey_crops(photos, run, pairs, without=None):
    """The `draw` of so many pairs of `grey`; without: as for `correlated`."""
    photons = 0 if without == "photons" else round(0.2 * pairs)
    draw_photons, others = few_photons(photos, run, photons), pairs - photons
    lined = 0 if without == "lined" else 0.125
    independent, blurred = round(others * (0.75 - lined)), round(others * (1 - lined))

    def noises(clean, generator):
        parts = clean.tensor_split([independent, blurred])
        draw_independent = gaussian_or_shot(parts[0], 0.85, generator)
        blurred_rms = log_uniform(len(parts[1]), 0.7, 60, generator)
        lined_rms = log_uniform(len(parts[2]), 0.7, 40, generator)

        def noisy(n):
            return torch.cat([
                draw_independent(n),
                parts[1] + blurred_noise(parts[1], blurred_rms / n**0.5, generator),
                parts[2] + lined_noise(parts[2], lined_rms / n**0.5, generator),
            ])  # fmt: skip

        return noisy

    rough, jpegs, impulses = [i >= independent for i in range(others)], [0.3] * others, without != "impulses"
    draw_others = even_crops(photos, run, noises, rough, jpegs, make_grey=True, impulses=impulses)
    return joined(draw_others, draw_photons)


def joined(*draws):
    """The `draw` of all pairs of several, each with seeds of its own."""

    def draw(epoch, clean=False):
        parts = [one(epoch + i * 500_000, clean) for i, one in enumerate(draws)]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    return draw


def correlated(photos, run, without=None):
    """Pairs (pairs, 3, CROP, CROP) with the noise of JPEGs, of developed photos and of grey pictures, of SHARES, made
    even as `denoise` does (see `noise.stabilise`).

    Of those in colour some have independent noise, others `developed_noise`, see `rms_of_cameras`, `coloured_noise`,
    log-uniform between 0.5 and 60 grey levels, or `lined_noise`, 0.7 to 40. Half of each went through a JPEG, and half
    of the photos of the others are `softened`. Those of one channel are as in `grey`, and impulses as there.
    without: the one of SHARES whose place the others take, or "soft": no photo is softened, or "impulses", or
    "photons": no pictures of few.
    """
    shares = [0 if kind == without else share for kind, share in SHARES.items()]
    independent, developed, coloured, colours = (
        round(run.pairs * sum(shares[:i]) / sum(shares)) for i in range(1, len(shares))
    )

    def noises(clean, generator):
        parts = clean.tensor_split([independent, developed, coloured])
        draw_independent = gaussian_or_shot(parts[0], 0.9, generator)
        developed_rms = rms_of_cameras(len(parts[1]), generator)
        coloured_rms = log_uniform(len(parts[2]), 0.5, 60, generator)
        lined_rms = log_uniform(len(parts[3]), 0.7, 40, generator)

        def noisy(n):
            return torch.cat([
                draw_independent(n),
                parts[1] + developed_noise(parts[1], developed_rms / n**0.5, generator),
                parts[2] + coloured_noise(parts[2], coloured_rms / n**0.5, generator),
                parts[3] + lined_noise(parts[3], lined_rms / n**0.5, generator),
            ])  # fmt: skip

        return noisy

    rough, jpegs = [i >= independent for i in range(colours)], [0.5] * colours
    soft = [0.0] * independent + [0.0 if without == "soft" else 0.5] * (colours - independent)
    draw_colours = even_crops(photos, run, noises, rough, jpegs, soft, impulses=without != "impulses")
    return joined(grey_crops(photos, run, run.pairs - colours, without), draw_colours)


def even_crops(photos, run, noises, rough, jpegs, soft=None, make_grey=False, impulses=True):
    """The `draw` of a source of crops whose noise is made even. With `clean` its targets are the clean crops.

    noises: takes clean crops, float (N, C, CROP, CROP), and a generator, and returns a function `n -> noisy crops`,
    float, which has an n-th of the variance: a draw for n = 1, or as the mean of n draws. jpegs: the shares of the
    inputs that go through a JPEG, one for each pair. soft: those of the crops that are `softened`. make_grey: crops of
    one channel, which becomes three in the end. impulses: whether IMPULSES of the inputs have them.

    rough: for each pair, whether its noise can be measured but roughly, as that of all JPEGs. Inputs are of 8 bits
    before they are made even.
    """
    rough = torch.tensor(rough, dtype=torch.bool).view(-1, 1, 1, 1)

    def draw(epoch, clean=False):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        crops = random_crops(photos, len(jpegs), CROP, generator).float()
        if make_grey:
            crops = (crops * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        if soft:
            crops = softened(crops, soft, generator)
        crops = with_drawings(darkened(crops, generator), generator)
        noisy = noises(crops, generator)
        plain = to_uint8(noisy(1))
        inputs, rate = plain, 0
        if impulses:
            struck = uniform(len(inputs), 0, 1, generator) < IMPULSES
            rate = torch.where(struck, log_uniform(len(inputs), *RATES, generator), 0)
            inputs = impulse_noise(inputs, rate, generator)
        inputs, raw = with_jpeg(inputs, jpegs, generator), inputs
        roughly = rough | (inputs != raw).flatten(1).any(1).view(-1, 1, 1, 1)
        before, after = ((images - crops).square().mean((1, 2, 3), keepdim=True) for images in (plain, inputs))
        # A JPEG takes some of the noise, but what it does to edges is none of it.
        sd = torch.where(torch.as_tensor(rate > 0), before, before.minimum(after)).sqrt()
        exact = (sd * log_uniform(len(sd), *SAID, generator)).clamp(min=SAID_LEAST)
        texture = rough_sd(inputs.float()).view(-1, 1, 1, 1) * log_uniform(len(sd), *SAID_ROUGHLY, generator)
        sd = torch.where(roughly, texture.clamp(min=SAID_ROUGHLY_LEAST), exact)
        middle = uniform(len(inputs), 40, 215, generator)  # of the whole picture, not of the crop
        targets = crops if clean else noisy(run.targets)
        return tuple(evened(images, sd, middle).expand(-1, 3, -1, -1) for images in (inputs.float(), targets))

    return draw


def darkened(crops, generator):
    """Crops (N, C, H, W), float in [0, 255], every fourth as dark as pictures at night and of few photons are: to a
    power between 1 and 3.5, times 0.3 to 1."""
    n = len(crops)
    power, scale = uniform(n, 1, 3.5, generator), uniform(n, 0.3, 1, generator)
    dark = (crops / 255) ** power * 255 * scale
    return torch.where(uniform(n, 0, 1, generator) < 0.25, dark, crops)


def with_drawings(crops, generator):
    """Crops (N, C, H, W), float, DRAWN of them with lines, boxes and dots of one colour each, or with `strokes` of one,
    as screenshots, plots and text have, half of these on a plain ground: white or black in PAPER, else of any colour.
    """
    n, channels, height, width = crops.shape
    chosen, plain, written = torch.rand(3, n, generator=generator) < torch.tensor([[DRAWN], [0.5], [0.5]])

    def colour():
        return 255 * torch.rand(channels, 1, 1, generator=generator)

    for i in chosen.nonzero()[:, 0].tolist():
        crop = crops[i]
        if plain[i]:
            ground, kind = colour(), torch.rand((), generator=generator)
            crop[:] = 255 if kind < PAPER[0] else 0 if kind < sum(PAPER) else ground
        if written[i]:
            crop.lerp_(colour().expand_as(crop), strokes(height, width, generator))
            continue
        for _ in range(BOXES):
            kind, thick, long, row, column = torch.rand(5, generator=generator).tolist()
            thick, long = 1 + int(3 * thick), 1 + int(40 * long**2)
            down, across = (thick, long) if kind < 0.5 else (long, thick)
            top, left = int(row * height), int(column * width)
            crop[:, top : top + down, left : left + across] = colour()
    return crops


def strokes(height, width, generator):
    """How much of each pixel ink covers, (1, H, W) in [0, 1]: thin curves with smooth edges, as letters are made of.
    They lie where a random field is nearly zero, on a grid FINE times as fine."""
    white = torch.empty(1, 1, FINE * height, FINE * width).normal_(generator=generator)
    nib = FINE * log_uniform(1, *NIB, generator)
    rows, columns = torch.fft.fftfreq(FINE * height)[:, None], torch.fft.rfftfreq(FINE * width)
    field = filtered(white, (-2 * torch.pi**2 * nib**2 * (rows**2 + columns**2)).exp())
    return avg_pool2d((field.abs() < uniform(1, *INK, generator)).float(), FINE)[0]


def with_spots(crops, generator):
    """Crops (N, 1, H, W), float of which white is 1, SPOTTED of them with spots as stars and single molecules are:
    Gaussian ones of one SPREAD, whose light at their peaks is log-uniform between 0.003 and 1."""
    n, _, height, width = crops.shape
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for i in (torch.rand(n, generator=generator) < SPOTTED).nonzero()[:, 0].tolist():
        number = int(torch.randint(1, SPOTS + 1, (), generator=generator))
        row, column = (uniform(number, 0, side, generator)[:, 0] for side in (height, width))
        peak = log_uniform(number, 0.003, 1, generator)[:, 0]
        spread = log_uniform(1, *SPREAD, generator)[0, 0]
        away = (y - row).square() + (x - column).square()
        crops[i, 0] += (peak * (-away / (2 * spread**2)).exp()).sum(0)
    return crops


def rms_of_cameras(n, generator):
    """The root mean square of `developed_noise`, (n, 1, 1, 1): two in three log-uniform between 0.5 and 60 grey levels,
    the others uniform between 10 and 60, as of phones at night."""
    at_night = uniform(n, 0, 1, generator) < 1 / 3
    return torch.where(at_night, uniform(n, 10, 60, generator), log_uniform(n, 0.5, 60, generator))


def few_photons(photos, run, pairs):
    """The `draw` of so many grey pairs as a detector counts them, floats that are neither rounded nor clamped, made
    even by `noise.stabilise.stabilised`.

    Log-uniform are the photons at white, 1 to 3,000, and the read noise, 0.003 to 0.15 of white. Three in four are
    dark, to a power between 1 and 3.5, and some are `with_spots`. Gain and read noise are said to be by SAID other
    ones.
    """

    def draw(epoch, clean=False):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        crops = random_crops(photos, pairs, CROP, generator).float()
        crops = (crops * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True) / 255
        dark = uniform(pairs, 0, 1, generator) < 0.75
        photons = log_uniform(pairs, 1, 3000, generator)
        light = photons * with_spots(crops ** torch.where(dark, uniform(pairs, 1, 3.5, generator), 1), generator)
        read = photons * log_uniform(pairs, 0.003, 0.15, generator)
        gain, noise, sd = (log_uniform(pairs, *SAID, generator) for _ in range(3))

        def even():
            counts = torch.poisson(light, generator) + read * torch.empty(light.shape).normal_(generator=generator)
            return stabilised(counts, gain, (noise * read) ** 2)

        inputs, draws = even(), 32 if clean else run.targets
        middle = inputs.mean((1, 2, 3), keepdim=True) + uniform(pairs, -1.5, 1.5, generator)
        targets = sum(even() for _ in range(draws)) / draws
        return tuple(evened(images, sd, middle).expand(-1, 3, -1, -1) for images in (inputs, targets))

    return draw


def gaussian_or_shot(clean, gaussian, generator):
    """As `noises` of `even_crops` returns it, independent noise: for a share of the images `gaussian`, with sigma
    for a quarter uniform in [0, 70], else log-uniform in [1, 110]; for the others Poisson, its standard deviation at
    mid-grey uniform in [0, MOST_SHOT]."""
    n = len(clean)
    strength, kind, how = torch.rand(3, n, 1, 1, 1, generator=generator)
    sigma = torch.where(how < 0.25, 70 * strength, 110**strength)
    sigma = torch.where(kind < gaussian, sigma, 0)
    gain = torch.where(kind >= gaussian, (MOST_SHOT * strength) ** 2 / 128, 0)
    return lambda n: camera_noise(clean, sigma / n**0.5, gain / n, generator)


def shots(scenes, run):
    """Aligned crops of two different shots of a scene, both drawn anew each time, of lists of every scene's shots.

    A scene comes as often as any other. Pairs are (pairs, 3, size, size), size CROP or the scenes' shortest side, and
    of the shots' dtype; those of one channel have three equal ones. Where a scene fades or flickers, targets are
    brought to the brightness of their inputs, as a network would else learn to change it, and all targets are float32.
    """
    size = min(CROP, *(min(images[0].shape[1:]) for images in scenes))
    known = [brightness(images) for images in scenes]
    dtype = scenes[0][0].dtype
    dtypes = dtype, torch.float32 if any(known) else dtype

    def draw(epoch):
        generator = torch.Generator().manual_seed(stream_seed(run, epoch))
        pairs = tuple(torch.empty(run.pairs, 3, size, size, dtype=dtype) for dtype in dtypes)
        for i in range(run.pairs):
            scene = int(torch.randint(len(scenes), (), generator=generator))
            images = scenes[scene]
            _, height, width = images[0].shape
            top, left = (int(torch.randint(n - size + 1, (), generator=generator)) for n in (height, width))
            two = torch.randperm(len(images), generator=generator)[:2].tolist()
            crops = [images[which][:, top : top + size, left : left + size] for which in two]
            if known[scene]:
                crops[1] = as_bright(crops[1], known[scene], *two)
            for pair, crop in zip(pairs, crops, strict=True):
                pair[i] = crop
        return pairs

    return draw


SEVERAL_TARGETS = fresh, varied, camera, grey, correlated

"""The noise of people's pictures: each kind's mean, variance and correlation, and the pairs that are made of them."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.noise import kinds as noise
from Proj_Miniproject2.others.noise.kinds import (
    bayer,
    blurred,
    blurred_noise,
    by_brightness,
    coloured_noise,
    demosaiced,
    developed_noise,
    impulse_noise,
    jpeg,
    lined_noise,
    log_uniform,
    uniform,
    with_jpeg,
)
from Proj_Miniproject2.others.noise.stabilise import evened
from Proj_Miniproject2.others.pairs import sources
from Proj_Miniproject2.others.pairs.photos import softened
from Proj_Miniproject2.others.pairs.scenes import draw_scenes
from Proj_Miniproject2.others.pairs.sources import SHARES, correlated, darkened, grey, rms_of_cameras, with_drawings

KINDS = pytest.mark.parametrize("kind", [blurred_noise, coloured_noise, developed_noise, lined_noise])
ALIKE = st.sampled_from([0.0, 0.3, 1.0])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def ones(n, value=1.0):
    return torch.full((n, 1, 1, 1), value)


def correlation(one, other):
    """Of each image with the other of its number."""
    one, other = one.flatten(1), other.flatten(1)
    return (one * other).sum(1) / (one.square().sum(1) * other.square().sum(1)).sqrt()


def with_pixels_beside(images, distance):
    return sum(correlation(images, images.roll(distance, axis)) for axis in (2, 3)) / 2


def quantiles(values, *at):
    return values.flatten().quantile(torch.tensor(at)).tolist()


def test_strengths_are_drawn_from_their_ranges():
    plain, by_logarithm = uniform(20_000, -3, 5, rng(), channels=2), log_uniform(20_000, 0.5, 32, rng())
    assert plain.shape == (20_000, 2, 1, 1) and by_logarithm.shape == (20_000, 1, 1, 1)
    assert quantiles(plain, 0, 0.25, 0.5, 1) == pytest.approx([-3, -1, 1, 5], abs=0.15)
    assert quantiles(by_logarithm.log2(), 0, 0.25, 0.5, 1) == pytest.approx([-1, 0.5, 2, 5], abs=0.15)


@KINDS
@pytest.mark.parametrize("level", [None, 0, 128, 255])
def test_the_mean_over_draws_is_zero(kind, level):
    """At every pixel, of a picture of drawn colours and of constant grey ones."""
    n, size = 3000, (3, 10, 12)
    picture = 255 * torch.rand(size, generator=rng()) if level is None else torch.full(size, float(level))
    found = kind(picture.expand(n, *size), ones(n), rng(1))
    z = found.mean(0) / found.std(0) * n**0.5
    assert z.abs().max() < 4.5 and z.square().mean() < 2


@KINDS
@settings(max_examples=10)
@given(n=st.integers(0, 4), height=st.integers(4, 20), width=st.integers(4, 20), seed=st.integers(0, 999))
def test_noise_is_as_strong_as_asked_and_another_in_every_image(kind, n, height, width, seed):
    clean, rms = 255 * torch.rand(n, 3, 2 * height, 2 * width, generator=rng(seed)), uniform(n, 0, 30, rng(seed))
    found = kind(clean, rms, rng(seed))
    assert found.shape == clean.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.square().mean((1, 2, 3), keepdim=True).sqrt(), rms, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, kind(clean, rms, rng(seed)))
    for one, other in zip(found, found[1:], strict=False):
        assert abs(correlation(one[None], other[None])) < 0.9


def test_strength_is_a_power_of_the_brightness():
    tints = torch.tensor([-9.0, 0, 9]).view(3, 1, 1)
    found = by_brightness((torch.tensor([0.0, 51, 255]) + tints).expand(2000, 3, 2, 3), rng())
    assert found.shape == (2000, 1, 2, 3)
    powers = found.log() / torch.tensor([0.1, 0.3, 1.1]).log()
    torch.testing.assert_close(powers, powers[..., :1].expand_as(powers), rtol=1e-3, atol=1e-3)
    assert quantiles(powers, 0, 0.25, 0.5, 1) == pytest.approx([-0.6, -0.3, 0, 0.6], abs=0.05)


@pytest.mark.parametrize("kind", [blurred_noise, coloured_noise])
def test_noise_is_stronger_in_dark_or_in_bright_parts(kind):
    clean = torch.tensor([20.0, 235.0]).repeat_interleave(48).expand(300, 3, 96, 96)
    dark, bright = kind(clean, ones(300), rng()).square().mean((1, 2)).split(48, 1)
    powers = (bright.mean(1) / dark.mean(1)).log() / 2 / np.log((235 / 255 + 0.1) / (20 / 255 + 0.1))
    assert quantiles(powers, 0.1, 0.5, 0.9) == pytest.approx([-0.48, 0, 0.48], abs=0.08)  # of -0.6 to 0.6


@settings(max_examples=10)
@given(height=st.integers(40, 55), width=st.integers(40, 55), sd=st.floats(2, 3), seed=st.integers(0, 999))
def test_a_pixel_is_blurred_by_stretched_gaussians(height, width, sd, seed):
    """By the moments of what becomes of it: of three Gaussians with the covariances R diag(k, 1 / k) R' sd^2."""
    point = torch.zeros(6, 1, height, width)
    point[:, :, height // 2, width // 2] = 1
    kernel = blurred(point, rng(seed), (sd, sd))[:, 0].double()
    assert kernel.min() > -1e-3 * kernel.max()
    kernel /= kernel.sum((1, 2), keepdim=True)
    i, j = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    mean_i, mean_j, ii, jj, ij = ((kernel * x).sum((1, 2)) for x in (i, j, i * i, j * j, i * j))
    assert max(mean_i.abs().max(), mean_j.abs().max()) < 1e-2
    trace, determinant = (ii + jj) / (2 * sd**2), (ii * jj - ij**2) / sd**4
    assert trace.min() > 0.98 and trace.max() < np.cosh(0.8) + 0.02
    assert determinant.min() > 0.97 and len(trace.unique()) == 6  # 1 for each of the three, more for a sum of several


def test_blurs_lie_in_every_direction_and_are_of_every_size():
    """By their spectra at (row, column), in 64ths of a cycle a pixel."""
    point = torch.zeros(400, 1, 64, 64)
    point[:, :, 32, 32] = 1
    power = torch.fft.rfft2(blurred(point, rng())[:, 0]).abs()
    power = power / power[:, :1, :1]
    slants, upright = power[:, 5, 5] / power[:, -5, 5], power[:, 7, 0] / power[:, 0, 7]
    for ratios in (slants.log(), upright.log()):
        assert abs(ratios.mean()) < 4 * ratios.std() / len(ratios) ** 0.5 and ratios.std() > 0.05
    assert power[:, 8, 0].min() < 0.3 and power[:, 8, 0].max() > 0.9


def test_correlations_are_those_that_are_promised():
    """Over pixels and channels. Cameras have 0.6 to 0.85 with the next pixel, 0.2 to 0.5 with that after it, 0.1 to 0.3
    at a distance of four, and 0.3 to 0.8 between channels."""
    clean = torch.full((300, 3, 128, 128), 128.0)
    found = {kind: kind(clean, ones(300), rng()) for kind in (blurred_noise, coloured_noise, developed_noise)}
    assert quantiles(with_pixels_beside(found[developed_noise], 1), 0.05, 0.95) == pytest.approx([0.4, 0.8], abs=0.06)
    for kind in (blurred_noise, coloured_noise):
        for distance, low, high in ((1, 0.5, 0.95), (2, 0.15, 0.83), (4, 0, 0.6), (8, 0, 0.3)):
            found_here = quantiles(with_pixels_beside(found[kind], distance), 0.1, 0.9)
            assert found_here == pytest.approx([low, high], abs=0.07), (kind, distance)
    pairs = (0, 1), (0, 2), (1, 2)
    channels = {kind: torch.stack([correlation(x[:, i], x[:, j]) for i, j in pairs]) for kind, x in found.items()}
    assert channels[blurred_noise].abs().mean() < 0.05
    assert quantiles(channels[coloured_noise], 0.1, 0.5, 0.9) == pytest.approx([0.1, 0.5, 0.9], abs=0.09)
    assert ((channels[developed_noise] > 0.3) & (channels[developed_noise] < 0.8)).float().mean() > 0.35
    strengths = found[coloured_noise].square().mean((2, 3)).sqrt().log()
    assert (strengths[:, 0] - strengths[:, 1]).std().item() == pytest.approx(0.35 * 2**0.5, rel=0.1)
    red, green, blue = found[developed_noise].square().mean((0, 2, 3)).sqrt().tolist()
    assert red / green == pytest.approx(1.5, abs=0.15) and blue / green == pytest.approx(1.5, abs=0.15)


def test_lines_lie_along_one_axis_and_are_as_long_and_as_alike_in_the_channels_as_promised():
    """By closed forms, of many draws of what they depend on: a Gaussian blur of white noise with standard deviation s
    correlates at distance d by exp(-(d / 2 s)^2), and independent noise of f times the strength divides that by
    1 + f^2."""
    n = 600
    found = lined_noise(torch.full((n, 3, 60, 90), 128.0), ones(n), rng())
    beside = torch.stack([correlation(found, found.roll(1, axis)) for axis in (2, 3)])
    along, across = beside.max(0).values, beside.min(0).values
    assert across.abs().max() < 0.35 and across.abs().mean() < 0.06  # of so few lines chance makes some alike
    down = beside[0] == along
    assert down.float().mean().item() == pytest.approx(0.5, abs=0.07)

    draws = np.random.default_rng(0).random((3, 100_000))
    share, s, alike = 1 / (1 + (0.1 * 30 ** draws[0]) ** 2), 100 ** draws[1], draws[2]
    at = 0.1, 0.3, 0.5, 0.7, 0.9
    for distance in (1, 4):
        rows, columns = (correlation(found, found.roll(distance, axis)) for axis in (2, 3))
        expected = np.quantile(share * np.exp(-((distance / 2 / s) ** 2)), at)
        assert quantiles(torch.where(down, rows, columns), *at) == pytest.approx(expected, abs=0.06), distance
    channels = correlation(found[:, 0], found[:, 1])
    assert quantiles(channels, *at) == pytest.approx(np.quantile(share * alike, at), abs=0.06)


# Impulses


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=10)
@given(rate=st.sampled_from([0.0, 0.05, 0.3, 1.0]), seed=st.integers(0, 999))
def test_impulses_hit_a_share_of_the_pixels(channels, rate, seed):
    n = 200
    images = torch.full((n, channels, 30, 31), 100, dtype=torch.uint8)
    rates = torch.cat([ones(n // 2, rate), ones(n // 2, 0.0)])
    found = impulse_noise(images, rates, rng(seed))
    assert found.dtype == torch.uint8 and torch.equal(found, impulse_noise(images, rates, rng(seed)))
    assert (images == 100).all() and (found[n // 2 :] == 100).all()
    found, hit = found[: n // 2].float(), found[: n // 2] != 100  # one in 256 of any value is 100
    if rate == 0:
        assert not hit.any()
        return
    assert hit.float().mean().item() == pytest.approx(rate, rel=0.05)
    extreme = torch.tensor([bool(((image == 0) | (image == 100) | (image == 255)).all()) for image in found])
    assert 0.3 < extreme.float().mean() < 0.7
    assert found[extreme][hit[extreme]].mean().item() == pytest.approx(127.5, abs=8)  # as many black as white
    others = found[~extreme][hit[~extreme]]
    assert quantiles(others, 0, 0.25, 0.5, 0.75, 1) == pytest.approx([0, 64, 128, 192, 255], abs=10)
    if channels == 3:
        together = (found == found[:, :1]).flatten(1).all(1)
        assert 0.3 < together.float().mean() < 0.7
        by_itself = hit[~together]
        both = (by_itself[:, 0] & by_itself[:, 1]).float().mean().item()
        assert both == pytest.approx(rate**2, abs=0.01)


@pytest.mark.parametrize("source, pairs", [(grey, 320), (correlated, 192 + 166)])
def test_one_input_in_ten_has_impulses(source, pairs, monkeypatch):
    """Of 400, but for those of few photons, a fifth of the grey ones."""
    rates = []
    monkeypatch.setattr(sources, "impulse_noise", lambda images, rate, generator: rates.append(rate) or images)
    photos = [torch.full((3, 96, 96), 128, dtype=torch.uint8)]
    for epoch in range(2):
        source(photos, Run(pairs=400, source=source))(epoch)
    correlated(photos, Run(pairs=10, source=correlated), "impulses")(0)  # none
    rates = torch.cat(rates)
    assert rates.shape == (2 * pairs, 1, 1, 1)
    struck = rates[rates > 0]
    assert len(struck) / len(rates) == pytest.approx(0.1, abs=0.04)
    assert quantiles(struck.log10(), 0, 0.5, 1) == pytest.approx([-3, -2, -1], abs=0.25)


# The mosaic


def test_a_mosaic_has_four_phases_of_one_red_one_blue_and_two_greens_on_a_diagonal():
    mosaic = bayer(400, 7, 6, rng())
    assert mosaic.shape == (400, 3, 7, 6) and mosaic.dtype == torch.bool and (mosaic.sum(1) == 1).all()
    assert torch.equal(mosaic[..., 2:, :], mosaic[..., :-2, :]) and torch.equal(mosaic[..., 2:], mosaic[..., :-2])
    cell = mosaic[..., :2, :2]
    assert (cell.sum((2, 3)) == torch.tensor([1, 2, 1])).all()
    assert torch.equal(cell[:, 0], cell[:, 2].flip(1, 2)) and torch.equal(cell[:, 1], cell[:, 1].flip(1, 2))
    phases = cell[:, 0].flatten(1).sum(0)
    assert phases.sum() == 400 and phases.min() > 70


@given(height=st.integers(2, 8), width=st.integers(2, 8), alike=ALIKE, seed=st.integers(0, 999))
def test_demosaicing_equals_convolutions_with_the_bilinear_kernels(height, width, alike, seed):
    mosaic = bayer(3, 2 * height, 2 * width, rng(seed))
    sensor = mosaic * torch.randn(3, 1, 2 * height, 2 * width, generator=rng(seed), dtype=torch.float64)
    tent = torch.tensor([0.5, 1, 0.5], dtype=torch.float64)
    cross = torch.tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=torch.float64) / 4

    def convolved(images, kernel):
        return F.conv2d(F.pad(images, (1, 1, 1, 1), "circular"), kernel.view(1, 1, 3, 3))

    red, green, blue = sensor.split(1, 1)
    green = convolved(green, cross)
    red, blue = (
        (1 - alike) * convolved(channel, tent[:, None] * tent)
        + alike * (green + convolved(channel - green * seen, tent[:, None] * tent))
        for channel, seen in ((red, mosaic[:, :1]), (blue, mosaic[:, 2:]))
    )
    torch.testing.assert_close(demosaiced(sensor, mosaic, ones(3, alike).double()), torch.cat([red, green, blue], 1))


@given(alike=ALIKE, seed=st.integers(0, 999))
def test_demosaicing_keeps_slopes_and_what_is_known(alike, seed):
    slopes = torch.randn(3, 3, 1, 1, 3, generator=rng(seed), dtype=torch.float64).unbind(-1)
    picture = slopes[0] + slopes[1] * torch.arange(12)[:, None] + slopes[2] * torch.arange(16)
    mosaic = bayer(3, 12, 16, rng(seed))
    found = demosaiced(mosaic * picture, mosaic, ones(3, alike).double())
    torch.testing.assert_close(found[..., 2:-2, 2:-2], picture[..., 2:-2, 2:-2])
    noisy = mosaic * torch.randn(3, 1, 12, 16, generator=rng(seed), dtype=torch.float64)
    torch.testing.assert_close(demosaiced(noisy, mosaic, ones(3, alike).double())[mosaic], noisy[mosaic])


def test_developed_noise_has_a_camera_s_strength_by_brightness():
    """Of a picture of a dark and a bright half, within what the drawn numbers give: the sensor's variance is L / gain +
    read, L = v^gamma, and the tone curve multiplies by L^(1 / gamma - 1), L from 0.05 on."""
    levels = torch.tensor([25.0, 230.0])
    clean = levels.repeat_interleave(64).expand(200, 3, 64, 128)
    dark, bright = developed_noise(clean, ones(200), rng()).square().mean((1, 2)).split(64, 1)
    found = (bright[:, 3:-3].mean(1) / dark[:, 3:-3].mean(1)).sqrt()
    gamma, gain, read = torch.meshgrid(
        torch.tensor([1.8, 2.4]), torch.tensor([1, 2.6]), torch.tensor([0, 0.3]), indexing="ij"
    )
    linear = (levels / 255).view(2, 1, 1, 1) ** gamma
    expected = (linear / gain + read).sqrt() * linear.clamp(min=0.05) ** (1 / gamma - 1)
    expected = expected[1] / expected[0]
    assert found.min() > 0.9 * expected.min() and found.max() < 1.1 * expected.max()
    assert found.min() < 0.4 and found.max() > 1  # from mostly read to mostly shot noise


@pytest.mark.parametrize("size", [(5, 4), (4, 5)])
def test_half_a_cell_of_the_mosaic_is_refused(size):
    with pytest.raises(ValueError, match=f"even height and width, got {size[0]} x {size[1]}"):
        developed_noise(torch.zeros(1, 3, *size), ones(1), rng())


# JPEG


@settings(max_examples=30)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 2]),
    seed=st.integers(0, 999),
)
def test_jpeg_equals_pillow(height, width, channels, quality, subsampling, seed):
    image = torch.randint(256, (channels, height, width), generator=rng(seed), dtype=torch.uint8)
    file, options = io.BytesIO(), {"subsampling": {0: "4:4:4", 2: "4:2:0"}[subsampling]} if channels == 3 else {}
    content = image.permute(1, 2, 0).numpy()
    Image.fromarray(content if channels == 3 else content[..., 0]).save(file, format="JPEG", quality=quality, **options)
    expected = np.asarray(Image.open(file)).reshape(height, width, channels)
    found = jpeg(image, quality, subsampling)
    assert found.dtype == torch.uint8 and np.array_equal(found.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_share_of_images_went_through_a_jpeg(channels):
    """Which one, is found out by trying all."""
    images = torch.randint(256, (40, channels, 8, 8), generator=rng(), dtype=torch.uint8)
    before, found = images.clone(), with_jpeg(images, [0.4] * len(images), rng(1))
    assert torch.equal(images, before) and found.dtype == torch.uint8
    ways = [(q, s, d) for q in range(65, 99) for s in (0, 2) for d in range(8)]
    taken = set()
    for image, changed in zip(images, found, strict=True):
        if not torch.equal(image, changed):
            moved = {d: image.roll((d, d), (1, 2)) for d in range(8)}
            way = next(w for w in ways if torch.equal(jpeg(moved[w[2]], *w[:2]).roll((-w[2], -w[2]), (1, 2)), changed))
            taken.add(way)
    qualities, subsamplings, offsets = map(set, zip(*taken, strict=True))
    assert 8 <= len(taken) <= 24 and len(qualities) > 5 and 0 in offsets and len(offsets) > 1
    assert subsamplings == ({0, 2} if channels == 3 else {0})  # the same of a grey one
    assert torch.equal(with_jpeg(images, [0] * len(images), rng()), images)
    assert all((a != b).any() for a, b in zip(with_jpeg(images, [1] * len(images), rng()), images, strict=True))


# Pairs


@settings(max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 999))
def test_softened_images_are_blurred_by_gaussians(height, width, seed):
    """Each by one of its own in both directions, over what is there, and in its share of all draws."""
    images = torch.rand(40, 3, height, width, generator=rng(seed), dtype=torch.float32)
    soft = softened(images, [0.0] * 10 + [1.0] * 30, rng(seed))
    torch.testing.assert_close(soft[:10], images[:10])
    sds = 0.4 * 4 ** torch.rand(2, 40, 1, 1, 1, generator=rng(seed))[1].flatten()
    for image, found, sd in zip(images[10:], soft[10:], sds[10:].tolist(), strict=True):
        square = np.exp(-(((np.arange(40)[:, None] - np.arange(40)) / sd) ** 2) / 2)
        down, right = (square[:n, :n] / square[:n, :n].sum(1)[:, None] for n in (height, width))
        expected = down @ image.double().numpy() @ right.T
        torch.testing.assert_close(found.double(), torch.tensor(expected), rtol=0, atol=1e-5)
    half = softened(images[:1].expand(500, -1, -1, -1), [0.5] * 500, rng(seed))
    if max(height, width) > 1:
        assert 0.4 < (half - images[:1]).abs().amax((1, 2, 3)).gt(1e-4).float().mean() < 0.6


@pytest.fixture
def as_drawn(monkeypatch):
    """Crops are as the photos are, and their noise isn't made even: in grey levels, or as it was stabilised. A list of
    the (sd, middle) by which it would have been, of inputs and targets in turn."""
    told = []
    monkeypatch.setattr(sources, "darkened", lambda crops, generator: crops)
    monkeypatch.setattr(sources, "with_drawings", lambda crops, generator: crops)
    monkeypatch.setattr(sources, "with_spots", lambda crops, generator: crops)
    monkeypatch.setattr(sources, "evened", lambda images, sd, middle: told.append((sd, middle)) or images)
    return told


def mid_grey(size=96):
    return [torch.full((3, size, size), 128, dtype=torch.uint8)]


def parts_of(source, pairs):
    """Slices of the pairs of a source, by what noise they have."""
    colours = 0 if source is grey else round(0.48 * pairs)
    photons = round(0.2 * (pairs - colours))
    others = pairs - colours - photons
    ends = {"independent": 0.625 * others, "blurred": 0.875 * others, "lined": others, "photons": others + photons}
    if source is correlated:
        ends |= {f"{kind} in colour": pairs - colours + share * pairs for kind, share in COLOURS.items()}
    places = [0, *map(round, ends.values())]
    return {kind: slice(*both) for kind, *both in zip(ends, places, places[1:], strict=False)}


COLOURS = {"independent": 0.15, "developed": 0.32, "coloured": 0.43, "lined": 0.48}


@pytest.mark.parametrize("source", [grey, correlated])
@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 30])
def test_people_s_pairs_repeat(source, pairs):
    draw = source(draw_scenes(3, size=100), Run(pairs=pairs, source=source, targets=8))
    (inputs, targets), (again, clean) = draw(0), draw(0, clean=True)
    for images in (inputs, targets, clean):
        assert images.shape == (pairs, 3, 96, 96) and images.dtype == torch.float32 and bool(images.isfinite().all())
        assert (source is grey or pairs == 1) == bool((images == images[:, :1]).all())
    assert torch.equal(inputs, again) and torch.equal(targets, draw(0)[1]) and not torch.equal(inputs, draw(1)[0])


@pytest.mark.parametrize("source", [grey, correlated])
def test_people_s_clean_pictures_are_crops(source, as_drawn):
    """Grey ones as Pillow makes them, but for rounding. Those of few photons are means of draws, and some are soft."""
    photos = draw_scenes(3, size=100)
    _, clean = source(photos, Run(pairs=30, source=source, targets=8))(0, clean=True)
    parts = parts_of(source, 30)
    greys = [Image.fromarray(photo.permute(1, 2, 0).numpy()).convert("L") for photo in photos]
    greys = [torch.tensor(np.asarray(image)).expand(3, -1, -1) for image in greys]
    kinds = [(parts["independent"], greys, 0.51), (parts["lined"], greys, 0.51)]
    if source is correlated:
        kinds.append((parts["independent in colour"], photos, 0))
    for part, shown, bound in kinds:
        everywhere = [photo.unfold(1, 96, 1).unfold(2, 96, 1).flatten(1, 2) for photo in shown]  # (3, places, 96, 96)
        assert len(clean[part])
        for crop in clean[part]:
            assert min((places - crop[:, None]).abs().amax((0, 2, 3)).min() for places in everywhere) <= bound


@pytest.mark.parametrize("source", [grey, correlated])
def test_people_s_targets_have_less_of_independent_noise_and_are_no_jpegs(source, as_drawn):
    """Of mid-grey photos. The strengths are those that are promised."""
    (first, one), (again, several) = (source(mid_grey(), Run(pairs=350, source=source, targets=n))(0) for n in (1, 9))
    parts = parts_of(source, 350)
    photons = parts.pop("photons")
    assert torch.equal(first, again) and (one != one.round()).any()
    others = torch.ones(350, dtype=torch.bool)
    others[photons] = False
    noise = [images - 128 for images in (first, one, several)]
    before, after = (found.square().mean((1, 2, 3)).sqrt() for found in noise[1:])
    told = others & (before > 1.2)  # `camera_noise` has no fainter Poisson noise than 1e-3 of the brightness
    torch.testing.assert_close(before[told] / 3, after[told], rtol=0.15, atol=0.1)
    assert (first == first.round())[others].all() and first[others].min() >= 0 and first[others].max() <= 255
    assert abs(correlation(noise[0][others], noise[1][others]).nanmean()) < 0.03  # a JPEG may have none left
    counts = [images[photons] for images in (first, one, several)]
    means = [images - images.mean((1, 2, 3), keepdim=True) for images in counts]
    rms = [images.square().mean((1, 2, 3)).sqrt() for images in means]
    torch.testing.assert_close(rms[0], rms[1], rtol=0.1, atol=0)
    torch.testing.assert_close(rms[0] / 3, rms[2], rtol=0.1, atol=0)
    assert abs(correlation(means[0], means[1]).mean()) < 0.03

    beside = torch.stack([correlation(noise[1], noise[1].roll(1, axis)) for axis in (2, 3)])
    both, along, across = beside.mean(0), beside.max(0).values, beside.min(0).values
    promised = {"blurred": (0.7, 60), "lined": (0.7, 40), "developed": (0.5, 60), "coloured": (0.5, 60)}
    for kind, part in parts.items():
        kind = kind.removesuffix(" in colour")
        if kind == "independent":
            assert both[part].abs().max() < 0.1 and before[part].max() < 111
            assert quantiles(before[part], 0.5)[0] == pytest.approx(15, abs=6)
            continue
        low, high = promised[kind]
        assert before[part].min() > 0.99 * low and before[part].max() < 1.01 * high
        if kind != "developed":
            room = 1.5 * np.log(high / low) / len(before[part]) ** 0.5  # three standard deviations of their median
            assert quantiles(before[part].log(), 0.5)[0] == pytest.approx(np.log(low * high) / 2, abs=room)
        if kind == "lined":
            assert along[part].mean() > 0.35 and across[part].abs().mean() < 0.1
        else:
            assert both[part].min() > 0.15


@pytest.mark.parametrize("source", [grey, correlated])
def test_noise_is_made_even_by_about_what_it_is(source, as_drawn, monkeypatch):
    """By one number for an input and its target, which is near the noise's standard deviation in plain pictures; and
    what the network sees of the noise is that much, around the middle."""
    run = Run(pairs=500, source=source)
    inputs, _ = source(mid_grey(), run)(0)
    sds = torch.cat([sd.flatten() for sd, _ in as_drawn[::2]])
    for (sd, middle), (same, as_well) in zip(as_drawn[::2], as_drawn[1::2], strict=True):
        assert torch.equal(sd, same) and torch.equal(middle, as_well)
    order = [0, 1] if source is grey else [0, 1, 2]
    assert len(as_drawn) == 2 * len(order) and len(sds) == 500
    parts = parts_of(source, 500)
    noise = (inputs - inputs.mean((1, 2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()
    ratios = sds / noise
    strong = noise > 6
    for kind, part in parts.items():
        if kind in ("independent", "photons"):
            assert quantiles(ratios[part][strong[part] | (kind == "photons")], 0.5)[0] == pytest.approx(0.95, abs=0.25)
    assert quantiles(ratios[parts["photons"]], 0.05, 0.95) == pytest.approx([0.9, 1.4], rel=0.15)
    assert sds[: parts["photons"].start].min() > 0.5  # what is faint isn't blown up
    middles = torch.cat([middle.flatten() for _, middle in as_drawn[::2]])[: parts["photons"].start]
    assert quantiles(middles, 0, 0.5, 1) == pytest.approx([40, 128, 215], abs=25)

    monkeypatch.setattr(sources, "evened", evened)
    seen, _ = source(mid_grey(), run)(0)
    expected = (noise * 25 / sds)[: parts["photons"].stop]
    found = (seen - seen.mean((1, 2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()[: parts["photons"].stop]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("source, share", [(correlated, 0.48 * 0.5 + 0.52 * 0.8 * 0.3), (grey, 0.8 * 0.3)])
def test_the_share_of_jpegs_is_among_the_inputs_alone(source, share, as_drawn, monkeypatch):
    monkeypatch.setattr(noise, "jpeg", lambda image, quality, subsampling: torch.full_like(image, 3 * subsampling + 1))
    inputs, targets = source(draw_scenes(2, size=96), Run(pairs=300, source=source))(0)
    flat = (inputs == inputs[:, :1, :1, :1]).flatten(1).all(1)
    others = parts_of(source, 300)["photons"].start
    assert flat.float().mean().item() == pytest.approx(share, abs=0.09) and targets[:others].flatten(1).std(1).min() > 5
    halved = (inputs[flat][:, 0, 0, 0] == 7).float().mean().item()  # 4:2:0
    assert halved == pytest.approx(0.6, abs=0.14)


def test_half_of_the_photos_with_correlated_noise_are_soft(as_drawn):
    run = Run(pairs=250, source=correlated)
    photos = [torch.randint(256, (3, 100, 100), dtype=torch.uint8, generator=rng())]
    _, clean = correlated(photos, run)(0, clean=True)
    soft = (clean != clean.round()).flatten(1).any(1)[130:]
    assert not soft[:37].any() and soft[38:].float().mean().item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("without", [*SHARES, "soft", "impulses", "photons"])
def test_a_part_of_the_mixture_can_be_left_out(without, as_drawn, monkeypatch):
    counted, plain = [], sources.few_photons
    monkeypatch.setattr(sources, "few_photons", lambda *args: counted.append(args[2]) or plain(*args))
    run = Run(pairs=100, source=correlated)
    photos = [torch.randint(256, (3, 96, 96), dtype=torch.uint8, generator=rng())]
    noisy, clean = correlated(photos, run, without)(0, clean=True)
    in_colour = (clean != clean[:, :1]).flatten(1).any(1)
    assert len(noisy) == len(clean) == 100
    whole = {"grey": 100, "soft": 48, "impulses": 48, "photons": 48}
    share = whole.get(without, 100 - 52 / (1 - SHARES.get(without, 0)))
    assert in_colour.sum().item() == pytest.approx(share, abs=0.51)
    assert (clean[in_colour] == clean[in_colour].round()).all() == (without == "soft")
    assert sum(counted) == (0 if without == "photons" else round(0.2 * (100 - in_colour.sum().item())))


def test_a_quarter_of_the_crops_is_dark():
    """To a power p and times s: of half the brightness 2^-p s is left."""
    crops = torch.full((4000, 1, 2, 3), 127.5)
    found = darkened(crops, rng())
    dark = found[:, 0, 0, 0] < 127
    assert (found == found[:, :, :1, :1]).all() and (found[~dark] == 127.5).all()
    assert dark.float().mean().item() == pytest.approx(0.25, abs=0.03)
    octaves = (found[dark][:, 0, 0, 0] / 255).log2()
    assert octaves.max() < -1 and octaves.min() > -3.5 + np.log2(0.3)
    assert quantiles(octaves, 0.5)[0] == pytest.approx(-2.25 + np.log2(0.65), abs=0.2)


def test_some_crops_show_lines_and_boxes_or_strokes():
    crops = 10 * torch.rand(1500, 3, 40, 40, generator=rng())
    found = with_drawings(crops.clone(), rng(1))
    drawn = (found != crops).flatten(1).any(1)
    assert drawn.float().mean().item() == pytest.approx(0.12, abs=0.025) and 0 <= found.min() and found.max() <= 255
    grounds = [image.flatten(1).T.unique(dim=0, return_counts=True) for image in found[drawn]]
    colours = torch.tensor([len(shades) for shades, _ in grounds])
    plain = colours <= 26  # the ground and 25 boxes, or what ink covers of 4 x 4 parts of a pixel
    assert plain.float().mean().item() == pytest.approx(0.5, abs=0.15) and colours[plain].min() > 5
    most = torch.stack([shades[counts.argmax()] for shades, counts in grounds])[plain]
    white, black = ((most == value).all(1).float().mean().item() for value in (255, 0))
    assert white == pytest.approx(0.4, abs=0.13) and black == pytest.approx(0.1, abs=0.08)
    assert torch.equal(found, with_drawings(crops.clone(), rng(1)))


@pytest.mark.parametrize("nib, ink", [((1, 1), (0.1, 0.1)), ((3, 3), (0.5, 0.5))])
def test_strokes_cover_as_much_as_a_random_field_is_near_zero(nib, ink, monkeypatch):
    """Of a normal distribution; and they are as wide as that field is smooth."""
    monkeypatch.setattr(sources, "NIB", nib)
    monkeypatch.setattr(sources, "INK", ink)
    found = torch.stack([sources.strokes(64, 48, rng(seed)) for seed in range(30)])
    assert found.shape == (30, 1, 64, 48) and found.min() == 0 and found.max() == 1
    near = 2 * torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(ink[0])) - 1
    assert found.mean().item() == pytest.approx(near.item(), rel=0.1)
    assert torch.equal(16 * found, (16 * found).round())


def test_spots_are_gaussian_and_as_bright_as_they_should_be(monkeypatch):
    """Of a single one its light is that of its peak and spread, and both are drawn between their bounds."""
    monkeypatch.setattr(sources, "SPOTS", 1)
    found = sources.with_spots(torch.zeros(1200, 1, 64, 64), rng())
    lit = found.flatten(1).amax(1) > 0
    assert lit.float().mean().item() == pytest.approx(0.25, abs=0.04) and found.max() <= 1
    whole = found[lit][
        (found[lit][..., [0, -1], :].amax((1, 2, 3)) < 1e-6) & (found[lit][..., [0, -1]].amax((1, 2, 3)) < 1e-6)
    ]
    light = whole.sum((1, 2, 3))
    spread = (whole.square().sum((1, 2, 3)) / light**2 * 4 * np.pi) ** -0.5  # the sum of squares is light^2 / 4 pi s^2
    assert quantiles(spread, 0.0, 1.0) == pytest.approx([0.7, 2.5], rel=0.1)
    peaks = light / (2 * np.pi * spread**2)
    assert quantiles(peaks.log10(), 0.0, 0.5, 1.0) == pytest.approx([np.log10(0.003), np.log10(0.003) / 2, 0], abs=0.25)


def test_a_third_of_the_cameras_sees_the_night():
    found = rms_of_cameras(20_000, rng())
    assert found.shape == (20_000, 1, 1, 1) and 0.5 <= found.min() and found.max() <= 60
    by_day = 2 / 3 * (np.log(10 / 0.5) / np.log(60 / 0.5))  # is below 10
    assert (found < 10).float().mean().item() == pytest.approx(by_day, abs=0.02)
    below = 2 / 3 * (np.log(35 / 0.5) / np.log(60 / 0.5)) + 1 / 3 * 0.5
    assert (found < 35).float().mean().item() == pytest.approx(below, abs=0.02)


@pytest.mark.parametrize("dark", [False, True])
def test_few_photons_have_noise_of_a_standard_deviation_near_1(dark, as_drawn):
    """Of white pictures, which are no darker to any power, and of grey ones, of which three in four are."""
    photos = [torch.full((3, 96, 96), 128 if dark else 255, dtype=torch.uint8)]
    inputs, targets = sources.few_photons(photos, Run(pairs=120, targets=4), 120)(0)
    assert inputs.shape == (120, 3, 96, 96) and inputs.dtype == torch.float32
    sds, levels = [images[:, 0].flatten(1).std(1) for images in (inputs, targets)], inputs.mean((1, 2, 3))
    bright = levels > 4  # some photons, whatever the gain is said to be
    assert bright.float().mean() > (0.5 if dark else 0.7)
    assert 0.7 < sds[0][bright].min() and sds[0][bright].max() < 1.5  # gain and read noise are said roughly
    assert quantiles(sds[0][bright], 0.5)[0] == pytest.approx(1, abs=0.08)
    torch.testing.assert_close(sds[0] / 2, sds[1], rtol=0.15, atol=0.02)


@pytest.mark.parametrize("source", [grey, correlated])
def test_validation_is_of_the_source_s_own_noise(source, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_CROPS", 6)
    noisy, clean = experiment.validation(draw_scenes(2, size=128), Run(source=source, pairs=2))
    assert noisy.shape == clean.shape == (6, 3, 96, 96) and noisy.dtype == clean.dtype == torch.float32
    assert (noisy - clean).square().mean((1, 2, 3)).min() > 1
    assert correlation(noisy - noisy.mean((1, 2, 3), True), clean - clean.mean((1, 2, 3), True)).min() > 0.2

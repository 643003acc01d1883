"""The noise of a picture, from the picture alone: beside what was drawn, of all strengths, kinds and units."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from Proj_Miniproject2.others.noise.estimate import censored, estimate, line, rough_sd, spread
from Proj_Miniproject2.others.noise.kinds import (
    bayer,
    demosaiced,
    developed_noise,
    gaussian_noise,
    jpeg,
)
from Proj_Miniproject2.others.pairs.scenes import draw_scenes


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.empty(shape, dtype=torch.float64).normal_(generator=rng(seed))


def smooth(height=256, width=256, seed=0, low=0.05):
    """Long waves in all directions, from `low` to 1: float64 (1, height, width)."""
    rows, columns = torch.arange(height).double()[:, None] / height, torch.arange(width).double() / width
    draws = torch.rand(5, 4, generator=rng(seed)).tolist()
    waves = sum((0.3 + d) * torch.cos(4 * math.pi * (a * rows + b * columns + c)) for a, b, c, d in draws)
    waves = (waves - waves.min()) / (waves.max() - waves.min())
    return (low + (1 - low) * waves)[None]


def calm_scene(seed=0, size=256):
    """A drawn scene of large leaves, which has texture, too: float64 (3, size, size), from 0.02 to 0.92."""
    return 0.02 + 0.9 * draw_scenes(4, size=size, seed=seed)[3].double() / 255


def counted(clean, gain, read_noise, offset=0, seed=0):
    """What a detector of that gain makes of a clean picture, in its units."""
    photons = torch.poisson(clean / gain, generator=rng(seed)) * gain if gain else clean
    return photons + read_noise * normal(*clean.shape, seed=seed + 1) + offset


def sd_at(noise, value, channel=0):
    return max(noise.gain[channel] * value + noise.floor(channel), 0) ** 0.5


# ----------------------------------------------------------------------------------------------------------
# Independent noise


@settings(max_examples=25)
@given(
    photons=st.floats(0.6, 4).map(lambda x: 10**x),
    read=st.sampled_from([0.0, 0.01, 0.03, 0.1]),
    unit=st.floats(-8, 8).map(lambda x: 10**x),
    scene=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_detector_s_noise_is_found_within_a_tenth(photons, read, unit, scene, seed):
    """With 4 to 10,000 photons at white, in any unit: its standard deviation from dark to bright, and its gain where it
    is photons that make it. Of scenes that show texture alone there is less to go by."""
    clean = (calm_scene(seed)[:1] if scene else smooth(seed=seed)) * unit
    gain = unit / photons
    found = estimate([counted(clean, gain, read * unit, seed=seed)])
    if scene and found.trusted[0] < 0.4:
        return
    levels = clean.flatten().quantile(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)).tolist()
    expected = [math.hypot((gain * level) ** 0.5, read * unit) for level in levels]
    near, all_over, of_gain = (0.2, 0.15, 0.35) if scene else (0.1, 0.1, 0.2)
    assert [sd_at(found, level) for level in levels] == pytest.approx(expected, rel=near)
    assert found.sd[0] == pytest.approx((gain * clean + (read * unit) ** 2).mean().sqrt().item(), rel=all_over)
    if gain * clean.mean() > 4 * (read * unit) ** 2:
        assert found.gain[0] == pytest.approx(gain, rel=of_gain)
    # where the darkest parts see a tenth of a photon, some 9 x 9 pixels see none
    assert found.white and found.dead < 1e-3 and found.saturated == 0 and found.empty < (0.01 if photons < 10 else 1e-9)


@pytest.mark.parametrize("sd", [1e-9, 0.01, 1, 300, 1e7])
@pytest.mark.parametrize("scene", [False, True])
def test_even_noise_is_found_within_a_tenth(sd, scene):
    """On pictures 30 times as bright, of one channel and of three, which share nothing."""
    clean = calm_scene() if scene else torch.cat([smooth(seed=seed) for seed in range(3)])
    found = estimate([30 * sd * clean + sd * normal(3, 256, 256)])
    for channel in range(3):
        assert found.sd[channel] == pytest.approx(sd, rel=0.1)
        assert sd_at(found, 3 * sd, channel) == pytest.approx(sd, rel=0.15)
        assert sd_at(found, 27 * sd, channel) == pytest.approx(sd, rel=0.15)
    assert found.white and abs(found.correlation) < 0.1 and found.reach == 1 and abs(found.channels) < 0.1


def test_each_channel_has_a_noise_of_its_own():
    parts = [(0.02, 1), (3.0, 40), (0, 12)]
    picture = torch.cat([counted(1000 * smooth(seed=i), *part, seed=i) for i, part in enumerate(parts)])
    found = estimate([picture])
    for i, (gain, read) in enumerate(parts):
        assert sd_at(found, 500, i) == pytest.approx(math.hypot((500 * gain) ** 0.5, read), rel=0.1)
        alone, own = estimate([picture[i : i + 1]]), found.of(i)
        assert own.gain + own.read_noise + own.sd == pytest.approx(alone.gain + alone.read_noise + alone.sd)
        assert own.span == alone.span and len(own.trusted) == 1 and own.floor(0) == found.floor(i)


@settings(max_examples=25)
@given(
    a=st.floats(-60, 60).map(lambda x: 10**x),
    b=st.floats(-100, 100),
    photons=st.sampled_from([10, 1000, None]),
    seed=st.integers(0, 9),
)
def test_units_and_offset_change_the_noise_as_they_should(a, b, photons, seed):
    """a x + b has the gain a g, the standard deviation a sd, and the same variance at the same places."""
    picture = counted(smooth(96, 120, seed), 1 / photons if photons else 0, 0.05, seed=seed)
    one, other = estimate([picture]), estimate([a * (picture + b)])
    assert other.sd[0] == pytest.approx(a * one.sd[0], rel=1e-3)
    assert other.gain[0] == pytest.approx(a * one.gain[0], rel=1e-2, abs=1e-6 * a)
    for value in (0.1, 0.5, 0.9):
        assert sd_at(other, a * (value + b)) == pytest.approx(a * sd_at(one, value), rel=1e-3)
    assert (other.white, other.reach, other.dead, other.empty) == (one.white, one.reach, one.dead, one.empty)
    assert other.correlation == pytest.approx(one.correlation, abs=1e-3)
    low, scale = other.span[0]
    assert (low / a - b, scale / a) == pytest.approx(one.span[0], rel=1e-6, abs=1e-6)


def test_what_is_known_of_the_camera_is_kept():
    """And the rest is found: here within a tenth."""
    gain, read, offset = 2.5, 30.0, 100.0
    picture = counted(4000 * smooth(), gain, read, offset)
    true = {"gain": gain, "read_noise": read, "offset": offset}
    for known in (
        *({"gain"}, {"read_noise", "offset"}, {"offset"}, {"gain", "read_noise"}),
        *({"gain", "offset"}, {"gain", "read_noise", "offset"}),
    ):
        found = estimate([picture], **{name: true[name] for name in known})
        for name in known:
            assert getattr(found, name)[0] == pytest.approx(true[name], rel=1e-6), (known, name)
        if known >= {"read_noise"} or known >= {"gain"}:
            assert found.gain[0] == pytest.approx(gain, rel=0.1)
        if "offset" in known:
            assert found.read_noise[0] == pytest.approx(read, rel=0.35), known
            for level in (500, 2000, 4000):
                expected = (gain * level + read**2) ** 0.5
                assert sd_at(found, level + offset) == pytest.approx(expected, rel=0.1), known
    wrong = estimate([picture], gain=25, read_noise=0)
    assert wrong.gain == (25,) and wrong.read_noise == (0,)  # as who says so knows it


def test_from_what_was_subtracted_the_offset_is_told():
    """It isn't far below the darkest that is seen; the variance is what it was."""
    picture = counted(1000 * smooth(), 2, 5, offset=-400)
    found = estimate([picture])
    assert -400 < found.offset[0] < -250 and found.read_noise[0] < 20
    assert [sd_at(found, level) for level in (-350, 0, 500)] == pytest.approx([11.2, 28.7, 42.7], rel=0.1)


# ----------------------------------------------------------------------------------------------------------
# Shared noise


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("own, line, told", [(5, 8, 8), (2, 20, 20), (5, 3, 0), (5, 0, 0)])
def test_noise_of_rows_or_columns_is_told_apart(own, line, told, axis):
    """Where it is stronger than what each pixel has, in which it isn't counted."""
    shape = [1, 256, 256]
    shape[axis] = 1
    found = estimate([300 * smooth() + own * normal(1, 256, 256) + line * normal(*shape, seed=50)])
    assert found.lines[0] == pytest.approx(told, rel=0.1) and found.sd[0] == pytest.approx(own, rel=0.1)


def gaussian_blurred(sd, seed=0, size=256):
    """White noise of standard deviation 1 after a Gaussian blur: at distance d it correlates by exp(-(d / 2 sd)^2)."""
    at = torch.arange(-8, 9).double()
    kernel = (-(at**2) / 2 / sd**2).exp()
    kernel = (kernel / kernel.square().sum().sqrt()).view(1, 1, 1, -1)
    return F.conv2d(F.conv2d(normal(1, 1, size + 16, size + 16, seed=seed), kernel), kernel.mT)[0]


@pytest.mark.parametrize("blur, reach", [(0.6, 2), (0.8, 3), (1.2, 4)])
@pytest.mark.parametrize("sd", [4, 20])
def test_blurred_noise_is_found_to_be_shared(blur, reach, sd):
    """Its correlation within a tenth. Its strength is what its calmest blocks show, which is less."""
    found = estimate([200 * smooth() + sd * gaussian_blurred(blur)])
    assert not found.white and found.trusted[0] < 0.05
    assert found.correlation == pytest.approx(math.exp(-1 / 4 / blur**2), abs=0.1)
    assert found.reach == reach
    assert 0.6 * sd < found.sd[0] < 1.1 * sd


def of_mosaic(clean, draws):
    mosaic = bayer(1, 256, 256, draws)
    return demosaiced(mosaic * (clean[None] + 20 * normal(1, 1, 256, 256)), mosaic, torch.full((1, 1, 1, 1), 0.5))[0]


def enlarged(clean, draws):
    small = F.interpolate(clean[None], size=128, mode="area")
    return F.interpolate(small + 20 * normal(1, 3, 128, 128), size=256, mode="bilinear")[0]


def of_a_jpeg(clean, draws):
    return jpeg(gaussian_noise(clean.float(), 20, draws), 85, 2).double()


def developed(clean, draws):
    return clean + developed_noise(clean[None].float(), torch.full((1, 1, 1, 1), 20.0), draws)[0]


@pytest.mark.parametrize("scene", [False, True])
@pytest.mark.parametrize("way, least, most", [
    (of_mosaic, 0.7, 1),
    (enlarged, 0.65, 1),
    (of_a_jpeg, 0.7, 1.25),
    (developed, 0.6, 1),
])  # fmt: skip
def test_what_cameras_and_programs_make_of_noise_is_found_nearly_as_strong(way, least, most, scene):
    """Estimators that take noise for independent find a half of what a mosaic's interpolation left, or a tenth after
    enlarging (scikit-image's `estimate_sigma`)."""
    clean = 210 * calm_scene() + 20 if scene else torch.cat([180 * smooth(seed=seed) + 30 for seed in range(3)])
    noisy = way(clean, rng())
    true = (noisy - clean).square().mean().sqrt().item()
    found = estimate([noisy])
    strength = math.sqrt(sum(sd**2 for sd in found.sd) / 3)
    assert least * true < strength < most * true
    if way is not of_a_jpeg:
        assert not found.white and found.correlation > 0.4 and found.reach > 1
    assert (found.channels > 0.5) == (way is not enlarged)


@given(st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=10)
def test_channels_that_share_noise(share, seed):
    own, shared = normal(3, 128, 128, seed=seed), normal(1, 128, 128, seed=seed + 100)
    noise = share**0.5 * shared + (1 - share) ** 0.5 * own
    assert estimate([300 * smooth(128, 128).expand(3, -1, -1) + 5 * noise]).channels == pytest.approx(share, abs=0.12)


# ----------------------------------------------------------------------------------------------------------
# What tells nothing


@pytest.mark.parametrize("kind", ["stuck", "any", "0"])
@pytest.mark.parametrize("share", [1e-4, 3e-3, 0.03, 0.08])
@pytest.mark.parametrize("gain, read", [(0.05, 1), (1.0, 5), (0, 20)])
def test_dead_pixels_are_counted_and_spoil_nothing(kind, share, gain, read):
    picture = counted(900 * smooth(low=0.2 if kind == "0" else 0.02) + 100 + 1000 * (kind == "0"), gain, read)
    where = torch.rand(picture.shape, generator=rng(1)) < share
    values = {"stuck": torch.full_like(picture, 65535), "any": 65535 * torch.rand(picture.shape, generator=rng(2)) ** 2}
    clean, found = estimate([picture]), estimate([torch.where(where, values.get(kind, picture * 0), picture)])
    assert found.dead == pytest.approx(where.double().mean().item(), rel=0.15, abs=1e-4)
    assert found.sd == pytest.approx(clean.sd, rel=0.06) and found.white and found.saturated == 0
    for value in (300, 600, 900):
        assert sd_at(found, value + 1000 * (kind == "0")) == pytest.approx(
            sd_at(clean, value + 1000 * (kind == "0")), rel=0.1
        )
    assert found.span[0] == pytest.approx(clean.span[0], rel=0.02, abs=5)


@pytest.mark.parametrize("mean", [0.02, 0.1, 0.5, 2])
@pytest.mark.parametrize("read", [0, 0.1])
def test_single_photons_are_no_dead_pixels(mean, read):
    """Each of 37 counts, on an offset."""
    light = smooth(seed=3) ** 3
    picture = counted(37 * mean * light / light.mean(), 37, 37 * read, 100)
    found = estimate([picture], offset=100)
    assert found.dead == 0 and found.saturated < 0.01
    if mean >= 0.5:
        assert found.gain[0] == pytest.approx(37, rel=0.15)


def test_what_is_saturated_or_empty_is_told_and_left_out():
    """Of 200 x 300 pixels: a spot at the sensor's end, and a border of zeros."""
    picture = counted(3000 * smooth(200, 300), 2, 10).round()
    rows, columns = torch.arange(200)[:, None], torch.arange(300)
    spot = ((rows - 100) ** 2 + (columns - 150) ** 2 < 30**2)[None]
    plain, found = estimate([picture]), estimate([torch.where(spot, 4095, picture)])
    assert found.saturated == pytest.approx(spot.double().mean().item(), abs=1e-3) and found.dead == 0
    assert found.sd == pytest.approx(plain.sd, rel=0.1) and found.gain == pytest.approx(plain.gain, rel=0.1)
    for value in (0, -99.5, math.nan):
        padded = F.pad(picture, (0, 100, 50, 0), value=value)
        found = estimate([padded])
        assert found.empty == pytest.approx(1 - 200 * 300 / (250 * 400), abs=1e-3)
        assert found.sd == pytest.approx(plain.sd, rel=0.05) and found.gain == pytest.approx(plain.gain, rel=0.05)
        assert found.span[0] == pytest.approx(plain.span[0], rel=0.02, abs=20)


@settings(max_examples=15)
@given(sd=st.floats(0.5, 20), above=st.floats(-1.5, 1), written=st.booleans(), seed=st.integers(0, 9))
def test_noise_that_white_cuts_off_is_what_it_was_before(sd, above, written, seed):
    """Of paper, whose white is so many standard deviations above the highest value, with or without strokes on it."""
    paper = torch.full((1, 256, 256), 255 + above * sd, dtype=torch.float64)
    if written:
        paper[:, 40:200:12, 20:220] -= 90
    found = estimate([(paper + sd * normal(1, 256, 256, seed=seed)).clamp(max=255)])
    assert found.white and found.sd[0] == pytest.approx(sd, rel=0.12)


def test_censored_noise_has_the_variance_of_draws():
    draws = normal(1_000_000)
    for threshold in (-1.2, 0, 0.7, 2):
        share, variance = (draws >= threshold).double().mean(), draws.clamp(max=threshold).var()
        torch.testing.assert_close(censored(share), variance, rtol=0.01, atol=0)
    assert censored(torch.zeros(1)) == 1


def test_scatter_alone_is_hardly_ever_a_slope():
    """Of variances that differ by a tenth, in 16 classes of brightness: a slope of three times its error is one."""
    levels, draws = torch.linspace(0, 10, 16, dtype=torch.float64), normal(200, 16)
    assert sum(line(10 * levels, 1 + 0.1 * draw)[0] > 0 for draw in draws) < 20
    assert all(line(10 * levels, 1 + 0.1 * levels + 0.1 * draw)[0] == pytest.approx(0.01, rel=0.5) for draw in draws)


@pytest.mark.parametrize("seed", range(6))
def test_what_chance_may_have_made_is_no_gain(seed):
    """Of faint stars on an even sky; what is as bright as that many times over has one."""
    sky = torch.full((1, 256, 256), 100.0, dtype=torch.float64)
    sky[:, 8::32, 8::32] += 120
    assert estimate([counted(sky, 1, 0, seed=seed)]).gain == (0,)
    assert estimate([counted(100 * smooth(seed=seed), 1, 0, seed=seed)]).gain[0] == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("value", [0, 7.25, -1e300, math.nan, math.inf])
def test_of_what_is_the_same_everywhere_there_is_no_noise(value):
    found = estimate([torch.full((2, 40, 50), value, dtype=torch.float64)])
    assert found.gain == found.sd == found.read_noise == found.trusted == (0, 0) and found.white
    assert all(scale == 0 for _, scale in found.span)
    assert all(math.isfinite(number) for number in (found.correlation, found.channels, found.dead, found.saturated))


def test_pictures_without_noise_have_none():
    """Scenes as they were drawn: their grain is half a grey level, and is not nearly as strong as noise that one sees.
    Plain colours with lines and boxes have none at all."""
    drawing = torch.full((3, 150, 150), 240.0)
    drawing[:, 20:60, 30:90], drawing[:, 100], drawing[:, :, 77:79] = 30, 0, 200
    found = estimate([drawing])
    assert found.sd == (0, 0, 0)
    slope = torch.linspace(0, 3000, 200).expand(1, 200, 200).double()
    assert max(estimate([slope]).sd) < 1e-9
    assert max(estimate([smooth() * 255]).sd) < 0.1


def test_gaps_change_little():
    """NaN and infinities, of which a hundredth is."""
    picture = counted(500 * smooth(), 1, 3)
    draw = torch.rand(picture.shape, generator=rng(3))
    broken = torch.where(draw < 0.008, math.nan, picture)
    broken = torch.where(draw > 0.999, math.inf, broken)
    broken = torch.where((draw > 0.998) & (draw <= 0.999), -math.inf, broken)
    before, found = estimate([picture]), estimate([broken])
    assert found.sd == pytest.approx(before.sd, rel=0.1) and found.dead < 1e-3
    assert found.empty == pytest.approx((~broken.isfinite()).double().mean().item(), rel=0.2)


# ----------------------------------------------------------------------------------------------------------
# Stacks, small pictures and large ones


def test_a_stack_has_one_noise():
    """As one picture of all of its pages would: many more blocks than of one. And of many pages some are looked at."""
    pages = [counted(300 * smooth(96, 96, seed=i), 4, 10, seed=i) for i in range(30)]
    found = estimate([pages[place] for place in spread(30)])
    assert found.gain[0] == pytest.approx(4, rel=0.1)
    mean = 300 * sum(smooth(96, 96, i).mean().item() for i in range(30)) / 30
    assert found.sd[0] == pytest.approx((4 * mean + 100) ** 0.5, rel=0.1)
    dark = [torch.zeros(1, 96, 96, dtype=torch.float64), *pages[:7]]
    assert estimate(dark).empty == pytest.approx(1 / 8) and estimate(dark).gain[0] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (17, 40), (33, 33)])
def test_small_pictures(size):
    """From fewer blocks, so less exactly."""
    found = [estimate([100 + 8 * normal(1, *size, seed=seed)]) for seed in range(20)]
    sds = torch.tensor([one.sd[0] for one in found])
    assert sds.median().item() == pytest.approx(8, rel=0.15) and sds.min() > 4 and sds.max() < 14
    colour = estimate([torch.cat([counted(99 * smooth(*size), 0, 5)] * 3)])
    assert len(colour.sd) == 3 and colour.channels == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32, torch.float16])
def test_dtypes(dtype):
    """Rounding to whole numbers adds a twelfth to the variance."""
    picture = (150 * smooth(128, 128) + 30 + 4 * normal(1, 128, 128)).round()
    found = estimate([picture.to(dtype)])
    assert found.sd[0] == pytest.approx((16 + 1 / 12) ** 0.5, rel=0.1)
    assert found.sd == pytest.approx(estimate([picture]).sd, rel=1e-3)


def test_of_a_large_picture_parts_are_looked_at():
    """From all over it: where it is dark on one side, gain and read noise still come out."""
    clean = torch.linspace(20, 1000, 1500).double().expand(1, 1200, 1500)
    found = estimate([counted(clean, 1.5, 6)])
    assert found.gain[0] == pytest.approx(1.5, rel=0.1) and found.sd[0] == pytest.approx(
        (1.5 * 510 + 36) ** 0.5, rel=0.1
    )


def test_a_rough_guess_is_that_of_the_calmest_parts():
    """Of each picture of a batch by itself, and of noise as of texture."""
    clean = torch.stack([smooth(96, 96, seed) for seed in range(4)])
    sds = torch.tensor([2.0, 5, 20, 60]).view(4, 1, 1, 1)
    found = rough_sd(100 * clean + sds * normal(4, 1, 96, 96))
    ratios = found / sds.flatten()
    assert found.shape == (4,) and 0.6 < ratios.min() and ratios.max() < 1.1
    np.testing.assert_allclose(rough_sd((100 * clean + sds * normal(4, 1, 96, 96))[2:3]), found[2:3])

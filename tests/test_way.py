"""A picture's way through networks that see even noise, and through those that don't: what is taken, and what stays."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import avg_pool2d

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.api import way
from Proj_Miniproject2.others.api.way import denoise_pixels
from Proj_Miniproject2.others.api.weights import chosen, trained
from Proj_Miniproject2.others.formats.files import save
from Proj_Miniproject2.others.networks import PhotoUNet, UNet
from Proj_Miniproject2.others.noise.estimate import estimate
from Proj_Miniproject2.others.noise.ranges import with_about
from Proj_Miniproject2.others.noise.stabilise import MIDDLE, STRENGTH

from .test_estimate import counted, gaussian_blurred, normal, rng, smooth


class Blurring(UNet):
    """A network that sees even noise: it gives each pixel the mean of 15 x 15, and of all channels. It tells what it
    saw."""

    range = seen = None
    even = True
    VIEWS = 1

    def __init__(self):
        super().__init__()
        self.saw = []

    def denoise(self, images):
        self.saw.append(images * 255)
        return avg_pool2d(images.mean(1, keepdim=True), 15, 1, 7, count_include_pad=False).repeat(1, 3, 1, 1)


@pytest.fixture
def models():
    return [Blurring()] * 2


@pytest.fixture(scope="module")
def shipped():
    return chosen()


def noisy(dtype=torch.float32, channels=1, sd=12, height=96, width=112):
    """A calm picture in [30, 210], with independent Gaussian noise."""
    clean = torch.cat([30 + 180 * smooth(height, width, low=0)] * channels)  # as colours have much in common
    picture = clean + sd * normal(*clean.shape)
    return picture.to(dtype) if dtype.is_floating_point else picture.round().clamp(0, 255).to(dtype)


def rms(values):
    return values.double().square().mean().sqrt().item()


DTYPES = pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64])
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


@DTYPES
@CHANNELS
def test_the_network_sees_noise_of_one_strength_around_the_middle(dtype, channels, models):
    """Whatever it is in the picture; and what it takes away is taken in the picture's units."""
    for sd in (6, 18):
        picture = noisy(dtype, channels, sd)
        result = denoise_pixels(models, picture)
        (saw,) = models[0].saw
        models[0].saw.clear()
        rows = saw[0, :channels]
        differences = (rows[:, 1:-1, 1:-1] * 4 - rows[:, :-2, 1:-1] - rows[:, 2:, 1:-1]) - rows[:, 1:-1, :-2]
        differences -= rows[:, 1:-1, 2:]
        assert rms(differences) / 20**0.5 == pytest.approx(STRENGTH, rel=0.15)
        assert abs(rows.mean().item() - MIDDLE) < 180 / sd * STRENGTH / 3
        assert result.dtype == dtype and result.shape == picture.shape
        change = (result.double() - picture.double()).mean().item()
        assert abs(change) < 1 and rms(result.double() - picture.double()) > 0.8 * sd


@CHANNELS
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_what_is_no_measurement_stays_bit_for_bit(dtype, channels, models):
    """What is empty, what is missing, NaN and infinities; the rest is denoised as without."""
    picture = noisy(dtype, channels)
    clean = denoise_pixels(models, picture).double()
    picture[:, :, 90:] = 7
    missing = torch.zeros(96, 112, dtype=torch.bool)
    missing[20:31, 11:43] = True
    gaps = torch.zeros(picture.shape, dtype=torch.bool)
    if picture.is_floating_point():
        gaps = torch.rand(picture.shape, generator=rng(2)) < 0.01
        gaps[-1, 60:70, 50:55] = True
        gaps[:, :, 90:] = False
        picture[gaps] = torch.tensor([torch.nan, torch.inf, -torch.inf]).double()[torch.arange(int(gaps.sum())) % 3]
    before = picture.clone()
    found = denoise_pixels(models, picture, missing=missing)
    assert np.array_equal(picture, before, equal_nan=True)
    stays = missing | gaps
    stays[:, :, 90:] = True
    assert np.array_equal(found[stays], picture[stays], equal_nan=True)
    rest = ~stays
    assert bool(found[rest].double().isfinite().all()) and rms(found[rest].double() - picture[rest].double()) > 9
    rest[:, :, 83:] = False  # where the network sees what is empty
    assert rms(found[rest].double() - clean[rest]) < 2


@CHANNELS
@pytest.mark.parametrize("dtype, value", [(torch.uint16, 60_000), (torch.float32, 60_000), (torch.uint16, 0)])
def test_hot_and_dead_pixels_stay_as_far_as_they_are_or_are_taken_out(dtype, value, channels, models):
    """And do nothing to others."""
    picture = (1000 + noisy(torch.float64, channels)).to(dtype)
    hot = torch.rand(picture.shape, generator=rng(3)) < 0.02
    broken = torch.where(hot, torch.tensor(value, dtype=torch.float64), picture.double()).to(dtype)
    clean = denoise_pixels(models, picture).double()
    stay, repaired = (denoise_pixels(models, broken, repair=repair).double() for repair in (False, True))
    for found in (stay, repaired):
        assert rms((found - clean)[~hot]) < 2.5
    assert (stay[hot] - value).abs().max() < 120 and rms((repaired - clean)[hot]) < 6
    half = denoise_pixels(models, broken, strength=0.5, repair=True).double()
    assert ((half - (broken.double() + repaired) / 2)[hot]).abs().max() <= 1
    assert torch.equal(denoise_pixels(models, broken, strength=0, repair=True), broken)


@CHANNELS
def test_dead_pixels_of_8_bits_are_taken_out(channels, models):
    """Also where there is no noise else, as [0, 255] is a file's, and no sensor's."""
    for sd in (0, 12):
        picture = noisy(torch.uint8, channels, sd)
        draw = torch.rand(picture.shape, generator=rng(3))
        broken = torch.where(draw < 0.01, 255 * (draw < 0.005), picture).to(torch.uint8)
        found, clean = (denoise_pixels(models, one).double() for one in (broken, picture))
        assert rms(found - clean) < 2.5 and rms(broken.double() - picture) > 8


@CHANNELS
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shared", [False, True])
def test_strips_are_as_the_whole(shared, dtype, channels, models, monkeypatch):
    """Of a picture with dead pixels, half denoised: but for what a strip's edge hides."""
    picture = noisy(torch.float64, channels, height=160)
    picture += shared * 8 * gaussian_blurred(0.8, size=160)[:, :, :112]
    draw = torch.rand(picture.shape, generator=rng(3))
    picture = torch.where(draw < 0.01, 255 * (draw < 0.005), picture)
    picture = (picture if dtype.is_floating_point else picture.round().clamp(0, 255)).to(dtype)
    found = []
    for rows in (32, 256):
        monkeypatch.setattr(way, "STRIP", rows)
        found.append(denoise_pixels(models, picture, strength=0.5, repair=True).double())
    assert rms(found[0] - found[1]) < 0.3 and rms(found[1] - picture.double()) > 9


@CHANNELS
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_texture_loses_hardly_more_than_calm_parts(dtype, channels, models):
    """Where neighbours share their noise, which can't be told from it then: in mean squares twice as much."""
    rows, columns = torch.arange(160).double()[:, None], torch.arange(176).double()
    place = (slice(None), slice(48, 112), slice(64, 128))
    picture = (30 + 150 * smooth(160, 176, low=0)).repeat(channels, 1, 1)
    picture[place] += (40 * torch.sin(1.1 * rows) * torch.sin(0.9 * columns))[place[1:]]
    picture += 8 * torch.cat([gaussian_blurred(0.8, seed=i, size=176)[:, :160] for i in range(channels)])
    picture = (picture if dtype.is_floating_point else picture.round().clamp(0, 255)).to(dtype)
    lost = denoise_pixels(models, picture).double() - picture.double()
    inside, around = lost[place][:, 8:-8, 8:-8], torch.cat([lost[:, 8:40, 8:-8], lost[:, 120:-8, 8:-8]], 1)
    assert 4 < rms(around) and rms(inside) < 1.5 * rms(around)


def test_channels_of_very_different_range_are_seen_apart(models):
    """Of which one is 300 times as bright: each comes out as it would alone."""
    picture = noisy(torch.float64, 3) * torch.tensor([1.0, 300, 1]).double().view(3, 1, 1)
    found = denoise_pixels(models, picture)
    for i in range(3):
        alone = denoise_pixels(models, picture[i])
        torch.testing.assert_close(found[i], alone, rtol=1e-6, atol=1e-4)
    together = denoise_pixels(models, noisy(torch.float64, 3))
    assert rms(together[0] - found[0]) > 0.5  # this network mixes those that are alike
    empty_one = torch.cat([picture[:2], torch.zeros(1, 96, 112).double()])
    assert (denoise_pixels(models, empty_one)[2] == 0).all()


def drawing(mode):
    """As a screenshot and a plot are: plain grounds, hairlines, dots, a slope, small coloured text."""
    image = Image.new("RGB", (160, 128), (250, 250, 252))
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 70, 90, 120), fill=(30, 60, 160))
    for i in range(12):
        draw.text((6 + 3 * i, 4 + 5 * i), "Noise2Noise", fill=(20 * i, 90, 250 - 20 * i))
    for x in range(0, 160, 4):
        draw.point((x, 64 + int(20 * np.sin(x / 9))), fill=(200, 0, 0))
        draw.line((100, 10, 150, 10 + x // 2), fill=(0, 120, 0))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_drawing_comes_out_bit_for_bit(mode):
    """By the shipped weights, of 8 bits and as floats."""
    array = np.asarray(drawing(mode))
    assert np.array_equal(denoise(array), array)
    assert np.array_equal(denoise(array.astype(np.float32)), array)


@DTYPES
def test_strength_goes_from_nothing_to_twice(dtype, models):
    picture = noisy(dtype, 1)
    found = {s: denoise_pixels(models, picture, strength=s).double() for s in (0, 0.25, 0.5, 1, 1.5, 2)}
    assert torch.equal(found[0], picture.double())
    for share in (0.25, 0.5):
        expected = picture.double().lerp(found[1], share)
        assert (found[share] - expected).abs().max() <= (1e-3 if dtype.is_floating_point else 1)
    assert rms(found[2] - found[1]) > 0.2 and (found[1.5] - (found[1] + found[2]) / 2).abs().max() <= 1


@CHANNELS
def test_floats_come_out_as_bytes_do(channels, shipped):
    """But for rounding, where the noise is the same everywhere; by the shipped weights."""
    picture = noisy(torch.uint8, channels, 15)
    bytes_, floats = denoise_pixels(shipped, picture), denoise_pixels(shipped, picture.double())
    assert rms(bytes_.double() - floats) < 1.2 and rms(floats - picture) > 12


@pytest.mark.parametrize("mean", [0.5, 2, 10])
def test_no_light_is_lost_where_photons_are_few(mean, models):
    """Of counts in a camera's units: the flux stays within a hundredth, though sums of roots are no roots of sums."""
    light = smooth(160, 160, seed=2, low=0.1) ** 2
    picture = counted(8 * mean * light / light.mean(), 8, 0.8)
    found = denoise_pixels(models, picture)
    assert found.mean().item() == pytest.approx(picture.mean().item(), rel=0.01)
    assert rms(found - 8 * mean * light / light.mean()) < 0.6 * rms(picture - 8 * mean * light / light.mean())


@pytest.mark.parametrize("a, b", [(1e-19, 0), (1e-3, -7), (1e6, 1e7), (1e30, -1e3)])
@pytest.mark.parametrize("photons", [None, 20])
def test_units_and_offset_do_not_matter(a, b, photons, models):
    picture = counted(smooth(96, 112), 1 / photons, 0.02) if photons else noisy(torch.float64)
    one, other = denoise_pixels(models, picture), denoise_pixels(models, a * (picture + b))
    assert rms(other / a - b - one) < 2e-2 * rms(one - picture)


def test_of_a_known_noise_parts_are_as_the_whole(models):
    """What a camera's user knows, or what was measured in all of a large picture."""
    picture = noisy(torch.float64)
    noise = estimate([picture])
    once, again = denoise_pixels(models, picture, noise=noise), denoise_pixels(models, picture)
    torch.testing.assert_close(once, again)  # but for last digits, which depend on where in memory numbers lie
    less = denoise_pixels(models, picture, noise=noise._replace(sd=(1e-6,)))
    assert torch.equal(less, picture)  # of which there is none to take
    part = denoise_pixels(models, picture[:, 16:80, 32:96], noise=noise, whole=False)
    whole = denoise_pixels(models, picture)[:, 16:80, 32:96]
    assert rms((part - whole)[:, 20:-20, 20:-20]) < 0.1 * rms(whole - picture[:, 16:80, 32:96])


@DTYPES
@CHANNELS
@pytest.mark.parametrize("what", ["noisy", "plain", "grey", "small", "strength 0"])
def test_nothing_given_is_changed_or_shared(dtype, channels, what, models):
    picture = noisy(dtype, channels)
    picture = {
        "plain": torch.full_like(picture, 9),
        "grey": picture[:1].expand(channels, -1, -1),
        "small": picture[:, :11, :40],
    }.get(what, picture)
    before = picture.clone()
    found = denoise_pixels(models, picture, strength=what != "strength 0")
    assert found.shape == picture.shape and found.dtype == dtype and torch.equal(picture, before)
    found[:] = 1
    assert torch.equal(picture, before)


# ----------------------------------------------------------------------------------------------------------
# Networks that see pictures in their own range, as users' weights do


def test_weights_that_know_what_they_saw_see_it_so(tmp_path):
    """Those that went on from camera.pth with one's own grey pictures of 8 bits: (x - middle) 25 / sd + 128."""
    model, path = PhotoUNet(), tmp_path / "seen.pth"
    save(with_about(model.network.state_dict(), seen=(10.0, 90.0)), path)
    mine = trained("photo", path)
    assert mine.seen == (10.0, 90.0) and mine.range is None and not mine.even
    picture, knowing = noisy(torch.uint8), Blurring()
    knowing.seen, knowing.even = (10.0, 90.0), False
    found = denoise_pixels([knowing] * 2, picture)
    torch.testing.assert_close(
        knowing.saw[0][0, 0, :96, :112], (picture[0].float() - 90) * 2.5 + 128, rtol=0, atol=1e-2
    )
    plain = Blurring()
    plain.even = False
    assert (found.double() - denoise_pixels([plain] * 2, picture).double()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(1, 15, 40), (3, 60, 9)])
def test_pictures_too_small_to_tell_their_noise_go_the_old_way(shape, models):
    picture = noisy(torch.float32, shape[0])[:, : shape[1], : shape[2]].contiguous()
    found = denoise_pixels(models, picture)
    assert 0 <= models[0].saw[0].min() and models[0].saw[0].max() <= 255
    assert found.shape == shape and (found != picture).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("beside", ["nothing", "noise", "much noise", "a trace", "another stain"])
def test_a_stain_shown_as_a_colour_is_seen_as_it_would_be_alone(beside, dtype, models):
    """A network that knows photos' colours would make it worse than it came."""
    shown, nothing = noisy(torch.float64, height=160, width=176), torch.zeros(1, 160, 176, dtype=torch.float64)
    others = {
        "nothing": nothing,
        "noise": nothing + 30 + 12 * normal(1, 160, 176),
        "much noise": 128 + 40 * normal(2, 160, 176).double(),  # of a range like that of what is shown
        "a trace": 0.1 * shown + 2 * normal(1, 160, 176),
        "another stain": noisy(torch.float64, height=160, width=176).flip(2),
    }
    first, last = others[beside] if len(others[beside]) == 2 else (*others[beside], *nothing)
    picture = torch.stack([first, shown[0], last]).clamp(0, 255).round().to(dtype)
    found = denoise_pixels(models, picture)
    assert torch.equal(found, torch.stack([denoise_pixels(models, one) for one in picture]))
    assert rms(found[1] - picture[1].double()) > 6


def test_channels_that_share_nothing_are_seen_apart(models):
    """As stains of a microscope may be; a network would look for one's edges in the others."""
    picture = torch.cat([noisy(height=160, width=176), 200 - noisy(height=160, width=176)])
    stripes = 60 + 60 * ((torch.arange(176) // 16) % 2).expand(1, 160, 176) + 12 * normal(1, 160, 176)
    alike, unlike = (
        torch.cat([picture, picture[:1]]),
        torch.cat([smooth(160, 176, seed=i) * 150 + 6 * normal(1, 160, 176) for i in (0, 5)] + [stripes]).float(),
    )
    for channels, apart in ((alike, False), (unlike, True)):
        assert (
            torch.equal(
                denoise_pixels(models, channels), torch.stack([denoise_pixels(models, one) for one in channels])
            )
            == apart
        )

"""The noise of pictures, told: `estimate_noise`, the command `noise`, and what `denoise` is told of it."""

import re

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from Proj_Miniproject2 import denoise, estimate_noise
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising, measuring
from Proj_Miniproject2.others.api.measuring import noises, rounding_costs
from Proj_Miniproject2.others.commands import denoise as command
from Proj_Miniproject2.others.networks import UNet
from Proj_Miniproject2.others.noise.estimate import spread

GAIN, OFFSET, READ = 2.0, 100.0, 3.0


def light(height=120, width=150):
    y, x = np.mgrid[:height, :width]
    return 40 * (np.sin(x / 17) + 1.2) * (np.cos(y / 23) + 1.2)


def shots(pages=1, gain=GAIN, seed=0, **shape):
    """Float64 (P, H, W) of a camera with that gain, OFFSET and READ."""
    draws, mean = np.random.default_rng(seed), light(**shape)
    counts = draws.poisson(mean / gain, (pages, *mean.shape))
    return OFFSET + gain * counts + draws.normal(0, READ, counts.shape)


class Lazy:
    """As dask, zarr and others have arrays."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def are_equal(noise, other):
    """But for the last digits, which depend on where in memory numbers lie."""
    return noise.gain == pytest.approx(other.gain) and noise.sd == pytest.approx(other.sd) and noise[6:] == other[6:]


def variance(noise, value, channel=0):
    return noise.gain[channel] * (value - noise.offset[channel]) + noise.read_noise[channel] ** 2


@pytest.fixture(scope="module")
def shot():
    return shots()[0]


def test_it_is_the_camera(shot):
    noise = estimate_noise(shot)
    assert noise.white and noise.gain == pytest.approx((GAIN,), rel=0.1)
    for value in (120, 180, 250):
        assert variance(noise, value) == pytest.approx(GAIN * (value - OFFSET) + READ**2, rel=0.12)
    known = estimate_noise(shot, gain=GAIN, offset=OFFSET)
    assert (known.gain, known.offset) == ((GAIN,), (OFFSET,)) and known.read_noise[0] == pytest.approx(READ, rel=0.3)
    assert estimate_noise(shot, gain=1, read_noise=7, offset=90).read_noise == pytest.approx((7,))


def test_it_takes_what_denoise_takes(shot):
    array = shot.astype(np.float32)
    noise, levels, counts = estimate_noise(array), (shot / 2).round().astype(np.uint8), shot.astype(np.uint16)
    for same in (
        torch.from_numpy(array),
        Lazy(array),
        Image.fromarray(array),
        np.stack([array, array])[:1, ..., None][0],
    ):
        assert are_equal(estimate_noise(same), noise)
    assert estimate_noise(np.stack([array] * 3, 2)).sd == pytest.approx(noise.sd * 3)
    for one in (levels, counts):
        assert are_equal(estimate_noise(Image.fromarray(one)), estimate_noise(one))


def test_what_transparency_hides_tells_nothing():
    levels = (shots(height=240, width=300)[0] / 2).round().astype(np.uint8)
    seen = np.where(np.arange(300) < 150, 255, 0).astype(np.uint8) * np.ones((240, 1), np.uint8)
    noise = estimate_noise(levels[:, :150])
    levels[:, 150:] = np.random.default_rng(1).integers(0, 256, (240, 150))
    found = estimate_noise(np.stack([levels, seen], 2))
    assert found.sd == pytest.approx(noise.sd, rel=0.05) and found.empty == pytest.approx(0.5)
    assert are_equal(estimate_noise(Image.fromarray(np.stack([levels, seen], 2), "LA")), found)


BAD = {
    "negative gain": (shots()[0], {"gain": -1}, "the gain must be a number, at least 0, got -1"),
    "no gain": (shots()[0], {"gain": float("inf")}, "the gain must be a number"),
    "no read noise": (shots()[0], {"read_noise": float("nan")}, "the read noise must be a number, at least 0, got nan"),
    "no offset": (shots()[0], {"offset": float("nan")}, "the offset must be a number, got nan"),
    "offset above": (shots()[0], {"offset": 1e6}, r"the offset 1e\+06 lies above all values"),
    "small": (shots()[0][:15], {}, "from 16 x 16 pixels or more, got 15 x 150"),
    "small pages": (shots(2)[..., :9], {"pages": True}, "from 16 x 16 pixels or more, got 120 x 9"),
    "bent": (np.zeros((20, 20, 3), np.uint8), {"gain": 2}, "has colours of 8 bits"),
    "a list": ([[1, 2]], {}, "got list"),
    "pages": (np.zeros((9, 9, 30)), {}, "pages=True takes several"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    picture, options, message = BAD[what]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        estimate_noise(picture, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 24, 1000])
def test_some_pages_are_looked_at_from_everywhere(count):
    places = [*spread(count)]
    assert places == sorted(set(places)) and len(places) in (count, *range(5, 9)) and places[0] == 0
    assert count - count / 4 <= places[-1] + 1 <= count
    assert count < 16 or {place % 2 for place in places} == {0, 1}  # of channels that take turns both


def test_pages_of_one_camera_have_one_noise_and_others_their_own():
    same, other = shots(3), shots(3, gain=8)
    (one,) = noises(map(measuring.told, torch.from_numpy(same)))
    assert are_equal(one, estimate_noise(same, pages=True)) and one.gain[0] == pytest.approx(GAIN, rel=0.1)
    bright = np.concatenate(
        [same, OFFSET + (same[:1] - OFFSET).clip(0) * 0, shots(1, seed=4)]
    )  # a black page says nothing
    assert len(noises(map(measuring.told, torch.from_numpy(bright)))) == 1
    mixed = np.stack([same, other], 1).reshape(6, *same.shape[1:])
    found = noises(map(measuring.told, torch.from_numpy(mixed)))
    assert [noise.gain[0] for noise in found] == pytest.approx([GAIN, 8] * 3, rel=0.2)
    draws = np.random.default_rng(0)
    channels = np.stack([gain * draws.poisson(150 + 0.5 * light()) for gain in (1, 10, 1, 10)]).astype(float)
    found = noises(map(measuring.told, torch.from_numpy(channels)))  # though there is a line through both
    assert [noise.gain[0] for noise in found] == pytest.approx([1, 10, 1, 10], rel=0.3)
    sizes = [*map(torch.from_numpy, (same[0], same[1, :30, :20], same[2, :150]))]
    assert all(map(are_equal, noises(map(measuring.told, sizes)), map(estimate_noise, sizes)))


# ----------------------------------------------------------------------------------------------------------------------


def run(*words):
    main([*map(str, words)])


def refused(capsys, *words):
    with pytest.raises(SystemExit) as exit:
        run(*words)
    return exit.value.code, capsys.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    stack = shots(9)
    stack[:, :30] = 0
    stack[:, 60, 70] = 4000
    tifffile.imwrite(folder / "stack.tif", stack.clip(0).round().astype(np.uint16))
    np.save(folder / "small.npy", stack[0, :9, :9])
    draws = np.random.default_rng(0)
    photo = light()[..., None] * [0.5, 0.7, 0.4] + draws.normal(0, 10, (120, 150, 3))
    for name in ("photo.png", "photo.jpg"):
        Image.fromarray((photo + 30).clip(0, 255).astype(np.uint8)).save(folder / name, quality=75)
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def test_the_command_says_what_it_is(folder, capsys):
    status, said = refused(capsys, "noise", folder)
    assert status == 1 and "2 of 5 pictures failed" in said.err
    assert "broken.png: is no picture" in said.err and "small.npy: noise is estimated from 16 x 16" in said.err
    stack = said.out[said.out.index("stack.tif") :]
    gain, sd = (float(re.search(rf"{what} ([\d.]+)", stack)[1]) for what in ("gain", "standard deviation"))
    assert gain == pytest.approx(GAIN, rel=0.1) and sd == pytest.approx(variance_of_mean() ** 0.5, rel=0.1)
    assert "9 pages" in stack and "independent" in stack and "25 % empty" in stack and "% dead" in stack
    jpeg, png = (said.out.partition(f"photo.{ending}: ")[2].partition("\n/")[0] for ending in ("jpg", "png"))
    assert "independent" in png and "shared by neighbours: correlation" in jpeg
    for text in (jpeg, png):
        assert text.startswith("1 page\n  red: gain") and "blue: gain" in text and "neighbouring channels" in text


def variance_of_mean():
    return GAIN * light()[30:].mean() + READ**2


def test_what_is_known_is_taken_where_it_can_be(folder, capsys):
    run("noise", folder / "stack.tif", "--gain", GAIN, "--offset", OFFSET)
    assert "gain 2, offset 100, read noise" in capsys.readouterr().out
    for name, why in {"photo.jpg": "is a JPEG, whose values", "photo.png": "has colours of 8 bits"}.items():
        for words in (["noise"], ["denoise", "--out", folder / "out"]):
            status, said = refused(capsys, words[0], folder / name, *words[1:], "--gain", GAIN)
            assert status == 1 and f"{name}: {why}" in said.err and not (folder / "out" / name).exists()
    for words in (["--gain", "-1"], ["--read-noise", "nan"]):
        status, said = refused(capsys, "denoise", folder / "stack.tif", "--out", folder / "out", *words)
        assert status == 2 and "must be a number, at least 0" in said.err
    status, said = refused(capsys, "denoise", folder / "stack.tif", "--out", folder / "out", "--offset", "1e6")
    assert status == 1 and "lies above all values" in said.err
    status, said = refused(capsys, "noise", folder / "nowhere")
    assert status == 2 and "there is no file or folder" in said.err


class Even(UNet):
    """It sees even noise, and leaves it."""

    even, range = True, None

    def denoise(self, images):
        return images


@pytest.fixture
def told(monkeypatch):
    """A network that does nothing, and with what it was called."""
    calls = []

    def spied(models, *arguments, **options):
        calls.append(arguments[3:] or [options.get("noise"), None, options.get("repair")])
        return denoising_array(models, *arguments, **options)

    denoising_array = command.denoise_array
    for module in (command, denoising):
        monkeypatch.setattr(module, "chosen", lambda *_, **__: [Even()] * 2)
        monkeypatch.setattr(module, "denoise_array", spied)
    return calls


def test_noise_is_measured_once_for_all_pages(folder, told, tmp_path, capsys):
    run("denoise", folder / "stack.tif", folder / "small.npy", "--out", tmp_path)
    assert "1 the noise can't be measured, as they have less than 16 x 16 pixels" in capsys.readouterr().out
    assert len(told) == 10 and len({noise for noise, *_ in told}) == 2  # and none for the small one
    stack = tifffile.imread(folder / "stack.tif")
    assert are_equal(told[0][0], estimate_noise(stack, pages=True))
    told.clear()
    result = denoise(stack, pages=True)
    assert len(told) == 9 and len({noise for noise, *_ in told}) == 1
    assert np.abs(result - tifffile.imread(tmp_path / "stack.tif").astype(int)).max() <= 1
    told.clear()
    known = estimate_noise(stack, pages=True, gain=1, read_noise=2)
    denoise(stack[0], noise=known)
    run("denoise", folder / "stack.tif", "--out", tmp_path, "--overwrite", "--gain", 1, "--read-noise", 2)
    assert {noise for noise, *_ in told} == {known}


def test_dead_pixels_stay_or_are_repaired(folder, told, tmp_path, capsys):
    stack = tifffile.imread(folder / "stack.tif")
    run("denoise", folder / "stack.tif", "--out", tmp_path / "stay")
    run("denoise", folder / "stack.tif", "--out", tmp_path / "repaired", "--repair")
    stay, repaired = (tifffile.imread(tmp_path / name / "stack.tif") for name in ("stay", "repaired"))
    assert {tuple(place[1:]) for place in np.argwhere(repaired != stay)} == {(60, 70)}
    assert stay[:, 60, 70].min() > 3900 and repaired.max() < 500
    assert np.abs(denoise(stack, pages=True, repair=True) - repaired.astype(int)).max() <= 1


def test_where_rounding_costs_it_is_said(told, tmp_path, capsys, shot):
    few = np.random.default_rng(0).poisson(light() / 150)
    for name, array in {"few": few, "many": shot, "float": few * 1.0, "clean": 0 * few + np.arange(150)}.items():
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32 if name == "float" else np.uint16))
        run("denoise", tmp_path / f"{name}.npy", "--out", tmp_path / "out")
        assert ("--dtype float32" in capsys.readouterr().out) == (name == "few")
    assert rounding_costs(estimate_noise(few.astype(np.uint8)), np.dtype("uint8"))
    photo = np.random.default_rng(0).normal(100, 1, (64, 64)).astype(np.uint8)
    assert not rounding_costs(estimate_noise(photo), photo.dtype)


@pytest.mark.parametrize("asked", ["--repair", "--gain 2"])
def test_weights_that_see_no_even_noise_are_told_nothing(asked, folder, tmp_path, capsys, shot):
    words = ["denoise", folder / "stack.tif", "--out", tmp_path, "--network", "unet", *asked.split()]
    status, said = refused(capsys, *words)
    assert status == 2 and "these weights find out the noise by themselves" in said.err
    with pytest.raises(ValueError, match="by themselves"):
        denoise(shot, weights=denoising.chosen()[0].PRETRAINED, noise=estimate_noise(shot))


@pytest.mark.parametrize(
    "noise, error", [("white", TypeError), (estimate_noise(shots(3).transpose(1, 2, 0)), ValueError)]
)
def test_noise_that_is_none_of_this_picture(noise, error, shot):
    with pytest.raises(error, match="expected"):
        denoise(shot, noise=noise)

"""RAW files: drawn DNGs, developed as rawpy by itself develops them; and mosaics in other files."""

import warnings

import numpy as np
import pytest
import rawpy
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.raw import XTRANS, blurred, sensor, write_dng
from Proj_Miniproject2 import estimate_noise
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising, weights
from Proj_Miniproject2.others.api.mosaics import (
    by_colours,
    colours_apart,
    denoise_coloured,
    denoise_fours,
    noise_below_colours,
    noise_of,
)
from Proj_Miniproject2.others.api.way import denoise_array
from Proj_Miniproject2.others.api.weights import trained
from Proj_Miniproject2.others.commands import denoise as command
from Proj_Miniproject2.others.formats import PLAIN, extras
from Proj_Miniproject2.others.formats.mosaic import BAYER, Mosaic, apart, is_mosaic, together
from Proj_Miniproject2.others.formats.npy import Npy
from Proj_Miniproject2.others.formats.raw import Raw
from Proj_Miniproject2.others.noise.estimate import estimate
from Proj_Miniproject2.others.pairs.scenes import draw_scenes

from .test_denoise import refused
from .test_measured import Darkening


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A network that is quick, and does something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Darkening, "VIEWS", 1)
        model = Darkening()
        patch.setattr(weights, "trained", lambda network, path=None: model)
        yield


def light(height=64, width=96, seed=0):
    """What a sensor without colours sees, from 0.1 to 0.9, with noise of 0.01."""
    rows, columns = np.mgrid[:height, :width]
    smooth = 0.5 + 0.2 * np.sin(rows / 9) + 0.2 * np.cos(columns / 13)
    return smooth + np.random.default_rng(seed).normal(0, 0.01, smooth.shape)


def counts(scale, white=16383, black=(512,) * 4, **options):
    """A mosaic, uint16: black level, and light of up to `scale`, less of it in the red and the blue."""
    seen = light(**options)
    colours, levels = (np.tile(np.reshape(v, (2, 2)), [n // 2 for n in seen.shape]) for v in ([0.5, 1, 1, 0.7], black))
    return (levels + seen * colours * scale).round().clip(0, white).astype(np.uint16)


def as_rawpy_does(path, bits=16):
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(use_camera_wb=True, output_bps=bits)


def run(path, *options):
    main(["denoise", str(path), "--out", str(path.parent / "out"), "--overwrite", *options])
    return path.parent / "out" / path.stem


MOSAICS = {
    "dark": (3_000, {}),
    "bright": (15_000, {}),  # its brightest pixel is above three quarters of the white level
    "saturated": (30_000, {}),
    "other levels": (9_000, {"black": (500, 512, 520, 530)}),
    "12 bits": (5_000, {"white": 4095, "black": (256,) * 4}),
}


@pytest.mark.parametrize("what", MOSAICS)
def test_without_denoising_it_is_what_libraw_makes_of_it(what, tmp_path):
    """To the last bit: white, brightness, white balance."""
    scale, levels = MOSAICS[what]
    path = tmp_path / "a.dng"
    write_dng(path, counts(scale, **levels), **levels)
    found = tifffile.imread(f"{run(path, '--strength', '0')}.tif")
    assert found.dtype == np.uint16 and np.array_equal(found, as_rawpy_does(path))


@pytest.mark.parametrize("kind", ["turned", "four colours", "X-Trans"])
def test_other_sensors(kind, tmp_path, monkeypatch):
    path, options, coloured = tmp_path / "a.dng", {}, []
    monkeypatch.setattr(
        command, "denoise_coloured", lambda *args: coloured.append(tuple(args[2])) or denoise_coloured(*args)
    )
    if kind == "X-Trans":
        options = {"pattern": XTRANS}
        mosaic = counts(9_000, height=600, width=600)  # of smaller ones LibRaw makes none
    else:
        options = {"orientation": 6} if kind == "turned" else {"pattern": (0, 1, 3, 2)}
        mosaic = counts(9_000)
    write_dng(path, mosaic, **options)
    assert Raw(path, PLAIN).count() == {"turned": 4, "four colours": 4, "X-Trans": 36}[kind]
    found = tifffile.imread(f"{run(path, '--strength', '0')}.tif")
    assert np.array_equal(found, as_rawpy_does(path))
    assert not np.array_equal(found, tifffile.imread(f"{run(path)}.tif"))
    assert coloured == ([XTRANS] * 2 if kind == "X-Trans" else [])


def test_a_sensor_without_colours(tmp_path):
    """Tagged by hand, as tifffile takes no linear picture of one channel."""
    path = tmp_path / "a.dng"
    tags = [(50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Drawn", True), (50717, "I", 1, 16383, True)]
    tifffile.imwrite(path, counts(9_000), photometric="minisblack", metadata=None, extratags=tags)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags[262].overwrite(34892)
    found = tifffile.imread(f"{run(path, '--strength', '0')}.tif")
    assert np.array_equal(found, as_rawpy_does(path)[..., 0])


def test_the_sensors_counts_are_denoised(tmp_path):
    """Each colour above its own black level; what is saturated stays."""
    path, black = tmp_path / "a.dng", (500, 512, 520, 530)
    mosaic = counts(30_000, black=black)
    write_dng(path, mosaic, black=black)
    raw = Raw(path, PLAIN)
    above = mosaic - np.tile(np.reshape(black, (2, 2)), (32, 48)).astype(np.float32)
    assert all(np.array_equal(*both) for both in zip(raw.pages(), apart(above, BAYER), strict=True))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Raw, "developed", lambda self, opened, how: seen.append(opened.raw_image_visible.copy()))
        patch.setattr("Proj_Miniproject2.others.formats.raw.write", lambda *_: None)
        raw.write((page / 2 for page in raw.pages()), tmp_path / "b.tif")
    expected = np.where(mosaic == 16383, mosaic, np.rint(above / 2 + (mosaic - above)))
    assert (mosaic == 16383).any() and np.array_equal(seen[0], expected)


def test_both_are_developed_alike(tmp_path):
    path = tmp_path / "a.dng"
    write_dng(path, counts(15_000))
    out = run(path, "--compare")
    found, both = (tifffile.imread(f"{out}{end}.tif") for end in ("", "-compare"))
    assert np.array_equal(both, np.concatenate([as_rawpy_does(path), found], 1))
    out = run(path, "--as", "jpeg", "--compare", "--quality", "100")
    with Image.open(f"{out}.jpg") as image, Image.open(f"{out}-compare.jpg") as beside:
        assert image.format == "JPEG" and image.info["icc_profile"] and image.size == (96, 64)
        left = np.asarray(beside).astype(int)[:, :96] - as_rawpy_does(path, 8)
        assert beside.size == (192, 64) and np.abs(left[8:-8, 8:-8]).max() < 9


def linear(path):
    tags = [(50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Drawn", True)]
    tifffile.imwrite(path, counts(9_000)[..., None].repeat(3, 2), photometric=34892, metadata=None, extratags=tags)


def cut(path):
    write_dng(path, counts(9_000))
    path.write_bytes(path.read_bytes()[:5000])


BAD = {
    "linear.dng": (linear, "holds no mosaic"),
    "cut.dng": (cut, "is damaged, or a RAW file that LibRaw can't develop"),
    "text.nef": (lambda path: path.write_text("no picture" * 99), "LibRaw can't develop: Unsupported file format"),
    "empty.cr2": (lambda path: path.write_bytes(b""), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_developed_is_named(name, tmp_path, capsys):
    write, message = BAD[name]
    write(tmp_path / name)
    printed = refused(capsys, lambda: run(tmp_path / name), 1)
    assert message in printed.splitlines()[-1] and not list((tmp_path / "out").iterdir())


def test_a_missing_library_is_named(tmp_path, capsys, monkeypatch):
    write_dng(tmp_path / "a.dng", counts(9_000))
    monkeypatch.setattr(extras, "there", lambda module: module != "rawpy")
    assert "pip install '.[raw]'" in refused(capsys, lambda: run(tmp_path / "a.dng"), 1)


# ----------------------------------------------------------------------------------------------------------
# The four colours together, by the networks that are shipped


def photons(gain=16, read=30):
    """A mosaic of 14 bits without its black level, as it would be without noise and with it: float64 (256, 256)."""
    draws = np.random.default_rng(1)
    rows, columns = np.mgrid[:256, :256]
    seen = 0.4 + 0.2 * np.sin(rows / 19) * np.cos(columns / 23)
    clean = 6_000 * seen * np.tile([[0.5, 1], [1, 0.7]], (128, 128))
    return clean, draws.poisson(clean / gain) * gain + draws.normal(0, read, clean.shape)


def test_four_colours_are_denoised_together(monkeypatch):
    """Better than each by itself, with as much light as there was; gaps stay, hot pixels too, and without strength
    all."""
    monkeypatch.setattr(weights, "trained", trained)
    models = weights.chosen(views=1)
    clean, noisy = photons()
    planes, truth = [*apart(noisy, BAYER)], np.stack([*apart(clean, BAYER)])
    found = np.stack([*denoise_fours(models, planes, known={"offset": 0})])
    each = np.stack([denoise_array(models, plane) for plane in planes])
    error, alone, before = (np.sqrt(np.mean((values - truth) ** 2)) for values in (found, each, planes))
    assert error < 0.9 * alone < 0.3 * before and abs((found - truth).mean()) < 0.02 * before
    assert all(map(np.array_equal, denoise_fours(models, planes, strength=0), planes))
    half = np.stack([*denoise_fours(models, planes, strength=0.5, known={"offset": 0})])
    assert np.allclose(half, (found + planes) / 2)
    broken = [plane.copy() for plane in planes]
    broken[0][5, 5], broken[2][40, 40] = np.nan, 60_000
    again = np.stack([*denoise_fours(models, broken, known={"offset": 0})])
    assert np.isnan(again[0, 5, 5]) and np.isfinite(again[1:]).all() and abs(again[2, 40, 40] - 60_000) < 5 * before
    far = np.ones(again.shape, bool)
    far[:, :12, :12] = far[:, 33:48, 33:48] = False
    assert np.sqrt(np.mean((again - found)[far] ** 2)) < 0.05 * before


def test_the_noise_of_a_mosaic():
    """Where planes of every second pixel show texture alone, the greens see through it; what is known is taken."""
    clean, noisy = photons()
    noise = noise_of(torch.tensor(np.stack([*apart(noisy, BAYER)])), {"offset": 0})
    assert abs(noise.sd[0] / (noisy - clean).std() - 1) < 0.15
    clean = sensor(blurred(draw_scenes(1, seed=7)[0]))
    noisy = np.random.default_rng(0).poisson(clean / 16) * 16.0
    planes, sd = torch.tensor(np.stack([*apart(noisy, BAYER)])), (noisy - clean).std()
    both = estimate([plane[None] for plane in planes]), noise_of(planes, {"offset": 0})
    alone, noise = (found.sd[0] / sd for found in both)
    assert alone > 2 and 0.8 < noise < 1.25
    assert noise_of(planes, {"gain": 16.0}).gain == (16.0,)


@pytest.mark.parametrize("gain, read", [(16, 12), (200, 80)])
def test_the_colours_of_x_trans_are_denoised_together(gain, read, monkeypatch):
    """Far better than each of its 36 planes by itself, with as much light as there was; and its noise is found."""
    monkeypatch.setattr(weights, "trained", trained)
    models, draws = weights.chosen(views=1), np.random.default_rng(0)
    clean = sensor(blurred(draw_scenes(2, 180, seed=7)[1]), XTRANS)
    noisy = draws.poisson(clean / gain) * gain + draws.normal(0, read, clean.shape)
    planes, truth = [*apart(noisy, (6, 6))], np.stack([*apart(clean, (6, 6))])
    noise = noise_below_colours(torch.tensor(XTRANS).view(6, 6), torch.tensor(np.stack(planes)), {"offset": 0})
    found = np.stack(denoise_coloured(models, planes, XTRANS, known={"offset": 0}))
    each = np.stack([denoise_array(models, plane) for plane in planes])
    error, alone, before = (np.sqrt(np.mean((values - truth) ** 2)) for values in (found, each, planes))
    assert error < 0.75 * alone and error < 0.75 * before and abs((found - truth).mean()) < 0.03 * before
    assert noise.sd[0] == pytest.approx(before, rel=0.3) and noise.gain[0] == pytest.approx(gain, rel=0.5)
    assert denoise_coloured(models, planes, XTRANS, strength=0) == planes


def test_what_is_seen_of_x_trans():
    """Twice its red and its blue, less the mean, and what is left; each with the noise that it has. Nothing is lost."""
    even, seen = torch.randn(36, 30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64), []

    def denoised(plane, sd=1):
        seen.append((plane.std() / sd, plane.shape))
        return plane + 1e-9

    found = by_colours(torch.tensor(XTRANS).view(6, 6), even, denoised)
    small, whole = (60, 60), (180, 180)
    assert [shape for _, shape in seen] == [small, small, whole] * 2
    assert all(0.97 < ratio < 1.03 for ratio, shape in seen[:3] if shape == small)
    assert torch.allclose(found, even, atol=1e-8)


def test_how_far_colours_are_apart():
    """Of X-Trans there are five green pixels in 3 x 3, and two of each other colour; in Bayer's two by two one pair."""
    draws = torch.Generator().manual_seed(0)
    for pattern, counts, side in ((XTRANS, [2, 5, 2], 3), ((0, 1, 1, 2), [1, 2, 1], 2), ((0, 1, 3, 2), [1] * 4, 2)):
        numbers = torch.tensor(pattern).view(round(len(pattern) ** 0.5), -1)
        levels = torch.tensor([5.0, 9.0, 7.0, -3.0])
        mosaic = levels[numbers].repeat(*[180 // len(numbers)] * 2).double()
        found, number = colours_apart(mosaic, numbers)
        mean = (levels[: len(counts)] * torch.tensor(counts)).sum() / sum(counts)
        assert number.tolist() == counts and found.shape == (len(counts), 180 // side, 180 // side)
        assert torch.allclose(found, (levels[: len(counts)] - mean).double()[:, None, None].expand_as(found))
        noise, _ = colours_apart(torch.randn(180, 180, generator=draws, dtype=torch.float64), numbers)
        expected = (1 / number - 1 / number.sum()).sqrt()
        assert torch.allclose(noise.std((1, 2)), expected, rtol=0.05)


# ----------------------------------------------------------------------------------------------------------
# Mosaics in other files

sides = st.integers(1, 6)


@settings(max_examples=30)
@given(sides, sides, st.integers(6, 15), st.integers(6, 15))
def test_apart_and_together(rows, columns, height, width):
    mosaic = np.random.default_rng(0).random((height, width))
    planes = list(apart(mosaic, (rows, columns)))
    assert len(planes) == rows * columns and np.array_equal(together(planes, (rows, columns), mosaic.shape), mosaic)
    for plane, (i, j) in zip(planes, np.ndindex(rows, columns), strict=True):  # its own colour alone, at the end, too
        assert np.array_equal(plane[0, 0], mosaic[i, j]) and np.isin(plane, mosaic[i::rows, j::columns]).all()


def test_mosaics_in_files(tmp_path):
    """Pages of a TIFF; what is missing stays, and so does the file's kind."""
    pages = np.stack([counts(9_000, seed=seed) for seed in range(2)])[:, :63, :91]
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    out = run(tmp_path / "a.tif", "--mosaic", "RGGB", "--compare")
    found, both = (tifffile.imread(f"{out}{end}.tif") for end in ("", "-compare"))
    for page, result in zip(pages, found, strict=True):
        planes = (denoising.denoise(plane) for plane in apart(page, BAYER))
        assert np.array_equal(result, together(planes, BAYER, page.shape))
    assert found.dtype == np.uint16 and np.array_equal(both, np.concatenate([pages, found], 2))


def test_missing_pixels_of_a_mosaic_stay(tmp_path):
    page = counts(9_000)
    np.save(tmp_path / "a.npy", page)

    class WithMissing(Npy):
        def missing(self, page):
            return page < 1000

    mosaic, gone = Mosaic(WithMissing(tmp_path / "a.npy", PLAIN)), page < 1000
    assert gone.any() and sum(np.isnan(p).any() for p in mosaic.pages()) > 0
    mosaic.write((p * 0 + 7 for p in mosaic.pages()), tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "b.npy"), np.where(gone, page, 7))


def test_a_mosaic_is_named(tmp_path, capsys):
    """And what is none isn't: colours, stripes, noise, a smooth picture."""
    tifffile.imwrite(tmp_path / "a.tif", counts(9_000))
    run(tmp_path / "a.tif")
    assert "a.tif seems to be a mosaic of a sensor's colours" in capsys.readouterr().err
    main(["noise", str(tmp_path / "a.tif")])  # of the colours, not of their pattern
    printed = capsys.readouterr().out
    assert "4 pages, of a sensor's mosaic of colours" in printed
    for plane in apart(counts(9_000), BAYER):
        assert f"standard deviation {estimate_noise(plane).sd[0]:.4g}" in printed
    run(tmp_path / "a.tif", "--mosaic", "RGGB")
    assert "mosaic" not in capsys.readouterr().err
    stripes = light() + 0.2 * (np.arange(64) % 2)[:, None]
    for other in (light(), stripes, stripes[:, ::-1], np.zeros((64, 64)), np.random.default_rng(0).random((64, 64))):
        assert not is_mosaic(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not is_mosaic(np.where(light() > light().mean(), np.inf, light()))
    assert not is_mosaic(np.stack([counts(9_000)] * 3, -1)) and not is_mosaic(np.zeros((3, 5)))


def test_colours_are_no_mosaic(tmp_path, capsys):
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "a.png")
    assert "has 3 channels: expected a mosaic" in refused(
        capsys, lambda: run(tmp_path / "a.png", "--mosaic", "RGGB"), 1
    )

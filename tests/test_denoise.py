"""The denoise command on pictures of all kinds: what it writes, what it refuses, and that nothing is lost."""

import os
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from Proj_Miniproject2.model import Model, save
from Proj_Miniproject2.others import denoise
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.networks import UNet


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A U-Net whose correction is nothing: what comes out is what went in."""
    path, model = tmp_path_factory.mktemp("weights") / "identity.pth", UNet()
    model.network[0].branch[-1].weight.zero_()
    save(model.network.state_dict(), path)
    return path


def pixels(height=20, width=31, channels=3, seed=0):
    draws = np.random.default_rng(seed)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return draws.integers(0, 256, shape, dtype=np.uint8)


def run(weights, *arguments):
    main(["denoise", *map(str, arguments), "--network", "unet", "--weights", str(weights)])


def refused(capsys, call, status):
    with pytest.raises(SystemExit) as exit:
        call()
    assert exit.value.code == status
    return capsys.readouterr().err


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "webp", "jpg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats_and_greys_stay(ending, mode, weights, tmp_path):
    source, out = tmp_path / f"ä picture.{ending}", tmp_path / "out"
    smooth = Image.fromarray(pixels(4, 5, len(mode) % 2 * 2 + 1 if mode == "RGB" else 1)).resize((62, 40))
    smooth.convert(mode).save(source)
    run(weights, source, "--out", out)
    with Image.open(source) as before, Image.open(out / source.name) as after:
        assert after.format == before.format and after.size == before.size
        assert after.mode == ("RGB" if ending == "webp" else mode)  # WebP knows no grey
        difference = np.asarray(after.convert("RGB"), int) - np.asarray(before.convert("RGB"), int)
    assert np.abs(difference).mean() < (3 if ending in ("jpg", "webp") else 1e-9)
    assert os.listdir(out) == [source.name]


def test_transparency_profile_and_exif_stay_and_pictures_are_turned_upright(weights, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # to be turned by 90 degrees; its maker
    image = Image.fromarray(pixels(channels=4), "RGBA")
    image.save(tmp_path / "a.png", exif=exif, icc_profile=b"a profile")
    palette = Image.fromarray(pixels()).quantize(16)
    palette.save(tmp_path / "p.png", transparency=3)
    run(weights, tmp_path, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as after:
        assert after.size == (20, 31) and after.mode == "RGBA"
        assert after.info["icc_profile"] == b"a profile"
        assert after.getexif()[0x010F] == "a camera" and after.getexif().get(0x0112, 1) == 1
        assert np.array_equal(np.asarray(after), np.rot90(np.asarray(image), -1))
    with Image.open(tmp_path / "out" / "p.png") as after, Image.open(tmp_path / "p.png") as before:
        assert np.array_equal(np.asarray(after.convert("RGBA"))[..., 3], np.asarray(before.convert("RGBA"))[..., 3])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_odd_sizes(size, weights, tmp_path):
    image = Image.fromarray(pixels(*size))
    image.save(tmp_path / "odd.png")
    run(weights, tmp_path / "odd.png", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "odd.png") as after:
        assert np.array_equal(np.asarray(after), np.asarray(image))


def test_what_would_lose_something_is_named_and_the_rest_is_done(weights, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(pixels()).save(folder / "good.png")
    Image.fromarray(pixels()).convert("CMYK").save(folder / "cmyk.jpg", icc_profile=b"of CMYK")
    Image.fromarray(pixels(channels=1)).save(folder / "one.gif")
    Image.fromarray(pixels(channels=1).astype(np.uint16) * 257).save(folder / "16 bits.png")
    Image.fromarray(pixels(channels=1).astype(np.uint16)).save(folder / "16 deep.tif")
    Image.fromarray(pixels(channels=1).astype(np.float32)).save(folder / "float.tif")
    Image.fromarray(pixels(channels=1).astype(np.int32)).save(folder / "int.tif")
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:500])
    printed = refused(capsys, lambda: run(weights, folder, "--out", tmp_path / "out", "--compare"), 1)
    bad = ["16 bits.png", "16 deep.tif", "float.tif", "int.tif", "animated.gif", "pages.tif", "text.jpg", "empty.png"]
    assert all(name in printed for name in [*bad, "cut.png"]) and "9 of 12" in printed and "Traceback" not in printed
    done = ["cmyk.jpg", "good.png", "one.png"]
    compared = [f"{name[:-4]}-compare.png" for name in done]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(done + compared)
    with Image.open(tmp_path / "out" / "cmyk.jpg") as after:
        assert after.mode == "RGB" and "icc_profile" not in after.info
    with Image.open(tmp_path / "out" / "good-compare.png") as both:
        assert both.size == (62, 20)


def test_sixteen_bit_colour_is_refused(weights, tmp_path, capsys):
    """Pillow opens such a PNG with 8 bits, in silence. Written by hand: header, one pixel, end."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + bytes(6))) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    printed = refused(capsys, lambda: run(weights, tmp_path / "deep.png", "--out", tmp_path / "out"), 1)
    assert "more than 8 bits" in printed and not os.listdir(tmp_path / "out")


def test_nothing_is_overwritten(weights, tmp_path, capsys):
    image, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(pixels()).save(image)
    before = image.read_bytes()
    assert "is an input" in refused(capsys, lambda: run(weights, image, "--out", tmp_path), 2)
    assert "is an input" in refused(capsys, lambda: run(weights, image, "--out", tmp_path, "--overwrite"), 2)
    run(weights, image, "--out", out)
    (out / "a.png").write_text("mine")
    assert "--overwrite" in refused(capsys, lambda: run(weights, image, "--out", out), 2)
    assert (out / "a.png").read_text() == "mine" and image.read_bytes() == before
    run(weights, image, "--out", out, "--overwrite")
    with Image.open(out / "a.png") as after:
        assert after.size == (31, 20)
    (tmp_path / "b").mkdir()
    Image.fromarray(pixels()).save(tmp_path / "b" / "a.png")
    two = [image, tmp_path / "b" / "a.png"]
    assert "both be written" in refused(capsys, lambda: run(weights, *two, "--out", tmp_path / "new"), 2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a file for a folder", "no weights"])
def test_found_out_before_any_work(what, weights, tmp_path, capsys, monkeypatch):
    def work(*arguments):
        raise AssertionError("work was begun")

    monkeypatch.setattr(denoise, "denoise", work)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    arguments, words = {
        "nothing": ([tmp_path / "no.png", "--out", tmp_path / "out"], "no file or folder"),
        "an empty folder": ([tmp_path / "empty", "--out", tmp_path / "out"], "no picture"),
        "a file for a folder": ([tmp_path / "a.png", "--out", tmp_path / "file"], "file"),
        "no weights": ([tmp_path / "a.png", "--out", tmp_path / "out"], "does not hold the weights"),
    }[what]
    chosen = Model.PRETRAINED if what == "no weights" else weights
    printed = refused(capsys, lambda: run(chosen, *arguments), 2)
    assert words in printed and len(printed.strip().splitlines()) == 1


def test_a_full_disk_leaves_no_half_written_file(weights, tmp_path, capsys, monkeypatch):
    Image.fromarray(pixels()).save(tmp_path / "a.png")

    def full(image, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    printed = refused(capsys, lambda: run(weights, tmp_path / "a.png", "--out", tmp_path / "out"), 1)
    assert "No space left" in printed and not os.listdir(tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may read and write everything")
def test_no_permission(weights, tmp_path, capsys):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert "ermission" in refused(capsys, lambda: run(weights, tmp_path / "a.png", "--out", tmp_path / "out"), 1)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "ermission" in refused(capsys, lambda: run(weights, tmp_path / "a.png", "--out", closed / "out"), 2)


def test_the_output_is_the_models(tmp_path):
    image = Image.fromarray(pixels(70, 50))
    model = UNet()
    expected = model.predict(torch.tensor(np.asarray(image)).permute(2, 0, 1)[None])
    found = torch.tensor(np.asarray(denoise.denoise(model, image))).permute(2, 0, 1)[None]
    assert torch.equal(found, expected.round().to(torch.uint8))


def test_the_network_has_the_time_for_itself():
    """Everything around it runs in one thread: 3 million values in half a second of it, rounded."""
    values = torch.rand(1000, 1000, 3, generator=torch.Generator().manual_seed(0)) * 255
    begin = time.process_time()
    picture = denoise.picture(values, "RGB", (1000, 1000))
    assert time.process_time() - begin < 0.5
    assert (np.asarray(picture) == values.round().numpy()).all()

"""The denoise command on pictures of all kinds: what it writes, what it refuses, and that nothing is lost."""

import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps, JpegImagePlugin

from Proj_Miniproject2.model import Model
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising
from Proj_Miniproject2.others.api import weights as weights_of
from Proj_Miniproject2.others.commands import denoise
from Proj_Miniproject2.others.formats import extras, streams
from Proj_Miniproject2.others.formats.files import save
from Proj_Miniproject2.others.networks import CameraUNet, UNet

ROOT = Path(__file__).parents[1]


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
    main(["denoise", *map(str, arguments), "--network", "unet", "--views", "1", "--weights", str(weights)])


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


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_profile_and_exif_stay_and_pictures_are_turned_upright(ending, weights, tmp_path):
    """A camera's data: maker, date and place, its own notes, and the size."""
    path, exif = tmp_path / f"a.{ending}", Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # to be turned by 90 degrees; its maker
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"notes", 0xA002: 31, 0xA003: 20}
    exif[0x8825] = {1: "N", 2: (46.0, 31.0, 0.0)}
    smooth = Image.fromarray(pixels(2, 3)).resize((31, 20))
    smooth.save(path, exif=exif.tobytes(), icc_profile=b"a profile", dpi=(300, 300))
    run(weights, path, "--out", tmp_path / "out")
    with Image.open(path) as before, Image.open(tmp_path / "out" / path.name) as after:
        assert after.size == (20, 31) and after.info["icc_profile"] == b"a profile"
        assert ending == "webp" or after.info["dpi"] == pytest.approx((300, 300), abs=0.1)  # WebP knows none
        found = after.getexif()
        assert found[0x010F] == "a camera" and found.get(0x0112, 1) == 1
        expected = {0x9003: "2020:01:01 00:00:00", 0x927C: b"notes", 0xA002: 20, 0xA003: 31}
        assert found.get_ifd(0x8769).items() >= expected.items() and found.get_ifd(0x8825)[2] == (46.0, 31.0, 0.0)
        difference = np.asarray(after.convert("RGB"), int) - ImageOps.exif_transpose(before).convert("RGB")
    assert np.abs(difference).mean() < (3 if ending in ("jpg", "webp") else 1e-9)


def test_the_largest_kind_of_tiff_keeps_its_data(weights, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.fromarray(pixels()).save(tmp_path / "a.tif", big_tiff=True, exif=exif.tobytes())
    run(weights, tmp_path / "a.tif", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.tif") as after:
        assert after.getexif()[0x010F] == "a camera" and np.array_equal(np.asarray(after), pixels())


def test_transparency_stays(weights, tmp_path):
    for ending in ("png", "tif", "webp"):
        Image.fromarray(pixels(channels=4), "RGBA").save(tmp_path / f"rgba.{ending}")
    Image.fromarray(pixels(channels=2), "LA").save(tmp_path / "la.png")
    palette = Image.fromarray(pixels()).quantize(16)
    palette.save(tmp_path / "one.png", transparency=3)
    palette.save(tmp_path / "many.png", transparency=bytes(range(0, 160, 10)))
    Image.fromarray(pixels()).save(tmp_path / "colour.png", transparency=tuple(int(v) for v in pixels()[0, 0]))
    run(weights, tmp_path, "--out", tmp_path / "out")
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 7
    for path in written:
        with Image.open(path) as after, Image.open(tmp_path / path.name) as before:
            alphas = [np.asarray(image.convert("RGBA"))[..., 3] for image in (before, after)]
            assert np.array_equal(*alphas) and alphas[0].min() < 255


def test_grey_stays_grey_also_among_colours(tmp_path):
    """By a network that tints."""
    tints, grey = tmp_path / "tints.pth", Image.fromarray(pixels(channels=1))
    torch.manual_seed(0)
    UNet().save_weights(tints)
    clear = grey.copy()
    clear.putalpha(Image.fromarray(pixels(channels=1, seed=1)))
    images = {"l": grey, "la": clear, "1": grey.convert("1"), "p": grey.quantize(16), "rgb": grey.convert("RGB")}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    Image.fromarray(pixels()).save(tmp_path / "colours.png")
    run(tints, tmp_path, "--out", tmp_path / "out")
    modes = {}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as after, Image.open(tmp_path / path.name) as before:
            red, green, blue, alpha = np.moveaxis(np.asarray(after.convert("RGBA")), 2, 0)
            assert ((red == green) & (green == blue)).all() == (path.stem != "colours")
            assert (red != np.asarray(before.convert("RGBA"))[..., 0]).any()
            modes[path.stem] = after.mode
    assert modes == {"l": "L", "la": "LA", "1": "L", "p": "RGB", "rgb": "RGB", "colours": "RGB"}


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 80, 98])
def test_a_jpeg_is_as_good_as_it_was(quality, subsampling, weights, tmp_path):
    """The same steps and as many colours: written once more it loses little of what it shows. `--quality` wins."""
    smooth, path = Image.fromarray(pixels(9, 12)).resize((124, 90)), tmp_path / "a.jpg"
    smooth.save(path, quality=quality, subsampling=subsampling, progressive=quality == 80, comment=b"by \xff")
    run(weights, path, "--out", tmp_path / "same")
    run(weights, path, "--out", tmp_path / "other", "--quality", 60)
    smooth.save(tmp_path / "60.jpg", quality=60)
    with Image.open(path) as before, Image.open(tmp_path / "same" / "a.jpg") as after:
        assert after.quantization[0] == before.quantization[0] and after.quantization[1] == before.quantization[1]
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before) == subsampling
        assert after.info["comment"] == b"by \xff" and ("progressive" in after.info) == (quality == 80)
        lost, before_that = (np.abs(np.asarray(before, int) - np.asarray(image)).mean() for image in (after, smooth))
    assert lost < before_that
    with Image.open(tmp_path / "60.jpg") as expected, Image.open(tmp_path / "other" / "a.jpg") as after:
        assert after.quantization[0] == expected.quantization[0]
        assert JpegImagePlugin.get_sampling(after) == subsampling


def test_a_picture_stays_of_its_format_whatever_its_name(weights, tmp_path):
    """Also of a JPEG with a preview behind it, as cameras write them, the picture alone."""
    Image.fromarray(pixels(channels=4)).save(tmp_path / "png.jpg", format="PNG")
    Image.fromarray(pixels()).save(tmp_path / "no ending", format="TIFF")
    preview = Image.fromarray(pixels(5, 8))
    Image.fromarray(pixels()).save(tmp_path / "camera.JPG", format="MPO", save_all=True, append_images=[preview])
    run(weights, *tmp_path.iterdir(), "--out", tmp_path / "out")
    for name, kind in {"png.jpg": ("PNG", "RGBA"), "no ending": ("TIFF", "RGB"), "camera.JPG": ("JPEG", "RGB")}.items():
        with Image.open(tmp_path / "out" / name) as after:
            assert (after.format, after.mode, after.size) == (*kind, (31, 20))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_odd_sizes(size, weights, tmp_path):
    image = Image.fromarray(pixels(*size))
    image.save(tmp_path / "odd.png")
    run(weights, tmp_path / "odd.png", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "odd.png") as after:
        assert np.array_equal(np.asarray(after), np.asarray(image))


def test_what_would_lose_something_is_named_and_the_rest_is_done(weights, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(pixels()).save(folder / "good.png")
    Image.fromarray(pixels()).save(folder / "deeper" / "good.jpg")
    Image.fromarray(pixels(channels=1)).save(folder / "one.gif")
    Image.fromarray(pixels()).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels()).convert("CMYK").save(folder / "cmyk.tif")
    Image.fromarray(pixels(channels=1).astype(np.uint16) * 257).save(folder / "16 bits.png")
    Image.fromarray(pixels(channels=1).astype(np.uint16)).save(folder / "16 deep.tif")
    Image.fromarray(pixels(channels=1).astype(np.float32)).save(folder / "float.tif")
    Image.fromarray(pixels(channels=1).astype(np.int32)).save(folder / "int.tif")
    (folder / "16 bits.ppm").write_bytes(b"P6 1 1 65535 abcdef")
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    for name in ("moving.gif", "moving.webp", "animated.png", "pages.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    good = {ending: tmp_path / f"good.{ending}" for ending in ("png", "jpg", "tif", "webp")}
    for ending, path in good.items():
        frames[0].save(path)
        (folder / f"cut-{ending}.{ending}").write_bytes(path.read_bytes()[:500])
    printed = refused(capsys, lambda: run(weights, folder, "--out", tmp_path / "out", "--compare"), 1)
    deep = ["16 bits.png", "16 deep.tif", "float.tif", "int.tif", "pages.tif"]
    done = ["deeper/good.jpg", "good.png", "one.gif", *deep]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    named = {line.removeprefix(f"{folder}/").partition(":")[0] for line in printed.splitlines()[1:]}
    assert named == there - set(done) and "Traceback" not in printed
    assert printed.startswith(f"noise2noise denoise: {len(named)} of {len(there)} pictures")
    for words, number in {"8 bits": 0, "holds 3 pictures": 3, "colours CMYK": 2, "no picture of the kinds": 3}.items():
        assert printed.count(words) == number
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    outputs = [(tmp_path / "out" / name.replace(".gif", ".png")) for name in done]
    both = [path for output in outputs for path in (output, denoise.compared(output))]
    assert written == {str(path.relative_to(tmp_path / "out")) for path in both}


def test_compare_shows_both_side_by_side(tmp_path):
    weights = tmp_path / "random.pth"
    UNet().save_weights(weights)
    for name, channels in {"rgb.tif": 3, "l.png": 1, "rgba.png": 4}.items():
        image = Image.fromarray(pixels(channels=channels))
        image.save(tmp_path / name, icc_profile=b"a profile")
        run(weights, tmp_path / name, "--out", tmp_path / "out", "--compare", "--overwrite")
        out = tmp_path / "out" / name
        with Image.open(out) as after, Image.open(out.with_stem(f"{out.stem}-compare")) as both:
            assert both.size == (62, 20) and both.mode == image.mode and both.info["icc_profile"] == b"a profile"
            assert np.array_equal(np.asarray(both), np.hstack([np.asarray(image), np.asarray(after)]))


def test_enormous_pictures(weights, tmp_path, capsys, monkeypatch):
    """Those beyond Pillow's limit, as phones make, are taken, and it is put back; not what there is no memory for."""
    Image.fromarray(pixels(20, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 299)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(weights, tmp_path / "a.png", "--out", tmp_path / "out")
    assert Image.MAX_IMAGE_PIXELS == 299 and os.listdir(tmp_path / "out") == ["a.png"]
    size = pixels(20, 30).nbytes
    monkeypatch.setattr(streams, "memory", lambda: streams.TAKEN * size - 1)
    printed = refused(capsys, lambda: run(weights, tmp_path / "a.png", "--out", tmp_path / "new"), 1)
    assert "a.png: has pages of 1.8e-06 GB, for which" in printed and not os.listdir(tmp_path / "new")


def test_without_the_extra_measured_pictures_name_it(weights, tmp_path, capsys, monkeypatch):
    """Pillow opens such a PNG with 8 bits, in silence. Written by hand: header, one pixel, end."""
    monkeypatch.setattr(extras, "there", lambda module: False)
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + bytes(6))) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    Image.fromarray(pixels(channels=1).astype(np.uint16)).save(tmp_path / "16 bits.tif")
    Image.fromarray(pixels()).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(pixels())])
    tifffile.imwrite(tmp_path / "colour.tif", pixels().astype(np.uint16), photometric="rgb")  # Pillow can't open it
    tifffile.imwrite(tmp_path / "big.tif", pixels().astype(np.float32), photometric="rgb", bigtiff=True)
    Image.fromarray(pixels()).convert("CMYK").save(tmp_path / "cmyk.tif")  # nor would the extra take it
    Image.fromarray(pixels()).save(tmp_path / "good.tif")
    printed = refused(capsys, lambda: run(weights, tmp_path, "--out", tmp_path / "out"), 1)
    assert printed.count("more than 8 bits") == printed.count("pip install '.[measured]'") == 5
    assert "cmyk.tif: has the colours CMYK" in printed and os.listdir(tmp_path / "out") == ["good.tif"]


def test_nothing_is_overwritten(weights, tmp_path, capsys):
    image, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(pixels()).save(image)
    run(weights, image, "--out", out)
    (out / "a.png").write_text("mine")
    assert "--overwrite" in refused(capsys, lambda: run(weights, image, "--out", out), 2)
    assert (out / "a.png").read_text() == "mine"
    run(weights, image, "--out", out, "--overwrite")
    with Image.open(out / "a.png") as after:
        assert after.size == (31, 20)
    (tmp_path / "b").mkdir()
    Image.fromarray(pixels()).save(tmp_path / "b" / "a.png")
    two = [image, tmp_path / "b" / "a.png"]
    assert "both be written" in refused(capsys, lambda: run(weights, *two, "--out", tmp_path / "new"), 2)
    assert not (tmp_path / "new").exists()
    run(weights, image, tmp_path / "b" / ".." / "a.png", "--out", tmp_path / "new")  # twice the same is none too many


def test_no_input_is_overwritten_by_a_comparison(weights, tmp_path, capsys):
    image, out = tmp_path / "a.png", tmp_path / "in"
    out.mkdir()
    for path in (image, out / "a-compare.png"):
        Image.fromarray(pixels()).save(path)
    before = image.read_bytes()
    call = lambda: run(weights, image, out, "--out", out, "--overwrite", "--compare")  # noqa: E731
    assert "would both be written" in refused(capsys, call, 2)
    assert (out / "a-compare.png").read_bytes() == before and os.listdir(out) == ["a-compare.png"]


def test_an_output_folder_inside_the_input_folder_is_none_of_the_input(weights, tmp_path):
    (tmp_path / "deeper").mkdir()
    for name in ("a.png", "deeper/b.png"):
        Image.fromarray(pixels()).save(tmp_path / name)
    for options in ([], ["--overwrite"]):
        run(weights, tmp_path, "--out", tmp_path / "out", *options)
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert written == ["a.png", "deeper/b.png"]


@pytest.mark.parametrize(
    "what", ["nothing", "an empty folder", "a file for a folder", "a folder for a file", "no weights", "no network"]
)
def test_found_out_before_any_work(what, weights, tmp_path, capsys, monkeypatch):
    def work(*arguments):
        raise AssertionError("work was begun")

    monkeypatch.setattr(denoise, "denoise_array", work)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    arguments, words = {
        "nothing": ([tmp_path / "no.png", "--out", tmp_path / "out"], "no file or folder"),
        "an empty folder": ([tmp_path / "empty", "--out", tmp_path / "out"], "no picture"),
        "a file for a folder": ([tmp_path / "a.png", "--out", tmp_path / "file"], "file"),
        "a folder for a file": ([tmp_path / "a.png", "--out", tmp_path / "there", "--overwrite"], "is a folder"),
        "no weights": ([tmp_path / "a.png", "--out", tmp_path / "out"], "nowhere.pth"),
        "no network": ([tmp_path / "a.png", "--out", tmp_path / "out"], "does not hold the weights"),
    }[what]
    (tmp_path / "there" / "a.png").mkdir(parents=True)
    chosen = {"no weights": tmp_path / "nowhere.pth", "no network": Model.PRETRAINED}.get(what, weights)
    printed = refused(capsys, lambda: run(chosen, *arguments), 2)
    assert words in printed and len(printed.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("ending", ["tif", "png", "jpg", "webp"])
def test_a_full_disk_leaves_no_half_written_file(ending, weights, tmp_path, capsys):
    """A limit to the size of files stands for it: there, too, a first write takes only a part."""
    import resource

    Image.fromarray(pixels(100, 100)).save(tmp_path / f"a.{ending}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        printed = refused(capsys, lambda: run(weights, tmp_path / f"a.{ending}", "--out", tmp_path / "out"), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "[Errno 27]" in printed and len(printed.splitlines()) == 2 and not os.listdir(tmp_path / "out")


@pytest.fixture
def folder_of_no_superuser():
    """A folder of somebody who may not read and write everything, as whom the test runs."""
    if os.geteuid():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    os.seteuid(65534)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_no_permission(folder_of_no_superuser, capsys):
    folder, model = folder_of_no_superuser, UNet()
    model.save_weights(folder / "weights.pth")
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels()).save(folder / name)
    images = [folder / "a.png", folder / "b.png"]
    images[0].chmod(0)
    printed = refused(capsys, lambda: run(folder / "weights.pth", *images, "--out", folder / "out"), 1)
    assert "a.png: [Errno 13] Permission denied" in printed and os.listdir(folder / "out") == ["b.png"]
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    for out in (closed, closed / "out"):
        call = lambda out=out: run(folder / "weights.pth", images[1], "--out", out)  # noqa: E731
        assert "Permission denied" in refused(capsys, call, 2)


def test_progress_is_shown_on_a_terminal(weights, tmp_path, capsys, monkeypatch):
    """Over the pictures, and over the three tiles of one; with the time left."""
    Image.fromarray(pixels(5, 3 * (UNet.SIDE - 2 * 32))).save(tmp_path / "long.png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(weights, tmp_path / "long.png", "--out", tmp_path / "out")
    shown = capsys.readouterr().err
    assert "1/1 [" in shown and re.search(r"long\.png: .*0/3 \[\d\d:\d\d<", shown)


@pytest.mark.parametrize("way", ["even", "old"])
def test_24_megapixels_in_a_gigabyte(way, tmp_path):
    """Above the photo itself. The network sees two tiles; the others would add no memory, and a minute."""
    code = """if True:
        import resource
        import sys
        from pathlib import Path
        from types import SimpleNamespace
        from Proj_Miniproject2.others.commands.denoise import compare, denoise_picture
        from Proj_Miniproject2.others.formats import PLAIN
        from Proj_Miniproject2.others.formats.opening import open_picture
        from Proj_Miniproject2.others.networks import PhotoUNet

        picture, output, model = open_picture(Path(sys.argv[1])), Path(sys.argv[2]), PhotoUNet()
        model.range, model.seen, model.even = None, None, sys.argv[3] == "even"
        seen, network = [], model.denoise
        model.denoise = lambda images: seen.append(1) or (network(images) if len(seen) < 3 else images)
        next(picture.pages())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asked = SimpleNamespace(strength=1, repair=False, gain=None, read_noise=None, offset=None, dtype=None)
        denoise_picture([model] * 2, picture, output, iter, asked)
        compare(picture, output, PLAIN)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(seen))
    """
    gradient, noise = Image.linear_gradient("L").resize((6000, 4000)), Image.effect_noise((6000, 4000), 40)
    image = Image.blend(gradient, noise, 0.3).convert("RGB")
    image.putpixel((0, 0), (1, 2, 3))  # not grey
    image.save(tmp_path / "in.bmp")
    command = [sys.executable, "-c", code, tmp_path / "in.bmp", tmp_path / "out.bmp", way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    memory, tiles = map(int, done.stdout.split())
    assert memory / (1024 if sys.platform == "darwin" else 1) < 2**20 and tiles > 100


@pytest.mark.parametrize("grey", [False, True])
def test_the_output_is_the_models(grey):
    image = Image.fromarray(pixels(70, 50, 1 if grey else 3))
    model = untold(UNet())
    expected = model.predict(torch.tensor(np.asarray(image.convert("RGB"))).permute(2, 0, 1)[None])[0]
    expected = expected.mean(0) if grey else expected.permute(1, 2, 0)
    assert (np.asarray(denoising.denoise_image([model] * 2, image)) == expected.round().numpy()).all()


def untold(model):
    """A model whose weights say nothing of what it sees, as those of users."""
    model.range = model.seen = None
    model.even = False
    return model


class Darkening(UNet):
    """What comes out is a third of what went in: to be seen by every pass, and by a blend. Its weights say nothing of
    what it sees, as those of users."""

    range = seen = None
    even = False

    def denoise(self, images):
        return images / 3


@pytest.mark.parametrize("strength", [0, 0.3, 0.5, 1, 1.25, 2])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "grey RGB"])
def test_strength_blends_or_goes_on(strength, mode):
    image = Image.fromarray(pixels(9, 14, 4)).convert(mode.removeprefix("grey "))
    if mode == "grey RGB":
        image = image.convert("L").convert("RGB")
    before = np.asarray(image)[..., :3].astype(float)
    once = np.round(before / 3)
    twice = np.round(once / 3)
    expected = before + strength * (once - before) if strength <= 1 else once + (strength - 1) * (twice - once)
    found = denoising.denoise_image([Darkening()] * 2, image, strength=strength)
    assert found.mode == image.mode and np.abs(np.asarray(found)[..., :3] - expected).max() <= 0.5001
    if strength == 0:
        assert found.tobytes() == image.tobytes()


def test_strength_is_an_option(weights, tmp_path, monkeypatch):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    monkeypatch.setattr(weights_of, "trained", lambda network, path: Darkening())
    values = {}
    for options in ([], ["--strength", "1"], ["--strength", "0.25"], ["--strength=2"]):
        run(weights, tmp_path / "a.png", "--out", tmp_path / "out", "--overwrite", *options)
        with Image.open(tmp_path / "out" / "a.png") as after:
            values[options[-1] if options else ""] = np.asarray(after).astype(int)
    assert np.array_equal(values[""], values["1"]) and (values["--strength=2"] <= values["1"]).all()
    assert np.abs(values["0.25"] - pixels() / 1.2).max() <= 0.5001


@pytest.mark.parametrize("value", ["-0.1", "2.01", "nan", "inf", "-inf", "much"])
def test_bad_strengths_are_refused_in_a_line_before_any_work(value, weights, tmp_path, capsys):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    call = lambda: run(weights, tmp_path / "a.png", "--out", tmp_path / "out", f"--strength={value}")  # noqa: E731
    last = refused(capsys, call, 2).strip().splitlines()[-1]
    assert (
        "invalid float value: 'much'" if value == "much" else f"strength must lie in [0, 2], got {float(value)}"
    ) in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("even", [False, True])
def test_the_picture_shows_which_weights_it_needs(even, tmp_path, monkeypatch):
    """photo.pth for colours with independent noise, camera.pth for correlated noise and for grey pixels, whatever the
    mode; all go through a network or weights that are chosen."""
    used, found = [], []

    def trained(network, path=None):
        model = untold(UNet())
        model.even = even and network == "camera" and not path
        model.pieces = lambda images, progress: used.append((network, path)) or []
        return model

    monkeypatch.setattr(weights_of, "trained", trained)
    grey = Image.fromarray(pixels(channels=1))
    almost = grey.convert("RGB")
    almost.putpixel((3, 4), (7, 7, 8))
    for name, image in {
        "l": grey,
        "rgb": grey.convert("RGB"),
        "almost": almost,
        "tiny": Image.fromarray(pixels(19, 300)),
        "white": Image.fromarray(pixels(61, 33)),
        "coarse": Image.fromarray(pixels(61, 33)).resize((99, 183)),
    }.items():
        image.save(tmp_path / f"{name}.png")
        main(["denoise", str(tmp_path / f"{name}.png"), "--out", str(tmp_path / "out")])
        found += dict.fromkeys(used)  # each once, as channels may be seen one by one
        used.clear()
    main(["denoise", str(tmp_path / "l.png"), "--out", str(tmp_path / "2"), "--network", "resnet"])
    main(["denoise", str(tmp_path / "l.png"), "--out", str(tmp_path / "3"), "--weights", "mine.pth"])
    assert found + used == [
        (name, None) for name in ("camera", "camera", "camera", "camera", "photo", "camera", "resnet")
    ] + [("photo", Path("mine.pth"))]


def test_views_are_those_that_are_asked_for(tmp_path, monkeypatch, data):
    """By `denoise` and by `evaluate`; by default as many as a network is made for."""
    seen = []
    monkeypatch.setattr(
        UNet, "denoise", lambda model, images: seen.append((type(model).__name__, model.VIEWS)) or images
    )
    Image.effect_noise((40, 40), 50).convert("RGB").save(tmp_path / "a.png")
    for i, words in enumerate(["", "--views 8", "--views 1 --network unet"]):
        main(f"denoise {tmp_path / 'a.png'} --out {tmp_path / str(i)} {words}".split())
    main(f"evaluate {data / 'val_data.pkl'} --network photo --views 4".split())
    assert list(dict.fromkeys(seen)) == [("CameraUNet", 1), ("CameraUNet", 8), ("UNet", 1), ("PhotoUNet", 4)]
    assert UNet.VIEWS == 8 and CameraUNet.VIEWS == 1


@pytest.mark.parametrize("command", ["denoise {0}/a.png --out {0}/out", "evaluate {1}"])
@pytest.mark.parametrize("network", ["report", "resnet"])
def test_networks_that_see_a_picture_once_take_no_views(command, network, tmp_path, data, capsys):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit):
        main([*command.format(tmp_path, data / "val_data.pkl").split(), "--network", network, "--views", "2"])
    assert "--views goes with unet, photo, camera" in capsys.readouterr().err and not (tmp_path / "out").exists()

"""Pictures come out in the kind of file they came in, none is missed, and what was done is not done again."""

import os
import re
import struct
import sys
import threading
import zlib

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin, features

from Proj_Miniproject2.model import Model
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.commands import denoise
from Proj_Miniproject2.others.formats import PLAIN, pictures
from Proj_Miniproject2.others.formats.boxes import DeepBoxes
from Proj_Miniproject2.others.formats.pictures import photo_paths, png_chunks, read_image
from Proj_Miniproject2.others.networks import UNet
from Proj_Miniproject2.others.pairs.photos import load_photos

from .test_denoise import folder_of_no_superuser, pixels, refused, run, weights  # noqa: F401


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(UNet, "VIEWS", 1)


def smooth(mode="RGB"):
    return Image.fromarray(pixels(3, 4, 4)).resize((31, 20)).convert(mode)


def equal(one, other):
    return np.array_equal(*(np.asarray(image.convert("RGBA")) for image in (one, other)))


# ----------------------------------------------------------------------------------------------------------
# The kind of file


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_webp_stays_lossless(mode, weights, tmp_path):  # noqa: F811
    """Also below what is transparent all through."""
    image = Image.fromarray(pixels(channels=len(mode)), mode)
    if mode == "RGBA":
        image.putalpha(image.getchannel("A").point(lambda alpha: 0 if alpha < 128 else alpha))
    image.save(tmp_path / "a.webp", lossless=True, exact=True, xmp=b"<xmp/>", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    run(weights, tmp_path / "a.webp", "--out", tmp_path / "out", "--quality", 10)
    with Image.open(tmp_path / "out" / "a.webp") as after:
        assert equal(after, image) and b"VP8L" in (tmp_path / "out" / "a.webp").read_bytes()


def save_boxes(image, path, **options):
    if path.suffix == ".avif":
        if not features.check("avif"):
            pytest.skip("Pillow reads no AVIF before version 11.3")
        image.save(path, **options)
    else:
        pytest.importorskip("pillow_heif").from_pillow(image).save(path, **options)


def opened_boxes(path):
    if path.suffix == ".avif":
        return ImageOps.exif_transpose(Image.open(path))
    return pytest.importorskip("pillow_heif").HeifImageFile(path)  # upright already


@pytest.mark.parametrize("ending", ["avif", "heic", "HEIF"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_heic_and_avif_become_pngs(mode, ending, weights, tmp_path, capsys):  # noqa: F811
    image, exif, path = smooth("RGB").convert(mode), Image.Exif(), tmp_path / f"a.{ending}"
    if mode == "RGBA":
        image.putalpha(Image.fromarray(pixels(channels=1)))
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "a maker"
    save_boxes(image, path, exif=exif.tobytes(), icc_profile=b"a profile", xmp=b"<xmp/>")
    run(weights, path, "--out", tmp_path / "out", "--compare")
    assert sorted(os.listdir(tmp_path / "out")) == ["a-compare.png", "a.png"]
    assert re.fullmatch(rf"1 picture denoised in \d+ s, those in .{ending.lower()} as .png\n", capsys.readouterr().out)
    with Image.open(tmp_path / "out" / "a.png") as after:
        assert after.format == "PNG" and after.size == (20, 31) and equal(after, opened_boxes(path))
        assert after.info["icc_profile"] == b"a profile" and after.info["xmp"] == b"<xmp/>"
        assert dict(after.getexif()) == {ExifTags.Base.Make: "a maker"}
        assert b"cICP" not in (tmp_path / "out" / "a.png").read_bytes()  # readers would take it, not the profile
    assert not any("HEIF" in formats for formats in (Image.OPEN, Image.SAVE))  # nothing changes for a program


@pytest.mark.parametrize("ending", ["avif", "heic"])
def test_colours_without_a_profile_stay_what_they_are(ending, weights, tmp_path):  # noqa: F811
    """Display P3, as telephones have it: 12, with the curve of sRGB, 13."""
    path = tmp_path / f"a.{ending}"
    save_boxes(smooth(), path)
    content = path.read_bytes()
    assert content.count(b"colrnclx\0\1\0\r") == 1  # sRGB
    path.write_bytes(content.replace(b"colrnclx\0\1\0\r", b"colrnclx\0\x0c\0\r"))
    run(weights, path, "--out", tmp_path / "out")
    assert (b"cICP", bytes([12, 13, 0, 1])) in list(png_chunks(tmp_path / "out" / "a.png"))


def test_deep_heic_and_avif_become_deep_pngs(weights, tmp_path):  # noqa: F811
    """All their bits, with what is said of them."""
    heif = pytest.importorskip("pillow_heif")
    deep = np.repeat(np.repeat(pixels(4, 4), 16, 0), 16, 1).astype(np.uint16) * 4 + 3
    exif, wide = Image.Exif(), deep * 64
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "a maker"
    made = heif.from_bytes("RGB;10", (64, 64), deep.tobytes())
    made.save(tmp_path / "a.heic", quality=-1, chroma=444, exif=exif.tobytes(), xmp=b"<xmp/>")
    heif.from_bytes("L;10", (64, 64), deep[..., 0].tobytes()).save(tmp_path / "l.heic", quality=-1)
    for bits in (10, 12):
        content = imagecodecs.avif_encode(deep << bits - 10, bitspersample=bits, level=100)
        (tmp_path / f"{bits}.avif").write_bytes(content)
    run(weights, tmp_path, "--out", tmp_path / "out", "--compare")
    assert len(os.listdir(tmp_path / "out")) == 8
    found = {name: imagecodecs.png_decode((tmp_path / "out" / f"{name}.png").read_bytes()) for name in ("10", "12")}
    for name, most in (("10", 1023), ("12", 4095)):
        assert np.array_equal(found[name], np.rint((deep << int(name) - 10) * (65535 / most)))
    turned = imagecodecs.png_decode((tmp_path / "out" / "a.png").read_bytes())
    assert np.abs(turned - np.rot90(wide, -1) * (65535 / 65472)).max() < 200
    with Image.open(tmp_path / "out" / "a.png") as after:
        assert dict(after.getexif()) == {ExifTags.Base.Make: "a maker"} and after.info["xmp"] == b"<xmp/>"
    grey = imagecodecs.png_decode((tmp_path / "out" / "l.png").read_bytes())
    assert grey.dtype == np.uint16 and np.abs(grey - wide[..., 0] * (65535 / 65472)).max() < 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_avifs_are_turned_as_pillow_turns_others(orientation, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    save_boxes(smooth(), tmp_path / "a.avif", exif=exif.tobytes(), quality=100, subsampling="4:4:4")
    decoded = DeepBoxes(tmp_path / "a.avif", PLAIN).decoded()
    with Image.open(tmp_path / "a.avif") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert decoded.shape == upright.shape and np.abs(decoded - upright.astype(int)).max() < 4


def test_broken_heic_and_avif_are_named(weights, tmp_path, capsys):  # noqa: F811
    heif, folder = pytest.importorskip("pillow_heif"), tmp_path / "in"
    folder.mkdir()
    deep = np.repeat(np.repeat(pixels(4, 4), 16, 0), 16, 1).astype(np.uint16) * 4
    heif.from_bytes("RGB;10", (64, 64), deep.tobytes()).save(tmp_path / "deep.heic")
    (tmp_path / "deep.avif").write_bytes(imagecodecs.avif_encode(deep, bitspersample=10))
    for ending in ("avif", "heic"):
        save_boxes(smooth(), tmp_path / f"a.{ending}")
        content = (tmp_path / f"a.{ending}").read_bytes()
        (folder / f"cut {ending}.{ending}").write_bytes(content[:-20])
        (folder / f"head {ending}.{ending}").write_bytes(content[:24])
        (folder / f"deep {ending}.{ending}").write_bytes((tmp_path / f"deep.{ending}").read_bytes()[:-20])
    smooth().save(folder / "moving.avif", save_all=True, append_images=[smooth().rotate(180)])
    (folder / "text.heic").write_text("no picture")
    printed = refused(capsys, lambda: run(weights, folder, "--out", tmp_path / "out"), 1)
    lines = dict(line.removeprefix(f"{folder}/").split(": ", 1) for line in printed.splitlines()[1:])
    assert lines.keys() == set(os.listdir(folder)) and not os.listdir(tmp_path / "out")
    assert "holds 2 pictures" in lines["moving.avif"] and "no picture of the kinds" in lines["text.heic"]


def test_without_the_extra_heic_and_avif_name_it(weights, tmp_path, capsys, monkeypatch):  # noqa: F811
    (tmp_path / "avif.avif").write_bytes(imagecodecs.avif_encode(np.asarray(smooth())))
    save_boxes(smooth(), tmp_path / "heic.heic")
    smooth().save(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda feature: False)
    printed = refused(capsys, lambda: run(weights, tmp_path, "--out", tmp_path / "out"), 1)
    assert printed.count("pip install '.[heic]'") == 2 and os.listdir(tmp_path / "out") == ["a.jpg"]


def test_the_quality_of_a_lossy_webp(weights, tmp_path):  # noqa: F811
    sizes = {}
    Image.fromarray(pixels()).save(tmp_path / "a.webp")
    for name, options in {"": [], "95": ["--quality", "95"], "20": ["--quality", "20"]}.items():
        run(weights, tmp_path / "a.webp", "--out", tmp_path / "out", "--overwrite", *options)
        sizes[name] = (tmp_path / "out" / "a.webp").read_bytes()
    assert sizes[""] == sizes["95"] and len(sizes["20"]) < len(sizes["95"]) and b"VP8 " in sizes[""]


@pytest.mark.parametrize("value", ["0", "101", "-3"])
def test_other_qualities_are_refused(value, weights, tmp_path, capsys):  # noqa: F811
    smooth().save(tmp_path / "a.jpg")
    call = lambda: run(weights, tmp_path / "a.jpg", "--out", tmp_path / "out", f"--quality={value}")  # noqa: E731
    assert f"quality must be at {'most' if value == '101' else 'least'}" in refused(capsys, call, 2)


def camera_data():
    """EXIF data with all its parts, and with names that are not ASCII, as cameras write them: in UTF-8."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Artist] = "a camera", pictures.Text("M\xc3\xbcller")
    interoperability = {1: "R98", 2: b"0100"}
    owner = pictures.Text("J\xc3\xb6rg")
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"notes", 0xA430: owner, 0xA005: interoperability}
    exif[0x8825] = {1: "N", 2: (46.0, 31.0, 0.0)}
    assert b"M\xc3\xbcller\0" in exif.tobytes()
    return exif.tobytes()


def found_data(path):
    with Image.open(path) as image:
        exif = image.getexif()
        parts = [dict(exif.get_ifd(part)) for part in (0x8769, 0x8825, 0xA005)]
        parts[0].pop(0xA005, None)  # its place
        return {tag: exif.get(tag) for tag in (0x010F, 0x013B)}, parts


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_tiff_keeps_its_compression_and_all_data(compression, mode, weights, tmp_path):  # noqa: F811
    """Also what Pillow itself can't write to compressed ones."""
    source, out = tmp_path / "a.tif", tmp_path / "out" / "a.tif"
    image = smooth(mode)
    image.format, image.info = "TIFF", {"exif": camera_data(), "compression": compression, "icc_profile": b"a profile"}
    image.info |= {"dpi": (200, 100)}
    try:
        pictures.write_image(image, source)
    except OSError:
        pytest.skip(f"this Pillow's libtiff was built without {compression}")
    run(weights, source, "--out", tmp_path / "out")
    with Image.open(out) as after:
        assert after.info["compression"] == compression and equal(after, image)
        assert after.info["icc_profile"] == b"a profile" and after.info["dpi"] == (200, 100)
    assert found_data(out) == found_data(source) and "M\xc3\xbcller" in found_data(out)[0].values()


def test_a_tiff_keeps_predictor_and_xmp(weights, tmp_path):  # noqa: F811
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[317], info[700] = 2, b"<xmp/>"
    smooth().save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=info)
    run(weights, tmp_path / "a.tif", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.tif") as after:
        assert after.tag_v2[317] == 2 and after.info["xmp"] == b"<xmp/>" and equal(after, smooth())


@pytest.mark.parametrize("compression, mode", [("jpeg", "RGB"), ("group4", "1"), ("group3", "1")])
def test_a_tiff_that_could_lose_something_is_deflated(compression, mode, weights, tmp_path):  # noqa: F811
    if mode == "1" and not hasattr(imagecodecs, "ccittfax4_decode"):
        pytest.skip("imagecodecs reads no fax in this version")
    smooth(mode).save(tmp_path / "a.tif", compression=compression)
    run(weights, tmp_path / "a.tif", "--out", tmp_path / "out")
    with Image.open(tmp_path / "a.tif") as before, Image.open(tmp_path / "out" / "a.tif") as after:
        assert after.info["compression"] == "tiff_adobe_deflate" and equal(before, after)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_exif_data_stay_in_all_their_parts(ending, weights, tmp_path):  # noqa: F811
    path = tmp_path / f"a.{ending}"
    smooth().save(path, exif=camera_data())
    run(weights, path, "--out", tmp_path / "out")
    assert found_data(tmp_path / "out" / path.name) == found_data(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("turned", [False, True])
def test_xmp_stays_without_an_orientation_that_is_none_any_more(ending, turned, weights, tmp_path):  # noqa: F811
    xmp, path, exif = b'<x tiff:Orientation="6" dc:title="t"/>', tmp_path / f"a.{ending}", Image.Exif()
    if not turned:
        xmp = xmp.replace(b"6", b"1")
    exif[ExifTags.Base.Orientation] = 6 if turned else 1
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    if ending == "tif":
        exif[700] = xmp
    smooth().save(path, xmp=xmp, exif=exif.tobytes(), **{"pnginfo": info} if ending == "png" else {})
    run(weights, path, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / path.name) as after:
        after.load()
        assert after.size == ((20, 31) if turned else (31, 20)) and after.getexif().get(274, 1) == 1
        assert b'dc:title="t"' in after.info["xmp"] and b"6" not in after.info["xmp"]


def chunks(path):
    """The (kind, content) of a PNG's chunks."""
    content, found = path.read_bytes()[8:], []
    while content:
        length, kind = struct.unpack(">L4s", content[:8])
        found.append((kind, content[8 : 8 + length]))
        assert zlib.crc32(content[4 : 8 + length]) == struct.unpack(">L", content[8 + length : 12 + length])[0]
        content = content[12 + length :]
    return found


def test_a_png_keeps_its_texts_and_what_its_colours_mean(weights, tmp_path):  # noqa: F811
    """Byte for byte; twice the same keyword, compressed, in other languages, before the picture and behind it."""
    info, kept = PngImagePlugin.PngInfo(), [
        (b"gAMA", struct.pack(">L", 45455)),
        (b"cHRM", struct.pack(">8L", *range(30_000, 30_008))),
        (b"sRGB", b"\1"),
        (b"tEXt", b"Comment\0first"),
        (b"tEXt", b"Comment\0second \xe4"),
        (b"zTXt", b"Description\0\0" + zlib.compress(b"long " * 99)),
        (b"iTXt", b"Title\0\0\0de\0Titel\0" + "größer".encode()),
    ]  # fmt: skip
    for kind, content in kept:
        info.add(kind, content)
    info.add(b"tEXt", b"Raw profile type exif\0not to be said twice")
    image = smooth()
    image.save(tmp_path / "a.png", pnginfo=info, exif=camera_data())
    content = (tmp_path / "a.png").read_bytes()
    behind = b"tEXtAuthor\0behind"
    behind = struct.pack(">L", len(behind) - 4) + behind + struct.pack(">L", zlib.crc32(behind))
    (tmp_path / "a.png").write_bytes(content[:-12] + behind + content[-12:])
    run(weights, tmp_path / "a.png", "--out", tmp_path / "out")
    out = tmp_path / "out" / "a.png"
    kinds = {kind for kind, _ in kept}
    assert [chunk for chunk in chunks(out) if chunk[0] in kinds] == [*kept, (b"tEXt", b"Author\0behind")]
    with Image.open(out) as after:
        assert equal(after, image)
    assert found_data(out) == found_data(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("exif", [b"no EXIF data", b"II*\0\x08\0\0\0\xff\xff" + bytes(range(99)), b"MM"])
def test_broken_exif_data_are_no_reason_to_fail(ending, exif, weights, tmp_path):  # noqa: F811
    path = tmp_path / f"a.{ending}"
    if ending == "tif":
        smooth().save(path, tiffinfo={34665: int.from_bytes(exif[-2:], "big"), 271: "a camera"})
    else:
        smooth().save(path, exif=b"Exif\0\0" + exif)
    run(weights, path, "--out", tmp_path / "out")
    with Image.open(path) as before, Image.open(tmp_path / "out" / path.name) as after:
        assert after.size == before.size
        if exif.startswith(b"no") and ending in ("png", "webp"):  # which Pillow can't read at all
            assert after.info["exif"] == before.info["exif"]
        assert ending != "tif" or after.tag_v2[271] == "a camera"


def test_a_turned_jpeg_keeps_all_its_colours(weights, tmp_path):  # noqa: F811
    """Half the columns are half the rows when it is turned: so it has both."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    smooth().save(tmp_path / "a.jpg", subsampling=1, exif=exif.tobytes())
    assert read_image(tmp_path / "a.jpg").info["subsampling"] == 0


# ----------------------------------------------------------------------------------------------------------
# None is missed


def test_what_is_not_taken_is_named_with_its_way_out(weights, tmp_path, capsys):  # noqa: F811
    """In a folder, too, whatever is in the file."""
    here = tmp_path / "in"
    here.mkdir()
    known = {"a.czi": "Zeiss", "b.ND2": "Nikon", "c.lif": "Leica", "d.oib": "Olympus", "e.vsi": "Olympus"}
    known["f.ims"] = "Imaris"
    for name in (*known, "g.dm4", "h.jxl", "notes.txt", "cells.mat"):
        (here / name).write_bytes(b"\xd0\xcf\x11\xe0" + bytes(99))
    printed = refused(capsys, lambda: run(weights, here, "--out", tmp_path / "out"), 1)
    lines = dict(line.removeprefix(f"{here}/").split(": ", 1) for line in printed.splitlines()[1:])
    assert lines.keys() == {*known, "g.dm4", "h.jxl"}
    for name, maker in known.items():
        assert maker in lines[name] and "export it as OME-TIFF" in lines[name]
    assert "as MRC or TIFF" in lines["g.dm4"] and "save it as a PNG" in lines["h.jxl"]
    printed = refused(capsys, lambda: run(weights, here / "cells.mat", "--out", tmp_path / "out"), 1)
    assert "cells.mat: is a file of arrays (.mat): save the array as .npy" in printed


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_links_to_folders_are_followed_without_circles(weights, tmp_path):  # noqa: F811
    here, away = tmp_path / "in", tmp_path / "away"
    for folder in (here / "b", away / "deep"):
        folder.mkdir(parents=True)
        smooth().save(folder / "a.png")
    (here / "a link").symlink_to(away)
    (here / "again").symlink_to(here / "b")  # which has a name of its own
    (here / "b" / "up").symlink_to("..")
    (away / "deep" / "back").symlink_to(here)
    run(weights, here, "--out", tmp_path / "out")
    assert names(tmp_path / "out") == ["a link/deep/a.png", "b/a.png"]
    (tmp_path / "all").symlink_to(here)
    assert len(photo_paths(tmp_path / "all")) == 2


def test_many_links_to_one_folder_are_searched_once(tmp_path):
    """Else 2 to the power of 30 times."""
    for i in range(30):
        (tmp_path / f"{i}").mkdir()
        for name in "ab":
            (tmp_path / f"{i}" / name).symlink_to(tmp_path / f"{i + 1}")
    (tmp_path / "30").mkdir()
    smooth().save(tmp_path / "30" / "x.png")
    assert len(photo_paths(tmp_path / "0")) == 1


def test_broken_links_are_named(weights, tmp_path, capsys):  # noqa: F811
    """Also one that was to a folder, maybe."""
    smooth().save(tmp_path / "good.png")
    for name in ("b.png", "more"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere" / name)
    printed = refused(capsys, lambda: run(weights, tmp_path, "--out", tmp_path / "out"), 1)
    lines = [f"{tmp_path}/{name}: No such file or directory" for name in ("b.png", "more")]
    assert sorted(printed.splitlines()[1:]) == lines and "2 of 3 pictures and folders failed" in printed
    assert names(tmp_path / "out") == ["good.png"]
    with pytest.warns(UserWarning, match="skipped .*: No such file") as caught:
        assert len(load_photos(tmp_path, 1)) == 2  # with that in `out`
    assert len(caught) == 2
    with pytest.raises(FileNotFoundError, match="b.png|more"):
        photo_paths(tmp_path)


def test_folders_that_cannot_be_read_are_named(folder_of_no_superuser, capsys):  # noqa: F811
    folder = folder_of_no_superuser
    UNet().save_weights(folder / "weights.pth")
    for name in ("open", "closed", "half open"):
        (folder / "in" / name).mkdir(parents=True)
        smooth().save(folder / "in" / name / "a.png")
    (folder / "in" / "link").symlink_to(folder / "in" / "closed" / "..")
    (folder / "in" / "closed").chmod(0)
    (folder / "in" / "half open").chmod(0o400)  # its names can be read, but no more
    try:
        printed = refused(capsys, lambda: run(folder / "weights.pth", folder / "in", "--out", folder / "out"), 1)
        assert names(folder / "out") == ["open/a.png"]
        for name in ("closed", "half open", "link"):
            assert re.search(f"^{folder}/in/{name}.*: Permission denied$", printed, re.M), printed
        alone = refused(
            capsys, lambda: run(folder / "weights.pth", folder / "in" / "closed", "--out", folder / "new"), 1
        )
        assert "1 of 1 pictures and folders failed" in alone and "closed: Permission denied" in alone
    finally:
        for name in ("closed", "half open"):
            (folder / "in" / name).chmod(0o700)


def test_sidecars_are_no_pictures(weights, tmp_path):  # noqa: F811
    """In folders, and named one by one, as `*` names them."""
    here = tmp_path / "in"
    here.mkdir()
    smooth().save(here / "IMG_1.png")
    for name in ("._IMG_1.png", "._IMG_1.JPG", "Thumbs.db", "thumbs.db", ".DS_Store", "desktop.ini"):
        (here / name).write_bytes(b"\0\5\x16\7")
    run(weights, here, "--out", tmp_path / "1")
    run(weights, *here.iterdir(), "--out", tmp_path / "2")
    assert names(tmp_path / "1") == names(tmp_path / "2") == ["IMG_1.png"]


@pytest.mark.parametrize("alone", [True, False])
def test_a_pipe_is_no_picture(alone, weights, tmp_path, capsys):  # noqa: F811
    """Nobody waits for it."""
    pipe = tmp_path / "in" / "a.png"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    writer = threading.Timer(5, lambda: os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)))  # should anybody wait
    writer.daemon = True
    writer.start()
    read = pipe if alone else pipe.parent
    printed = refused(capsys, lambda: run(weights, read, "--out", tmp_path / "out"), 1)
    writer.cancel()
    assert f"{pipe}: is no file" in printed


# ----------------------------------------------------------------------------------------------------------
# What is said of what is done, and not done again


def test_what_is_denoised_but_cannot_be_compared(weights, tmp_path, capsys):  # noqa: F811
    Image.fromarray(pixels(1, 8200)).save(tmp_path / "wide.webp")
    Image.fromarray(pixels()).save(tmp_path / "good.png")
    printed = refused(capsys, lambda: run(weights, tmp_path, "--out", tmp_path / "out", "--compare"), 1)
    assert names(tmp_path / "out") == ["good-compare.png", "good.png", "wide.webp"]
    assert "wide.webp: is denoised, but not compared: 16400 x 1 pixels are too large for a WEBP" in printed


def test_an_output_that_cannot_be_written_stops_no_others(weights, tmp_path, capsys):  # noqa: F811
    """Of a name that is too long, or of a folder's; it is found out before any work if there is nothing else."""
    name = "a" * 251 + ".png"
    for other in (name, "b.png", "c.png"):
        smooth().save(tmp_path / other)
    call = lambda *files: run(weights, *files, "--out", tmp_path / "out", "--compare")  # noqa: E731
    assert "File name too long" in refused(capsys, lambda: call(tmp_path / name), 2) and not (tmp_path / "out").exists()
    (tmp_path / "out" / "c.png").mkdir(parents=True)
    printed = refused(capsys, lambda: call(*(tmp_path / other for other in (name, "b.png", "c.png"))), 1)
    lines = printed.splitlines()
    assert "2 of 3 pictures failed" in lines[0] and len(lines) == 3
    assert lines[1].startswith(f"{tmp_path / name}: ") and "File name too long" in lines[1]
    assert lines[2].startswith(f"{tmp_path}/c.png: ") and "is a folder" in lines[2]
    assert names(tmp_path / "out") == ["b-compare.png", "b.png"]
    run(weights, tmp_path / name, "--out", tmp_path / "new")
    assert os.listdir(tmp_path / "new") == [name]


def test_no_strength_leaves_every_byte(tmp_path):
    """By a network that changes all; but what is another kind of file, or of another quality, is written anew."""
    torch.manual_seed(0)
    UNet().save_weights(tmp_path / "random.pth")
    smooth().save(tmp_path / "a.jpg", quality=30)
    smooth().save(tmp_path / "b.tif", compression="jpeg")
    np.save(tmp_path / "c.npy", np.asfortranarray(pixels()))
    smooth().save(tmp_path / "d.gif")
    (tmp_path / "e.png").write_text("no picture")
    files = sorted(path for path in tmp_path.iterdir() if path.suffix not in (".pth", ".png"))
    call = lambda out, *options: run(tmp_path / "random.pth", *files, "--out", tmp_path / out, *options)  # noqa: E731
    call("out", "--strength", 0)
    for path in files[:3]:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    with Image.open(tmp_path / "out" / "d.png") as after, Image.open(files[3]) as before:
        assert equal(after, before)
    with pytest.raises(SystemExit):
        run(tmp_path / "random.pth", tmp_path / "e.png", "--out", tmp_path / "bad", "--strength", 0)
    assert not os.listdir(tmp_path / "bad")
    run(tmp_path / "random.pth", files[0], "--out", tmp_path / "anew", "--strength", 0, "--quality", 90)
    assert (tmp_path / "anew" / "a.jpg").read_bytes() != files[0].read_bytes()


def test_resume_does_what_is_missing(weights, tmp_path, capsys, monkeypatch):  # noqa: F811
    """After Ctrl-C at the third picture, and where the comparison alone is missing."""
    (tmp_path / "in").mkdir()
    for name in "abcd":
        smooth().save(tmp_path / "in" / f"{name}.png")
    seen, plain = [], denoise.denoise_array

    def interrupted(models, array, *arguments):
        seen.append(array)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return plain(models, array, *arguments)

    monkeypatch.setattr(denoise, "denoise_array", interrupted)
    call = lambda *options: run(weights, tmp_path / "in", "--out", tmp_path / "out", *options)  # noqa: E731
    assert "--resume goes on" in refused(capsys, call, 130)
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    assert "is there already" in refused(capsys, call, 2)
    mine = Image.fromarray(pixels(20, 31, seed=5))
    mine.save(tmp_path / "out" / "a.png")
    call("--resume")
    assert len(seen) == 5 and names(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png"]
    assert re.fullmatch(r"2 pictures denoised in \d+ s, 2 were there already\n", capsys.readouterr().out)
    call("--resume", "--compare")
    assert len(seen) == 5 and len(names(tmp_path / "out")) == 8
    with Image.open(tmp_path / "out" / "a-compare.png") as both, Image.open(tmp_path / "out" / "a.png") as after:
        assert equal(after, mine) and equal(both.crop((31, 0, 62, 20)), mine)
    capsys.readouterr()
    call("--resume", "--compare")
    assert "0 pictures denoised in" in capsys.readouterr().out


def test_how_many_and_how_long_is_said(weights, tmp_path, capsys):  # noqa: F811
    for name in "ab":
        smooth().save(tmp_path / f"{name}.png")
    run(weights, tmp_path, "--out", tmp_path / "out")
    assert re.fullmatch(r"2 pictures denoised in \d+ s\n", capsys.readouterr().out)


def test_weights_are_inputs(tmp_path, capsys):
    """Should they have the name of a picture."""
    (tmp_path / "out").mkdir()
    smooth().save(tmp_path / "a.png")
    Model().save_weights(tmp_path / "out" / "a.png")
    options = ["--overwrite", "--network", "report", "--weights", str(tmp_path / "out" / "a.png")]
    call = lambda: main(["denoise", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *options])  # noqa: E731
    assert "is an input" in refused(capsys, call, 2)

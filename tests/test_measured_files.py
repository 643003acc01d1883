"""Files of measured pictures: what comes out has the dtype, shape, axes, compression, resolution and description that
went in. And each that can't be denoised so is named in a line, with nothing half-written."""

import io
import logging
import os
import struct
import sys
import warnings
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising, weights
from Proj_Miniproject2.others.formats import PLAIN, Options
from Proj_Miniproject2.others.formats.npy import Npy
from Proj_Miniproject2.others.formats.tiff import Tiff, parts

from .test_denoise import refused
from .test_measured import Darkening


@pytest.fixture(scope="module", autouse=True)
def darkening():
    """A network that is quick, and does something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Darkening, "VIEWS", 1)
        model = Darkening()
        patch.setattr(weights, "trained", lambda network, path=None: model)
        yield


def values(*shape, dtype=np.uint16, seed=0):
    """Never a constant page."""
    return (np.random.default_rng(seed).random(shape) * (250 if dtype == np.uint8 else 30_000)).astype(dtype)


def run(folder, *options):
    main(["denoise", str(folder / "in"), "--out", str(folder / "out"), *options])


def expected(array, pages=True):
    return denoising.denoise(np.ascontiguousarray(array), pages=pages)


TIFFS = {
    "16 bits": ((31, 20), {}),
    "32 bits": ((31, 20), {"dtype": np.uint32, "compression": "zlib", "predictor": True}),
    "signed": ((31, 20), {"dtype": np.int16, "compression": "lzw", "rowsperstrip": 7}),
    "float": ((31, 20), {"dtype": np.float32, "compression": "zstd", "predictor": True}),
    "double": ((31, 20), {"dtype": np.float64, "bigtiff": True}),
    "big endian": ((3, 31, 20), {"dtype": np.float32, "byteorder": ">", "compression": "packbits"}),
    "8 bits": ((3, 31, 20), {"dtype": np.uint8}),
    "tiles": ((2, 31, 20), {"tile": (16, 16), "compression": "zlib"}),
    "colour": ((31, 20, 3), {"photometric": "rgb", "iccprofile": b"a profile"}),
    "colour, transparent": ((4, 31, 20, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "planes": ((2, 3, 31, 20), {"photometric": "rgb", "planarconfig": "separate"}),
    "a stack": ((2, 3, 31, 20), {"metadata": {"axes": "TZYX"}, "description": None}),
    "white is 0": ((2, 31, 20), {"photometric": "miniswhite"}),
    "ImageJ": ((2, 3, 31, 20), {"imagej": True, "metadata": {"axes": "ZCYX", "unit": "um", "Labels": ["a"] * 6}}),
    "ImageJ, colour": (
        (2, 31, 20, 3),
        {"imagej": True, "dtype": np.uint8, "photometric": "rgb", "metadata": {"axes": "ZYXS"}},
    ),
    "OME": ((2, 3, 31, 20), {"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.1}}),
    "described": ((2, 31, 20), {"metadata": None, "description": "a µm".encode(), "datetime": "2020:01:01 00:00:00"}),
    "tags": ((2, 31, 20), {"metadata": None, "extratags": [(65000, "d", 2, (0.5, 1.5), True)], "software": "mine"}),
}


@pytest.mark.parametrize("what", TIFFS)
def test_tiffs_come_out_as_they_were(what, tmp_path):
    shape, options = TIFFS[what]
    options = dict(options)
    array = values(*shape, dtype=options.pop("dtype", np.uint16))
    (tmp_path / "in").mkdir()
    options = {"photometric": "minisblack", "resolution": (30.5, (7, 3)), "resolutionunit": "CENTIMETER"} | options
    tifffile.imwrite(tmp_path / "in" / "a.tif", array, **options)
    run(tmp_path)
    before, after = (Tiff(tmp_path / folder / "a.tif", PLAIN).opened() for folder in ("in", "out"))
    with before as before, after as after:
        assert (before.byteorder, before.is_bigtiff, len(before.pages)) == (
            *(after.byteorder, after.is_bigtiff, len(after.pages)),
        )
        for old, new in zip(before.pages, after.pages, strict=True):
            tags = [{tag.code: tag.value for tag in page.tags} for page in (old, new)]
            for code in (273, 279, 324, 325):  # where the pixels are
                tags[0].pop(code, None), tags[1].pop(code, None)
            assert tags[0] == tags[1]
        kinds = [[(s.kind, s.axes, s.shape, s.dtype) for s in tiff.series] for tiff in (before, after)]
        assert kinds[0] == kinds[1]
        found = after.asarray()
    if what == "planes":
        array, found = np.moveaxis(array, 1, -1), np.moveaxis(found, 1, -1)
    one = what.startswith(("16", "32", "signed", "float", "double")) or what == "colour"
    pages = array if one else array.reshape(-1, *array.shape[-3 if array.shape[-1] <= 4 else -2 :])
    assert np.array_equal(found.reshape(pages.shape), expected(pages, not one)) and not np.array_equal(found, array)


def smooth(*shape, seed=0, high=30_000):
    """Waves of other places and colours in each page (..., H, W, C)."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[-3], : shape[-2]]
    place = draws.random((*shape[:-3], 1, 1, shape[-1]))
    waves = np.sin(rows[..., None] * place / 3 + 6 * place) * np.cos(columns[..., None] * place[..., ::-1] / 4)
    return (high * (0.5 + 0.4 * waves)).astype(np.uint8 if high < 256 else np.uint16)


def tags_of(path):
    """Of each page all that doesn't say where something is."""
    with tifffile.TiffFile(path) as tiff:
        places = {273, 279, 324, 325, 330, 34665, 34853}
        return [{tag.code: tag.value for tag in page.tags if tag.code not in places} for page in tiff.pages]


GEO = [
    (33550, "d", 3, (0.5, 0.5, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (65001, "B", 5, b"bytes", True),
    (42112, "s", 0, "<GDALMetadata/>", True),
]
PLAIN_TIFFS = {
    "one page": {"extratags": GEO, "software": "mine", "datetime": "2020:01:01 00:00:00"},
    "in tiles": {"tile": (16, 32), "compression": "lzw", "predictor": True},
    "in planes": {"photometric": "rgb", "planarconfig": "separate"},
    "white is 0": {"photometric": "miniswhite"},
    "ImageJ": {"imagej": True, "metadata": {"unit": "um", "spacing": 2.5}},
    "signed": {"dtype": np.int8},
    "12 bits": {"dtype": np.uint16, "bits": 12},
} | {f"{bits} bits": {"bits": bits} for bits in range(1, 8)}


@pytest.mark.parametrize("what", PLAIN_TIFFS)
def test_single_pages_are_as_whole(what, tmp_path):
    """Of 8 bits, as most are, and fewer."""
    options = {"photometric": "minisblack", "resolution": (3.5, 7), "resolutionunit": "CENTIMETER"} | PLAIN_TIFFS[what]
    dtype, bits = options.pop("dtype", np.uint8), options.pop("bits", 8)
    array = values(3, 41, 40) if options["photometric"] == "rgb" else values(41, 40)
    array = (array >> 7).astype(dtype) if bits == 8 else array >> (3 if bits == 12 else 15 - bits)
    array, options["bitspersample"] = array.astype(dtype), bits if bits not in (1, 8) else None
    array = array.astype(bool) if bits == 1 else array
    (tmp_path / "in").mkdir()
    try:
        tifffile.imwrite(tmp_path / "in" / "a.tif", array, **options)
    except NotImplementedError:
        pytest.skip("imagecodecs writes no integers of few bits in this version")
    run(tmp_path)
    assert tags_of(tmp_path / "out" / "a.tif") == tags_of(tmp_path / "in" / "a.tif")
    found = tifffile.imread(tmp_path / "out" / "a.tif")
    shown = np.moveaxis(array, 0, -1) if array.ndim > 2 else array
    most = 2**bits - 1
    if bits < 8:
        shown = expected(np.round(shown * (255 / most)).astype(np.uint8), False)
        wanted = np.round(shown / 255 * most)
    else:
        wanted = expected(shown, False)
        wanted = wanted.clip(max=most) if bits > 8 else wanted
    assert found.dtype == array.dtype and (found != array).any()
    assert np.array_equal(found, np.moveaxis(wanted, -1, 0) if array.ndim > 2 else wanted)


@pytest.mark.parametrize("high", [250, 30_000])
@pytest.mark.parametrize("separate", [False, True])
def test_channels_that_are_no_colours_are_pages(separate, high, tmp_path):
    """Two dyes; colours and infrared, with transparency and without; five of a satellite; three dyes written as
    tifffile does by default, which are told from colours by what they show."""
    dtype = np.uint8 if high < 256 else np.uint16
    photo = (smooth(48, 64, 1) * (high / 4e4) + smooth(48, 64, 3, seed=1) * (high / 4e5)).astype(dtype)
    dyes = smooth(48, 64, 6, high=high)
    kinds = {
        "two": (dyes[..., :2], "minisblack", None, [[0], [1]]),
        "five": (dyes[..., :5], "minisblack", None, [[0], [1], [2], [3], [4]]),
        "infrared": (np.concatenate([photo, dyes[..., :1]], 2), "rgb", ["unspecified"], [[0, 1, 2], [3]]),
        "clear": (np.concatenate([photo, dyes[..., :2]], 2), "rgb", ["unspecified", "unassalpha"], [[0, 1, 2, 4], [3]]),
        "photo": (photo, "rgb", None, [[0, 1, 2]]),
        "dyes": (dyes[..., :3], "rgb", None, [[0], [1], [2]] if separate else [[0, 1, 2]]),
        "four dyes": (dyes[..., :4], "rgb", None, [[0], [1], [2], [3]] if separate else [[0, 1, 2, 3]]),
    }
    (tmp_path / "in").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, (array, photometric, extra, groups) in kinds.items():
            path = tmp_path / "in" / f"{name}.tif"
            written = np.moveaxis(array, 2, 0) if separate else array
            planar = "separate" if separate else "contig"
            tifffile.imwrite(path, written, photometric=photometric, planarconfig=planar, extrasamples=extra)
            tiff = Tiff(path, PLAIN)
            with tiff.opened() as opened:
                assert tiff.groups(next(parts(opened))) == groups, name
            pages = [page if page.ndim > 2 else page[..., None] for page in tiff.pages()]
            assert tiff.count() == len(pages) == len(groups)
            for page, group in zip(pages, groups, strict=True):
                assert np.array_equal(page, array[..., group])
    said = [str(warning.message) for warning in caught]
    assert all("don't look like colours" in line for line in said) and len(said) == (2 if separate else 0)
    run(tmp_path)
    for name, (array, _, _, groups) in kinds.items():
        found = tifffile.imread(tmp_path / "out" / f"{name}.tif")
        found = np.moveaxis(found, 0, 2) if separate else found
        for group in groups:
            assert np.array_equal(found[..., group].squeeze(), expected(array[..., group].squeeze(), False)), name
        assert tags_of(tmp_path / "out" / f"{name}.tif") == tags_of(tmp_path / "in" / f"{name}.tif")


@pytest.mark.parametrize("inside", [True, False])
def test_smaller_copies_are_made_anew(inside, tmp_path):
    """As OME has them, inside of a page, and as GDAL has them, behind it, with a mask."""
    array, options = values(2, 64, 96), {"photometric": "minisblack", "metadata": None, "tile": (16, 16)}
    mask = np.arange(64 * 96).reshape(64, 96) % 5 > 1
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in" / "a.tif") as writer:
        for page in array:
            writer.write(page, subifds=2 * inside, **options)
            for step in (2, 4):
                writer.write(page[::step, ::step], subfiletype=1, compression="zlib", **options)
            if not inside:
                writer.write(mask, subfiletype=4, photometric="mask", metadata=None)
    run(tmp_path)
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as tiff:
        pages = list(tiff.pages) if not inside else [p for page in tiff.pages for p in (page, *page.pages)]
        assert [page.shape for page in pages] == [(64, 96), (32, 48), (16, 24), *([(64, 96)] * (not inside))] * 2
        assert all(page.aspage().is_tiled for page in pages[:3])
        found = [page.asarray() for page in pages]
    for start, page in zip((0, len(pages) // 2), expected(array), strict=True):
        assert np.array_equal(found[start], page)
        for i, step in ((1, 2), (2, 4)):
            mean = page.reshape(64 // step, step, 96 // step, step).mean((1, 3))
            assert np.abs(found[start + i] - mean).max() <= 0.5
        assert inside or np.array_equal(found[start + 3], mask)


PAGES = [
    (values(31, 20), {"photometric": "minisblack", "extratags": GEO}),
    (values(30, 20), {"photometric": "minisblack", "compression": "zlib", "predictor": True, "software": "mine"}),
    (values(16, 20), {"photometric": "minisblack", "subfiletype": 1}),  # of other sides than what it follows
    (values(24, 40, 3, dtype=np.uint8), {"photometric": "rgb", "tile": (16, 16), "resolution": (7, 30.5)}),
    (values(24, 40).astype(np.float32), {"photometric": "minisblack", "description": "floats"}),
    (values(48, 40, 2), {"photometric": "minisblack", "planarconfig": "contig"}),
]


def pages_written(path, pages):
    path.parent.mkdir()
    with tifffile.TiffWriter(path) as writer:
        for array, options in pages:
            writer.write(array, metadata=None, **options)


def test_pages_of_any_sizes_and_kinds_are_denoised_each_by_itself(tmp_path):
    pages_written(tmp_path / "in" / "a.tif", PAGES)
    run(tmp_path, "--compare")
    assert tags_of(tmp_path / "out" / "a.tif") == tags_of(tmp_path / "in" / "a.tif")
    found, both = (
        [p.asarray() for p in tifffile.TiffFile(tmp_path / "out" / f"a{end}.tif").pages] for end in ("", "-compare")
    )
    for (array, _), page, compared in zip(PAGES, found, both, strict=True):
        colours = array.shape[-1] == 3
        channels = [array] if array.ndim == 2 or colours else np.moveaxis(array, 2, 0)
        wanted = np.stack([expected(one, False) for one in channels], -1).reshape(array.shape)
        assert np.array_equal(page, wanted) and (page != array).any()
        assert np.array_equal(compared, np.concatenate([array, page], 1))


def test_of_a_slide_the_smaller_sizes_are_made_anew_and_the_label_is_its_own(tmp_path):
    """As Aperio's scanners write it: the smaller sizes aren't marked, and the label and the glass are."""
    array, text = smooth(96, 128, 3, high=250), "Aperio Image Library v11.2.1\r\n"
    label, glass = smooth(40, 32, 3, seed=1, high=250), smooth(32, 64, 3, seed=2, high=250)
    tiles, strips = {"tile": (16, 16), "compression": "jpeg"}, {"rowsperstrip": 16, "compression": "jpeg"}
    slide = [(array, tiles), (array[::8, ::8], strips), (array[::2, ::2], tiles), (array[::4, ::4], tiles)]
    slide += [(label, {"subfiletype": 1, "compression": "lzw"}), (glass, {"subfiletype": 9})]
    pages_written(
        tmp_path / "in" / "a.svs", [(page, {"photometric": "rgb", "description": text, **kind}) for page, kind in slide]
    )
    run(tmp_path)
    with tifffile.TiffFile(tmp_path / "in" / "a.svs") as before, tifffile.TiffFile(tmp_path / "out" / "a.svs") as after:
        names = [[(s.name, [level.shape for level in s.levels]) for s in tiff.series] for tiff in (before, after)]
        assert names[0] == names[1] and [name for name, _ in names[0]] == ["Baseline", "Thumbnail", "Label", "Macro"]
        large, *smaller, its_label, its_glass = [page.asarray() for page in after.pages]
        assert np.array_equal(large, expected(before.pages[0].asarray(), False))
    for page, step in zip(smaller, (8, 2, 4), strict=True):
        mean = large.reshape(96 // step, step, 128 // step, step, 3).mean((1, 3))
        assert np.abs(page - mean).max() <= 0.5
    assert np.array_equal(its_label, expected(label, False)) and np.array_equal(its_glass, expected(glass, False))


def test_smaller_copies_of_nobody_knows_what_are_pages(tmp_path):
    """Of two channels, all of one size and then all of the next; masks stay."""
    arrays, mask = values(2, 64, 96), values(32, 48) > 9
    grey, smaller = {"photometric": "minisblack"}, {"photometric": "minisblack", "subfiletype": 1}
    pages = [(array, grey) for array in arrays] + [(array[::2, ::2], smaller) for array in arrays]
    pages.append((mask, {"photometric": "mask", "subfiletype": 4}))
    pages_written(tmp_path / "in" / "a.tif", pages)
    run(tmp_path)
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as tiff:
        found = [page.asarray() for page in tiff.pages]
    for (array, _), page in zip(pages[:-1], found, strict=False):
        assert np.array_equal(page, expected(array, False))
    assert np.array_equal(found[-1], mask) and len(found) == len(pages)


def test_pages_that_were_never_taken_are_named(tmp_path, capsys):
    """Of five frames three are there, of which one is empty."""
    array = values(5, 31, 20)
    tifffile.imwrite(tmp_path / "whole.tif", array, ome=True, photometric="minisblack", metadata={"axes": "TYX"})
    with tifffile.TiffFile(tmp_path / "whole.tif") as tiff:
        text = tiff.pages[0].description
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in" / "a.tif") as writer:
        for i in range(3):
            options = {"photometric": "minisblack", "metadata": None, "compression": "zlib", "rowsperstrip": 31}
            writer.write(array[i], description=text if not i else None, **options)
    with tifffile.TiffFile(tmp_path / "in" / "a.tif", mode="r+b") as tiff:
        for code in (273, 279):
            tiff.pages[1].aspage().tags[code].overwrite([0])
    run(tmp_path)
    assert "a.tif: 3 of its 5 pages are missing, as after a stop: they are left as they are" in capsys.readouterr().err
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as tiff:
        assert tiff.pages[0].description == text
        found = [page.asarray() for page in tiff.pages]
    wanted = expected(array)
    assert np.array_equal(found, [wanted[0], 0 * wanted[1], wanted[2]])


def test_no_data_stay(tmp_path):
    array = smooth(48, 64, 1)[..., 0].astype(np.float32)
    array[:, :20] = -9999
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", array, extratags=[(42113, "s", 0, "-9999", True)])
    run(tmp_path)
    found = tifffile.imread(tmp_path / "out" / "a.tif")
    assert (found[:, :20] == -9999).all() and (found[:, 20:] != array[:, 20:]).any() and found[:, 20:].min() > -9999
    colours = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    colours[5, 6], colours[7, 8] = 9, (9, 9, 1)  # of which the second is a colour
    tifffile.imwrite(tmp_path / "b.tif", colours, extratags=[(42113, "s", 0, "9", True)])
    picture = Tiff(tmp_path / "b.tif", PLAIN)
    (page,) = picture.pages()
    assert np.argwhere(picture.missing(page)).tolist() == [[5, 6]]


@pytest.mark.parametrize(
    "mode, big", [("RGB", False), ("RGB", True), ("I;16B", False)]
)  # that has its high bytes first
def test_a_cameras_data_stay(mode, big, tmp_path):
    """EXIF's directories, as Pillow writes and reads them."""
    exif, path = Image.Exif(), tmp_path / "in" / "a.tif"
    exif[0x010F], exif[0x0112] = "a camera", 6  # to be turned, as it stays
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: bytes(range(99)), 0x829A: 0.01}
    exif[0x8825] = {1: "N", 2: (46.0, 31.0, 0.25)}
    path.parent.mkdir()
    image = Image.fromarray(smooth(31, 20, 3, high=250))
    image = image if mode == "RGB" else Image.frombytes(mode, (20, 31), values(31, 20).tobytes())
    image.save(path, exif=exif.tobytes(), big_tiff=big)

    def found(path):
        with Image.open(path) as image:
            exif = image.getexif()
            return exif[0x010F], exif[0x0112], image.size, [dict(exif.get_ifd(tag)) for tag in (0x8769, 0x8825)]

    run(tmp_path)
    before, after = (found(tmp_path / folder / "a.tif") for folder in ("in", "out"))
    assert before == after and all(after[3]) and after[3][0][0x927C] == bytes(range(99))


def test_colours_by_number_come_out_as_colours(tmp_path):
    image = Image.fromarray(smooth(31, 20, 3, high=250)).quantize(16)
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.tif", compression="tiff_lzw")
    run(tmp_path)
    with Image.open(tmp_path / "out" / "a.tif") as after:
        assert after.mode == "RGB" and after.info["compression"] == "tiff_lzw"
        assert np.array_equal(np.asarray(after), expected(np.asarray(image.convert("RGB")), False))


def test_the_pages_of_a_tiff_are_compared(tmp_path):
    array = values(3, 31, 20)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", array, imagej=True, photometric="minisblack")
    run(tmp_path, "--compare")
    both = tifffile.imread(tmp_path / "out" / "a-compare.tif")
    assert np.array_equal(both, np.concatenate([array, expected(array)], 2))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_deep_pngs(channels, tmp_path):
    array = values(31, 20, channels).squeeze()
    (tmp_path / "in").mkdir()
    content = imagecodecs.png_encode(array)
    text = b"tEXtTitle\0mine"
    chunk = struct.pack(">L", len(text) - 4) + text + struct.pack(">L", zlib.crc32(text))
    (tmp_path / "in" / "a.png").write_bytes(content[:33] + chunk + content[33:])
    run(tmp_path, "--compare")
    path = tmp_path / "out" / "a.png"
    found = imagecodecs.png_decode(path.read_bytes())
    assert found.dtype == np.uint16 and np.array_equal(found, expected(array, False))
    both = imagecodecs.png_decode((tmp_path / "out" / "a-compare.png").read_bytes())
    assert np.array_equal(both, np.concatenate([array, found], 1))
    with Image.open(path) as image:
        assert image.text == {"Title": "mine"} and image.size == (20, 31)


@pytest.mark.parametrize(
    "shape", [(31, 20), (31, 20, 3), (5, 31, 20), (2, 3, 31, 20), (2, 31, 20, 4), (2, 3, 31, 20, 1)]
)
@pytest.mark.parametrize("dtype, order", [("uint8", "C"), (">f8", "C"), ("int32", "F")])
def test_arrays(shape, dtype, order, tmp_path):
    array = np.asarray(values(*shape, dtype=np.float64) / 200, dtype, order)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", array)
    run(tmp_path, "--compare")
    found, both = (np.load(tmp_path / "out" / name) for name in ("a.npy", "a-compare.npy"))
    assert found.dtype == array.dtype and found.shape == array.shape
    axes = 3 if len(shape) > 2 and shape[-1] <= 4 else 2
    pages = expected(array.reshape(-1, *shape[-axes:]))
    assert np.array_equal(found, pages.reshape(shape)) and np.array_equal(
        both, np.concatenate([array, found], -axes + 1)
    )


@pytest.mark.parametrize("channels", [2, 6, 40])
def test_channels_of_arrays_are_pages(channels, tmp_path):
    array = values(2, 31, 20, channels)
    np.save(tmp_path / "a.npy", array)
    picture = Npy(tmp_path / "a.npy", Options(channels=True))
    pages = list(picture.pages())
    assert picture.count() == len(pages) == 2 * channels
    assert np.array_equal(np.stack(pages), np.moveaxis(array, -1, 1).reshape(-1, 31, 20))
    picture.write(picture.pages(), tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "b.npy"), array)


def test_archives_keep_what_is_no_picture(tmp_path):
    """Names, places, masks and objects, which nobody unpickles, byte for byte; two stacks are denoised."""
    arrays = {"names": np.array(["a", "b"]), "places": values(99, 2), "mask": values(31, 20) > 9}
    arrays |= {"objects": np.array([{}, print]), "stack": values(2, 31, 20), "float": values(31, 20, 3).astype(">f4")}
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", **arrays)
    run(tmp_path)
    with zipfile.ZipFile(tmp_path / "in" / "a.npz") as before, zipfile.ZipFile(tmp_path / "out" / "a.npz") as after:
        assert before.namelist() == after.namelist()
        for name in before.namelist():
            assert (before.read(name) == after.read(name)) == (name not in ("stack.npy", "float.npy"))
    found = np.load(tmp_path / "out" / "a.npz")
    assert np.array_equal(found["stack"], expected(arrays["stack"])) and found["float"].dtype == ">f4"
    assert np.array_equal(found["float"], expected(arrays["float"], False))


def places(path):
    np.savez(path, places=values(99, 2))


def half(path):
    np.savez(path, a=values(99, 99))
    path.write_bytes(path.read_bytes()[:9000])


def promising(path):
    """An array whose header says that it is larger than what is there."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (2**20, 2**20)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", file.getvalue() + bytes(10**6))


def test_floats_for_integers(tmp_path, capsys):
    """Unrounded; a PNG takes none, and of complex numbers half would be lost."""
    array = values(2, 31, 20)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", array)
    tifffile.imwrite(tmp_path / "in" / "b.tif", array, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    (tmp_path / "in" / "c.png").write_bytes(imagecodecs.png_encode(array[0]))
    np.save(tmp_path / "in" / "d.npy", array + 1j)
    printed = refused(capsys, lambda: run(tmp_path, "--dtype", "float32"), 1)
    wanted = "c.png: would hold no floats: leave --dtype float32 out, or save it first as one of Npy"
    assert wanted in printed and "2 of 4" in printed
    assert "d.npy: expected an array of real numbers, got complex128" in printed
    wanted = expected(array.astype(float)).astype("float32")
    with tifffile.TiffFile(tmp_path / "out" / "b.tif") as tiff:
        assert 'Type="float"' in tiff.ome_metadata and tiff.series[0].dtype == np.float32
        found = tiff.asarray()
    assert np.array_equal(found, wanted) and np.array_equal(np.load(tmp_path / "out" / "a.npy"), wanted)
    assert (wanted % 1).any()


def damaged(path):
    tifffile.imwrite(path, values(3, 31, 20), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[place : place + 40] = b"x" * 40
    path.write_bytes(content)


def cut(path):
    """The second page says that the third is somewhere behind the file's end."""
    tifffile.imwrite(path, values(3, 31, 20), photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[1].offset
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, place)
    struct.pack_into("<L", content, place + 2 + 12 * tags, 10**8)
    path.write_bytes(content)


def rows(path):
    """What tifffile writes of ImageJ's colours of 16 bits."""
    tifffile.imwrite(path, values(31, 20, 3), imagej=True)


def odd_sizes(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(values(32, 20), subifds=1)
        writer.write(values(16, 10).astype(np.uint8), subfiletype=1)


def promise(path):
    """A page of a terabyte."""
    tifffile.imwrite(path, values(31, 20), photometric="minisblack", compression="zlib", rowsperstrip=31)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[256].overwrite(2**20, dtype="I")
        tiff.pages[0].tags[257].overwrite(2**19, dtype="I")
        tiff.pages[0].tags[278].overwrite(2**19, dtype="I")


BAD = {
    "damaged.tif": (damaged, "page 2 is damaged"),
    "cut.tif": (cut, "page 3 is damaged"),
    "rows.tif": (rows, "as tifffile makes of ImageJ's colours of 16 bits"),
    "stopped.tif": (lambda path: path.write_bytes(b"II*" + bytes(5)), "holds no page"),
    "odd sizes.tif": (odd_sizes, "page 1 is there in several sizes, of which one is of another kind"),
    "promise.tif": (promise, "page 1 is damaged: its pixels are not all there"),
    "short.tif": (lambda path: (cut(path), path.write_bytes(path.read_bytes()[:2000])), "page 2 is damaged"),
    "complex.tif": (lambda path: tifffile.imwrite(path, values(31, 20).astype(complex)), "got complex128"),
    "long.tif": (lambda path: tifffile.imwrite(path, values(31, 20).astype(np.int64) << 40), "in int64"),
    "cmyk.tif": (
        lambda path: tifffile.imwrite(path, values(31, 20, 4), photometric="separated"),
        "page 1 has the colours CMYK",
    ),
    "complex.npy": (lambda path: np.save(path, values(31, 20).astype(complex)), "got complex128"),
    "long.npy": (lambda path: np.save(path, values(31, 20).astype(np.int64) << 40), "in int64"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "holds no numbers"),
    "five.npy": (
        lambda path: np.save(path, values(31, 20, 5)),
        "holds an array (31, 20, 5): expected up to 4 channels",
    ),
    "cut.png": (lambda path: path.write_bytes(imagecodecs.png_encode(values(31, 20))[:200]), "is a damaged PNG"),
    "one axis.npy": (lambda path: np.save(path, values(31)), "holds an array (31,)"),
    "cut.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\0v\0{'descr'"), "damaged .npy"),
    "places.npz": (places, "holds no array (..., H, W)"),
    "half.npz": (half, "is a damaged .npz"),
    "promising.npz": (promising, "its array a is damaged"),
    "text.npz": (lambda path: path.write_text("no archive"), "no picture of the kinds"),
    "text.npy": (lambda path: path.write_text("no array"), "no picture of the kinds"),
}


def test_bad_files_are_named_and_leave_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tifffile"), "handlers", [logging.StreamHandler(sys.stderr)])
    (tmp_path / "in").mkdir()
    for name, (write, _) in BAD.items():
        write(tmp_path / "in" / name)
    np.save(tmp_path / "in" / "good.npy", values(31, 20))
    printed = refused(capsys, lambda: run(tmp_path), 1)
    lines = dict(line.removeprefix(f"{tmp_path}/in/").split(": ", 1) for line in printed.splitlines()[1:])
    assert lines.keys() == BAD.keys() and os.listdir(tmp_path / "out") == ["good.npy"]
    for name, (_, message) in BAD.items():
        assert message in lines[name]

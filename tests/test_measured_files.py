"""Files of measured pictures: what comes out has the dtype, shape, axes, compression, resolution and description that
went in. And each that can't be denoised so is named in a line, with nothing half-written."""

import logging
import os
import struct
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising
from Proj_Miniproject2.others.formats import PLAIN
from Proj_Miniproject2.others.formats.tiff import Tiff

from .test_denoise import refused
from .test_measured import Darkening


@pytest.fixture(scope="module", autouse=True)
def darkening():
    """A network that is quick, and does something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Darkening, "VIEWS", 1)
        model = Darkening()
        patch.setattr(denoising, "trained", lambda network, path=None: model)
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


def sizes(path):
    with tifffile.TiffWriter(path) as writer:
        for height in (31, 31, 30):
            writer.write(values(height, 20), metadata=None)


def pyramid(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(values(32, 20), subifds=1)
        writer.write(values(16, 10), subfiletype=1)


BAD = {
    "damaged.tif": (damaged, "page 2 is damaged"),
    "cut.tif": (cut, "page 3 is damaged"),
    "sizes.tif": (sizes, "page 3 has the shape (30, 20) and uint16, but page 1 (31, 20)"),
    "pyramid.tif": (pyramid, "page 1 is there in several sizes"),
    "five.tif": (lambda path: tifffile.imwrite(path, values(31, 20, 5), photometric="rgb"), "page 1 has 5 channels"),
    "complex.tif": (lambda path: tifffile.imwrite(path, values(31, 20).astype(complex)), "got complex128"),
    "long.tif": (lambda path: tifffile.imwrite(path, values(31, 20).astype(np.int64)), "got int64"),
    "bits.tif": (lambda path: tifffile.imwrite(path, values(2, 31, 20) > 9, photometric="minisblack"), "got bool"),
    "cmyk.tif": (
        lambda path: tifffile.imwrite(path, values(31, 20, 4), photometric="separated"),
        "page 1 has the colours SEPARATED",
    ),
    "complex.npy": (lambda path: np.save(path, values(31, 20).astype(complex)), "got complex128"),
    "long.npy": (lambda path: np.save(path, values(31, 20).astype(np.int64)), "got int64"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "holds no numbers"),
    "five.npy": (
        lambda path: np.save(path, values(31, 20, 5)),
        "holds an array (31, 20, 5): expected up to 4 channels",
    ),
    "cut.png": (lambda path: path.write_bytes(imagecodecs.png_encode(values(31, 20))[:200]), "is a damaged PNG"),
    "one axis.npy": (lambda path: np.save(path, values(31)), "holds an array (31,)"),
    "cut.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\0v\0{'descr'"), "damaged .npy"),
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

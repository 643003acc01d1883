"""Every format is asked the same: does what came in come out, page by page, and is what can't named and harmless?

Who adds a format adds entries to EXAMPLES, files that the format's own library writes and reads, and to REFUSED.
"""

import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from Proj_Miniproject2.others.formats.files import whole_path
from Proj_Miniproject2.others.formats.npy import Npy
from Proj_Miniproject2.others.formats.opening import FORMATS, ending_of, is_picture, open_picture
from Proj_Miniproject2.others.formats.pictures import Picture
from Proj_Miniproject2.others.formats.png import Png
from Proj_Miniproject2.others.formats.tiff import Tiff


class Example(NamedTuple):
    """How one writes and reads a kind of file without us."""

    kind: type  # the format whose it is
    ending: str
    write: Callable  # (path, array): a file of an array (P, H, W) or (P, H, W, C), P pages; without P if `pages` is off
    read: Callable  # path: the array, of the dtype and byte order in the file
    dtypes: tuple = ("uint8",)
    pages: bool = False
    channels: tuple = (0,)  # those that it may have; 0 for (H, W)
    about: Callable = lambda path: None  # path: what else is in the file, and must stay
    exact: bool = True  # whether the file loses nothing
    floats: bool = False  # whether it takes float32 for its own dtype


def read_tiff(path):
    with tifffile.TiffFile(path) as tiff:
        pages = [page.asarray() for page in tiff.pages]
        return np.stack(pages).astype(tiff.byteorder + pages[0].dtype.str[1:])


def write_tiff(path, array, **options):
    colours = array.ndim > 3
    options = {"photometric": "rgb" if colours else "minisblack", "resolution": (30.5, 7), "metadata": None} | options
    byteorder = {"<": "<", ">": ">"}.get(array.dtype.byteorder)
    tifffile.imwrite(path, array, byteorder=byteorder, software="mine", **options)


def about_tiff(path):
    with tifffile.TiffFile(path) as tiff:
        places = {273, 279, 324, 325}
        return tiff.is_bigtiff, [{tag.code: tag.value for tag in p.tags if tag.code not in places} for p in tiff.pages]


def write_pillow(path, array, **options):
    Image.fromarray(array).save(path, dpi=(300, 300), icc_profile=b"a profile", **options)


def read_pillow(path):
    with Image.open(path) as image:
        return np.asarray(image)


def about_pillow(path):
    with Image.open(path) as image:
        return image.format, {key: image.info.get(key) for key in ("icc_profile", "compression")}


EXAMPLES = {
    "npy": Example(
        Npy, ".npy", np.save, np.load, ("uint8", "<u2", ">u2", "<i4", ">f8", "float16"), True, (0, 1, 2, 3, 4),
        floats=True,
    ),
    "png of 16 bits": Example(
        Png, ".png", lambda path, array: path.write_bytes(imagecodecs.png_encode(array)),
        lambda path: imagecodecs.png_decode(path.read_bytes()), ("uint16",), False, (0, 2, 3, 4),
    ),
    "tiff": Example(
        Tiff, ".tif", write_tiff, read_tiff, ("<u2", ">u2", "<i2", ">i4", ">f4", "<f8"), True, (0, 3),
        about_tiff, floats=True,
    ),
    "tiff in tiles": Example(
        Tiff, ".tif", lambda path, array: write_tiff(path, array, tile=(16, 16), compression="zlib", predictor=True),
        read_tiff, ("<u2", ">f4"), True, (0,), about_tiff, floats=True,
    ),
    "png": Example(Picture, ".png", write_pillow, read_pillow, channels=(0, 2, 3, 4), about=about_pillow),
    "webp": Example(
        Picture, ".webp", lambda path, array: write_pillow(path, array, lossless=True), read_pillow, channels=(3,),
        about=about_pillow,
    ),
    "jpeg": Example(Picture, ".jpg", write_pillow, read_pillow, channels=(0, 3), about=about_pillow, exact=False),
}  # fmt: skip


def array_of(example, dtype=None, channels=None, pages=3, height=21, width=34, seed=0):
    """Smooth, as a JPEG's picture is, with all pages different."""
    dtype = np.dtype(dtype or example.dtypes[0])
    channels = example.channels[0] if channels is None else channels
    rows, columns = np.mgrid[:height, :width]
    place = np.random.default_rng(seed).random((pages, 1, 1, max(1, channels)))
    waves = 0.5 + 0.4 * np.sin(rows[..., None] / 5 + 6 * place) * np.cos(columns[..., None] / 7)
    array = (waves * (200 if dtype.itemsize == 1 else 30_000)).astype(dtype)
    array = array if channels else array[..., 0]
    return array if example.pages else array[0]


def drawn(data, example):
    """An array as the format may have, of any dtype and channels."""
    return array_of(
        example,
        data.draw(st.sampled_from(example.dtypes)),
        data.draw(st.sampled_from(example.channels)),
        data.draw(st.integers(1, 4)),
        data.draw(st.integers(16, 40)),
        data.draw(st.integers(17, 40)),
        data.draw(st.integers(0, 99)),
    )


def pages_of(array, example):
    return list(array) if example.pages else [array]


def contents(path):
    """A file's, or those of all files in a folder."""
    return {p: p.read_bytes() for p in ([path] if path.is_file() else sorted(path.rglob("*"))) if p.is_file()}


every = pytest.mark.parametrize("name", EXAMPLES)


@every
@settings(max_examples=15)
@given(data=st.data())
def test_what_came_in_comes_out(name, tmp_path, data):
    """Pages, dtype and the order of its bytes, shape, and what else is in the file; the file that came stays."""
    example = EXAMPLES[name]
    array = drawn(data, example)
    path, new = (tmp_path / place / f"a{example.ending}" for place in ("in", "out"))
    for folder in (path.parent, new.parent):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    example.write(path, array)
    before, stored = contents(path), example.read(path)
    picture = open_picture(path)
    assert type(picture) is example.kind and is_picture(path)
    pages = list(picture.pages())
    assert picture.count() == len(pages) == len(pages_of(array, example))
    for page, other, again in zip(pages, pages_of(stored, example), picture.pages(), strict=True):
        assert page.shape == other.shape and page.dtype.newbyteorder("=") == stored.dtype.newbyteorder("=")
        assert np.array_equal(page, other) and np.array_equal(page, again)
        missing = picture.missing(page)
        assert missing is None or (missing.shape == page.shape[:2] and missing.dtype == bool)
    picture.write(picture.pages(), new)
    found = example.read(new)
    assert found.dtype == stored.dtype and found.shape == stored.shape and example.about(new) == example.about(path)
    assert np.array_equal(found, stored) if example.exact else np.abs(found.astype(int) - stored).mean() < 3
    assert contents(path) == before


@every
def test_two_pages_side_by_side(name, tmp_path):
    example = EXAMPLES[name]
    array = array_of(example)
    path, new = tmp_path / f"a{example.ending}", tmp_path / f"b{example.ending}"
    example.write(path, array)
    picture = open_picture(path)
    picture.write((np.concatenate([page, page[::-1]], 1) for page in picture.pages()), new, twice=True)
    axis = 2 if example.pages else 1
    both, stored = example.read(new), example.read(path)
    expected = np.concatenate([stored, np.flip(stored, axis - 1)], axis)
    assert both.shape == expected.shape and (np.array_equal(both, expected) or not example.exact)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.floats])
def test_floats_in_place_of_its_own(name, tmp_path):
    example = EXAMPLES[name]
    path, new = tmp_path / f"a{example.ending}", tmp_path / f"b{example.ending}"
    for dtype in example.dtypes:
        example.write(path, array_of(example, dtype))
        picture = open_picture(path)
        picture.write((page.astype("float32") + 0.25 for page in picture.pages()), new, dtype="float32")
        found, expected = example.read(new), example.read(path).astype("float32") + 0.25
        assert found.dtype.newbyteorder("=") == np.float32 and np.array_equal(found, expected)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.pages])
def test_a_few_pages_are_in_memory_at_a_time(name, tmp_path):
    example, pages = EXAMPLES[name], 40
    array = array_of(example, pages=pages, height=128, width=128)
    path, new = tmp_path / f"a{example.ending}", tmp_path / f"b{example.ending}"
    example.write(path, array)
    picture = open_picture(path)
    picture.write(picture.pages(), new)  # with all that is imported
    shutil.rmtree(new) if new.is_dir() else new.unlink()
    tracemalloc.start()
    try:
        picture.write((page.copy() for page in picture.pages()), new)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes / 3


@every
def test_a_stop_in_the_middle_leaves_what_was_there(name, tmp_path):
    example = EXAMPLES[name]
    path, out = tmp_path / f"a{example.ending}", tmp_path / "out" / f"a{example.ending}"
    out.parent.mkdir()
    example.write(path, array_of(example))
    example.write(out, array_of(example, seed=1))
    before, picture = contents(tmp_path), open_picture(path)

    def pages():
        yield from list(picture.pages())[:-1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), whole_path(out) as new:
        picture.write(pages(), new)
    assert contents(tmp_path) == before
    with whole_path(out) as new:
        picture.write(picture.pages(), new)
    assert np.array_equal(example.read(out), example.read(path)) or not example.exact
    assert contents(path).items() <= before.items() and len(contents(tmp_path)) == len(before)


@every
def test_damaged_files_are_said_to_be(name, tmp_path):
    """Cut anywhere, or with any of their bytes changed: an error of ours, if any, and no more memory than twenty
    files."""
    example, draws = EXAMPLES[name], random.Random(0)
    path, bad = tmp_path / f"a{example.ending}", tmp_path / "b" / f"a{example.ending}"
    example.write(path, array_of(example, height=64, width=64))
    bad.parent.mkdir()
    if path.is_dir():
        pytest.skip("a folder: its files are damaged one by one in tests of their own")
    content, failed = path.read_bytes(), 0
    for i in range(60):
        broken = bytearray(content)
        if i % 2:
            del broken[draws.randrange(len(content) if i % 4 == 1 else 300) :]
        else:
            for _ in range(draws.choice((1, 3, 30))):
                broken[draws.randrange(len(content) if i % 4 == 0 else 300)] = draws.randrange(256)
        bad.write_bytes(broken)
        try:
            for page in open_picture(bad).pages():
                assert page.ndim in (2, 3)
        except (ValueError, OSError, SyntaxError) as error:  # the last is Pillow's
            failed += 1
            assert str(error)
    assert failed > 15


def test_each_format_has_an_example():
    assert {example.kind for example in EXAMPLES.values()} == set(FORMATS)


def test_endings():
    for path, ending in {"a.tif": ".tif", "a.b.NPY": ".NPY", "a": "", "a.odd": ".odd", ".npy": ""}.items():
        assert ending_of(Path(path)) == ending


def test_a_picture_without_an_ending_is_one(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 20)))
    (tmp_path / "a.npy").rename(tmp_path / "picture")
    (tmp_path / "LICENSE").write_text("Permission is hereby granted")
    (tmp_path / "notes.txt").write_bytes((tmp_path / "picture").read_bytes())
    assert {path.name for path in tmp_path.iterdir() if is_picture(path)} == {"picture"}

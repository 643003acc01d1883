"""FITS: what astropy writes comes out with the same numbers in its headers, and all that is no picture bit for bit."""

import gzip
import tracemalloc
from pathlib import Path

import astropy.io.fits.tests
import numpy as np
import pytest
from astropy.io import fits

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import denoising, weights
from Proj_Miniproject2.others.formats import streams
from Proj_Miniproject2.others.formats.opening import open_picture

from .test_measured import Darkening

OWN = Path(astropy.io.fits.tests.__file__).parent / "data"


def values(*shape, dtype="f8", seed=0):
    return (np.random.default_rng(seed).normal(200, 30, shape)).astype(dtype)


def stored(path, number):
    """The numbers as they stand in a file."""
    with fits.open(path, do_not_scale_image_data=True, memmap=False, checksum=True) as file:
        return file[number].data.copy(), file[number].header.copy()


def pieces(path):
    """(header, data) of each HDU: bytes."""
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as file:
        places = [file.fileinfo(number) for number in range(len(file))]
    return [(content[p["hdrLoc"] : p["datLoc"]], content[p["datLoc"] : p["datLoc"] + p["datSpan"]]) for p in places]


def write_scaled(path, first, words, compressed):
    """A second HDU of integers with a scale, in which 7 is blank, as astropy writes none itself."""
    fits.HDUList([first, (fits.CompImageHDU if compressed else fits.ImageHDU)(words)]).writeto(path)
    with fits.open(path, disable_image_compression=True) as file:
        for key, value in {"BSCALE": 0.25, "BZERO": -3.5, "BLANK": 7}.items():
            file[1].header[key] = value
        content, place = file[1].header.tostring().encode(), file.fileinfo(1)["hdrLoc"]
    path.write_bytes(path.read_bytes()[:place] + content + pieces(path)[1][1])


@pytest.mark.parametrize(
    "dtype, compressed",
    [("u1", False), ("i2", False), ("i4", False), ("i8", False), ("u1", True), ("i2", True), ("i4", True)],
)
def test_scaled_integers_stay_so(dtype, compressed, tmp_path, monkeypatch):
    """BITPIX, BSCALE, BZERO and BLANK; blanks are no measurement, and stay."""
    words = values(2, 31, 20, dtype=dtype)
    words[0, 3:5] = words[1, 0, 0] = 7
    path, out = tmp_path / "a.fits", tmp_path / "out" / "a.fits"
    write_scaled(path, fits.PrimaryHDU(), words, compressed)
    picture = open_picture(path)
    monkeypatch.setattr(weights, "trained", lambda network, path=None: Darkening())
    main(["denoise", str(path), "--out", str(out.parent)])
    (before, old), (after, new) = stored(path, 1), stored(out, 1)
    assert np.array_equal(before, words) and after.dtype == before.dtype
    assert {key: new[key] for key in ("BITPIX", "BSCALE", "BZERO", "BLANK")} == {
        key: old[key] for key in ("BITPIX", "BSCALE", "BZERO", "BLANK")
    }
    assert np.array_equal(after[before == 7], before[before == 7]) and (after != before).mean() > 0.9
    assert all(np.isnan(page).sum() == (word == 7).sum() for page, word in zip(picture.pages(), words, strict=True))
    assert "denoised" in str(new["HISTORY"])
    picture.write((page + 0.75 for page in picture.pages()), out)
    assert np.array_equal(stored(out, 1)[0], np.where(words == 7, 7, (words + 1.0).clip(max=np.iinfo(dtype).max)))


@pytest.mark.parametrize("compressed", [False, True])
def test_floats_are_what_the_integers_stand_for(compressed, tmp_path, monkeypatch):
    """Of unsigned ones and of scaled ones with blanks, by the command, beside what came."""
    monkeypatch.setattr(Darkening, "VIEWS", 1)
    monkeypatch.setattr(weights, "trained", lambda network, path=None: Darkening())
    words, path, out = values(24, 32, dtype="i2"), tmp_path / "a.fits", tmp_path / "out"
    words[3, 4:9] = 7
    write_scaled(path, fits.PrimaryHDU(40_000 + values(24, 32, dtype="u2", seed=1)), words, compressed)
    with fits.open(path) as file:
        before = [hdu.data.astype(float) for hdu in file]
    assert np.nanmin(before[1]) < 30 and np.isnan(before[1]).sum() == 5 and before[0].min() > 40_000
    main(["denoise", str(path), "--out", str(out), "--dtype", "float32", "--compare"])
    with fits.open(out / "a.fits") as file:
        after = [hdu.data for hdu in file]
        assert [hdu.header["BITPIX"] for hdu in file] == [-32, -32]
        assert all(not {"BSCALE", "BZERO", "BLANK"} & {*hdu.header} for hdu in file)
        assert all("without BSCALE, BZERO, BLANK" in str(hdu.header["HISTORY"]) for hdu in file)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, denoising.denoise(one), rtol=1e-6)
        assert (other != one).any()
    with fits.open(out / "a-compare.fits") as file:
        for one, other, both in zip(before, after, file, strict=True):
            np.testing.assert_allclose(both.data, np.concatenate([one, other], 1), rtol=1e-6)


def test_all_but_pictures_stays_bit_for_bit(tmp_path):
    path, out = tmp_path / "a.fits", tmp_path / "b.fits"
    mask = (values(31, 20) > 200).astype("u1")
    parts = [
        fits.PrimaryHDU(values(31, 20, dtype="i2")),
        fits.ImageHDU(values(31, 20, dtype="f4"), name="SCI"),
        fits.ImageHDU(values(31, 20, dtype="f4"), name="ERR"),
        fits.CompImageHDU(values(31, 20, dtype="i2"), name="DQ_2"),
        fits.ImageHDU(mask),
        fits.ImageHDU(values(500)),
        fits.BinTableHDU.from_columns([fits.Column("a", "PE()", array=np.array([[1.0], [2, 3]], object))]),
        fits.ImageHDU(values(2, 2, 31, 20, dtype="f8")),
    ]
    fits.HDUList(parts).writeto(path, checksum=True)
    with fits.open(path, mode="update") as file:
        file[0].header.add_comment("what an observer said")
    path.write_bytes(path.read_bytes() + b"behind it all")

    picture = open_picture(path)
    assert picture.count() == 6 and len(list(picture.pages())) == 6
    picture.write((page + 1 for page in picture.pages()), out)
    with pytest.warns() as said, fits.open(out, checksum=True) as file:
        assert len(file) == 8
    assert not [warning for warning in said if "sum verification failed" in str(warning.message)]
    for number, ((header, data), (new, changed)) in enumerate(zip(pieces(path), pieces(out), strict=True)):
        if number in (0, 1, 7):
            before, after = (fits.Header.fromstring(raw) for raw in (header, new))
            del after["HISTORY"]
            for key in ("CHECKSUM", "DATASUM"):
                del before[key], after[key]
            assert str(before) == str(after) and np.array_equal(stored(out, number)[0], stored(path, number)[0] + 1)
        else:
            assert (header, data) == (new, changed)
    assert out.read_bytes().endswith(b"\0behind it all")


@pytest.mark.parametrize(
    "options", [{}, {"quantize_level": 0, "compression_type": "GZIP_1"}, {"tile_shape": (1, 8, 8)}]
)
def test_compressed_floats_lose_nothing_more(options, tmp_path):
    path, out = tmp_path / "a.fz", tmp_path / "b.fz"
    array = values(3, 32, 24, dtype="f4")
    array[1, 2, 3] = np.nan
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(array, **options)]).writeto(path)
    picture = open_picture(path)
    picture.write((page + np.float32(0.125) for page in picture.pages()), out)
    before, after = fits.getdata(path), fits.getdata(out)
    assert np.array_equal(after, before + np.float32(0.125), equal_nan=True) and np.isnan(after).sum() == 1
    with fits.open(path) as old, fits.open(out) as new:
        assert tuple(new[1].tile_shape) == tuple(old[1].tile_shape)


EXAMPLES = "o4sp040b0_raw.fits test0.fits scale.fits checksum.fits fixed-1890.fits arange.fits comp.fits".split()


@pytest.mark.parametrize("name", EXAMPLES)
def test_files_of_astropy(name, tmp_path):
    picture, out = open_picture(OWN / name), tmp_path / name
    picture.write(picture.pages(), out)
    difference = fits.FITSDiff(
        OWN / name, out, ignore_keywords=["HISTORY", "CHECKSUM", "DATASUM"], ignore_comments=["*"]
    )
    for _, found, *_ in difference.diff_hdus:  # their headers are longer by the history
        assert not found.diff_data and not found.diff_headers.diff_keyword_values
    assert len(pieces(out)) == len(pieces(OWN / name))


@pytest.mark.parametrize("name", ["table.fits", "random_groups.fits", "zerowidth.fits"])
def test_no_picture(name):
    with pytest.raises(ValueError, match="holds no picture"):
        open_picture(OWN / name).count()


def header(**more):
    return fits.Header([("SIMPLE", True), ("BITPIX", 16), ("NAXIS", 2), *more.items()]).tostring().encode()


SMALL, HUGE = header(NAXIS1=20, NAXIS2=20), header(NAXIS1=2_000_000, NAXIS2=1_000_000)
BAD = {
    "cut.fits": (SMALL + bytes(799), "is cut off: its header tells of 3680 bytes"),
    "huge.fits": (HUGE + bytes(2880), "is cut off"),
    "huge.fits.gz": (gzip.compress(HUGE + bytes(2**23)), "unpacks to more than 200 times its size"),
    "cut.fits.gz": (gzip.compress(SMALL + values(800).tobytes())[:-3000], "is damaged, or cut off"),
    "behind.fits.gz": (gzip.compress(SMALL + bytes(2880 + 2**20)), "goes on behind"),
    "no end.fits": (SMALL.replace(b"END", b"AND") * 2001, "has a header without an end"),
    "cut in it.fits": (SMALL[:500], "is cut off in a header"),
    "negative.fits": (SMALL.replace(b"  20", b" -20"), "HDU 1 has a damaged header"),
    "bits.fits": (SMALL.replace(b"  16", b"  17"), "HDU 1 has a damaged header: BITPIX is 17"),
    "beyond.fits": (
        header(NAXIS1=20, NAXIS2=20, BLANK=5).replace(b"  16", b"  64")
        + np.array([2**60 + 1] * 399 + [5], ">i8").tobytes()
        + bytes(2560),
        "has integers beyond 2",
    ),
    "tiles.fz": (None, "HDU 2 is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LARGE", 2**22)
    content, message = BAD[name]
    path = tmp_path / name
    if content is None:
        fits.HDUList(
            [fits.PrimaryHDU(), fits.CompImageHDU(values(32, 24, dtype="i4"), compression_type="GZIP_1")]
        ).writeto(path)
        content = path.read_bytes()[:-2880] + b"x" * 2880
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            for _ in open_picture(path).pages():
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50 * 2**20

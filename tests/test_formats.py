"""Every format is asked the same: does what came in come out, page by page, and is what can't named and harmless?

Who adds a format adds entries to EXAMPLES, files that the format's own library writes and reads, and to REFUSED.
"""

import gzip
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import mrcfile
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
import zarr
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

from Proj_Miniproject2.others.formats import streams
from Proj_Miniproject2.others.formats.boxes import DeepBoxes
from Proj_Miniproject2.others.formats.dicom import Dicom
from Proj_Miniproject2.others.formats.files import whole_path
from Proj_Miniproject2.others.formats.fits import Fits
from Proj_Miniproject2.others.formats.mrc import Mrc
from Proj_Miniproject2.others.formats.nifti import Nifti
from Proj_Miniproject2.others.formats.npy import Npy, Npz
from Proj_Miniproject2.others.formats.opening import FORMATS, ending_of, is_picture, open_picture
from Proj_Miniproject2.others.formats.pictures import Picture
from Proj_Miniproject2.others.formats.png import Png
from Proj_Miniproject2.others.formats.raw import Raw
from Proj_Miniproject2.others.formats.tiff import Tiff
from Proj_Miniproject2.others.formats.zarr import Zarr


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


def write_deep_avif(path, array):
    path.write_bytes(imagecodecs.avif_encode(array >> 6, bitspersample=10, level=100))


def read_deep(path):
    """The ten bits of an AVIF as sixteen, or those of a PNG, which it comes out as."""
    content = path.read_bytes()
    if content.startswith(b"\x89PNG"):
        return imagecodecs.png_decode(content)
    return np.rint(imagecodecs.avif_decode(content) * (65535 / 1023)).astype(np.uint16)


def write_pillow(path, array, **options):
    Image.fromarray(array).save(path, dpi=(300, 300), icc_profile=b"a profile", **options)


def read_pillow(path):
    with Image.open(path) as image:
        return np.asarray(image)


def about_pillow(path):
    with Image.open(path) as image:
        return image.format, {key: image.info.get(key) for key in ("icc_profile", "compression")}


def write_fits(path, array, kind=fits.ImageHDU, **options):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(5))])
    image = kind(array, fits.Header([("EXPTIME", 3.5, "s"), ("HISTORY", "seen")]), "SCI", **options)
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(path, overwrite=True, checksum=True)


def read_fits(path):
    with fits.open(path, checksum=True, memmap=False) as file:
        data = file["SCI"].data
        return data.astype(data.dtype.newbyteorder(">"))


def about_fits(path):
    with fits.open(path, memmap=False) as file:
        cards = [[str(c) for c in hdu.header.cards if c.keyword not in ("CHECKSUM", "DATASUM")] for hdu in file]
        new = [card for card in cards[2] if "denoised" in card]
        return cards[:2], [card for card in cards[2] if card not in new], file[1].data.tobytes()


def write_mrc(path, array):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        file.set_extended_header(np.frombuffer(b"an extended header", "V1"))
        file.voxel_size = 1.5
        file.add_label("mine")
    if array.dtype.byteorder == ">":
        with mrcfile.mmap(path) as file:
            header, extended = file.header.copy(), file.extended_header.tobytes()
        header = header.astype(header.dtype.newbyteorder(">"))
        header["machst"] = 0x11, 0x11, 0, 0
        path.write_bytes(header.tobytes() + extended + array.tobytes())


def pack(write, path, array):
    write(path, array)
    path.write_bytes(gzip.compress(path.read_bytes()))


def read_mrc(path):
    with mrcfile.open(path) as file:
        return file.data.copy()


def about_mrc(path):
    with mrcfile.open(path) as file:
        names = [name for name in file.header.dtype.names if name not in ("nlabl", "label", "dmean", "rms")]
        labels = [label for label in file.get_labels() if "denoised" not in label]
        return [file.header[name].tobytes() for name in names], labels, file.extended_header.tobytes()


def write_nifti(path, array):
    header = nibabel.Nifti1Header(endianness=array.dtype.byteorder if array.dtype.byteorder == ">" else "<")
    header.set_data_dtype(array.dtype)
    image = nibabel.Nifti1Image(array.T, np.diag([0.5, 0.5, 2, 1]), header)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"an extension"))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, path)


def read_nifti(path):
    return np.asarray(nibabel.load(path).dataobj.get_unscaled()).T


def about_nifti(path):
    image = nibabel.load(path)
    scale = image.dataobj.slope, image.dataobj.inter
    return image.affine.tolist(), scale, image.header.extensions, image.header["pixdim"].tolist()


def write_dicom(path, array, **elements):
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if array.dtype.byteorder == ">" else ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID, found.PatientName = CTImageStorage, pydicom.uid.generate_uid(), "A^B"
    found.ImageType, found.RescaleSlope, found.RescaleIntercept = ["ORIGINAL", "PRIMARY", "AXIAL"], 2, -1024
    found.add_new(0x00091001, "LO", "private")
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.NumberOfFrames, found.Rows, found.Columns = array.shape
    found.BitsAllocated = found.BitsStored = 8 * array.itemsize
    found.HighBit, found.PixelRepresentation = found.BitsStored - 1, int(array.dtype.kind == "i")
    found.add_new("PixelData", "OB" if array.itemsize == 1 else "OW", array.tobytes() + bytes(array.nbytes % 2))
    found.update(elements)
    found.save_as(path, enforce_file_format=True)


def read_dicom(path):
    found = pydicom.dcmread(path)
    order = ">" if found.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    array = found.pixel_array if found.get("NumberOfFrames", 1) > 1 else found.pixel_array[None]
    return array.astype(array.dtype.newbyteorder(order))


def about_dicom(path):
    found = pydicom.dcmread(path)
    new = "SOPInstanceUID SourceImageSequence DerivationDescription ImageType PixelData".split()
    return {e.tag: e.value for e in found if e.keyword not in new}, found.file_meta.TransferSyntaxUID


def write_zarr(path, array, version=2, **options):
    """One level of axes z, y, x, with labels beside it."""
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(path, zarr_format=version)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    scales = [{"axes": axes, "datasets": [{"path": "0"}], "version": "0.4", "name": "mine"}]
    group.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"version": "0.5", "multiscales": scales}})
    height, width = (-(-n // 2) for n in array.shape[1:])
    options = options or {"chunks": (1, height, width)}
    group.create_array("0", shape=array.shape, dtype=array.dtype, **options)[...] = array
    group.create_group("labels").create_array("cells", data=np.arange(5))


def read_zarr(path):
    return zarr.open_group(path, mode="r")["0"][...]


def about_zarr(path):
    root = zarr.open_group(path, mode="r")
    return root.attrs.asdict(), root["0"].metadata.to_dict(), root["labels/cells"][...].tolist()


EXAMPLES = {
    "ome-zarr 0.4": Example(
        Zarr, ".zarr", write_zarr, read_zarr, ("<u2", ">u2", "u1", "<i4", "<f4", ">f8"), True, (0,), about_zarr,
        floats=True,
    ),
    "ome-zarr 0.5": Example(
        Zarr, ".zarr", lambda path, array: write_zarr(path, array, 3, chunks=(1, 64, 64), shards=(1, 128, 64)),
        read_zarr, ("<u2", "u1", "i1", "<u4", "<f2"), True, (0,), about_zarr, floats=True,
    ),
    "fits": Example(
        Fits, ".fits", write_fits, read_fits, (">f4", "u1", "i1", ">i2", ">u2", ">i4", ">f8"), True, (0,), about_fits,
        floats=True,
    ),
    "fits, packed": Example(Fits, ".fits.gz", write_fits, read_fits, (">f4", ">i2", ">u4"), True, (0,), about_fits),
    "fits, compressed": Example(
        Fits, ".fz", lambda path, array: write_fits(path, array, fits.CompImageHDU), read_fits,
        (">i4", "u1", ">i2", ">u2"), about=about_fits, floats=True,
    ),
    "mrc": Example(
        Mrc, ".mrc", write_mrc, read_mrc, ("<f4", "i1", "<i2", "<u2", "<f2", ">f4", ">i2"), True, (0,), about_mrc,
        floats=True,
    ),
    "mrc, packed": Example(
        Mrc, ".map.gz", lambda path, array: pack(write_mrc, path, array), read_mrc, ("<f4", ">i2"), True, (0,),
        about_mrc,
    ),
    "nifti": Example(
        Nifti, ".nii", write_nifti, read_nifti, ("<f4", "u1", "i1", "<i2", "<u2", ">i4", ">f8"), True, (0,),
        about_nifti, floats=True,
    ),
    "nifti, packed": Example(Nifti, ".nii.gz", write_nifti, read_nifti, ("<f4", ">i2"), True, (0,), about_nifti),
    "dicom": Example(
        Dicom, ".dcm", write_dicom, read_dicom, ("<u4", "<u2", "<i2", "u1", ">u2", ">i2"), True, (0,), about_dicom,
    ),
    "npy": Example(
        Npy, ".npy", np.save, np.load, ("uint8", "<u2", ">u2", "<i4", ">f8", "float16"), True, (0, 1, 2, 3, 4),
        floats=True,
    ),
    "npz": Example(
        Npz, ".npz", lambda path, array: np.savez_compressed(path, places=np.arange(40.0).reshape(20, 2), array=array),
        lambda path: np.load(path)["array"], ("uint8", ">u2", "<f4"), True, (0, 3),
        lambda path: (list(np.load(path)), np.load(path)["places"].tolist()), floats=True,
    ),
    "npz in columns": Example(
        Npz, ".npz", lambda path, array: np.savez(path, array=np.asfortranarray(array)),
        lambda path: np.ascontiguousarray(np.load(path)["array"]), (">u2", "<f4"), True, (0, 3),
    ),
    "png of 16 bits": Example(
        Png, ".png", lambda path, array: path.write_bytes(imagecodecs.png_encode(array)),
        lambda path: imagecodecs.png_decode(path.read_bytes()), ("uint16",), False, (0, 2, 3, 4),
    ),
    "tiff": Example(
        Tiff, ".tif", write_tiff, read_tiff, ("uint8", "<u2", ">u2", "<i2", ">i4", ">f4", "<f8"), True, (0, 3),
        about_tiff, floats=True,
    ),
    "tiff in tiles": Example(
        Tiff, ".tif", lambda path, array: write_tiff(path, array, tile=(16, 16), compression="zlib", predictor=True),
        read_tiff, ("<u2", ">f4"), True, (0,), about_tiff, floats=True,
    ),
    "avif of 10 bits": Example(
        DeepBoxes, ".avif", write_deep_avif, read_deep, ("uint16",), False, (3, 4),
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


OF_BOUNDED_PAGES = DeepBoxes, Zarr  # by its decoder, and by its chunks
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
    assert peak < array.nbytes / 3 + 300_000  # what buffers hold


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.kind not in OF_BOUNDED_PAGES])
def test_pages_that_are_too_large_for_this_machine_are_named(name, tmp_path, monkeypatch):
    example = EXAMPLES[name]
    array, path = array_of(example), tmp_path / f"a{example.ending}"
    example.write(path, array)
    size = pages_of(array, example)[0].nbytes
    monkeypatch.setattr(streams, "memory", lambda: streams.TAKEN * size)
    assert len([*open_picture(path).pages()]) == len(pages_of(array, example))
    monkeypatch.setattr(streams, "memory", lambda: streams.TAKEN * size - 1)
    with pytest.raises(ValueError, match="too little memory: cut them into parts"):
        next(open_picture(path).pages())


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
    """But for RAW files, which come out as others: they have tests of their own."""
    assert {example.kind for example in EXAMPLES.values()} | {Raw} == set(FORMATS)


def test_what_does_not_begin_as_it_ends_is_said(tmp_path):
    for ending in sorted({ending for kind in FORMATS if kind is not Raw for ending in kind.ENDINGS}):
        (tmp_path / f"a{ending}").write_bytes(b"nonsense" * 50)
        with pytest.raises(ValueError, match=f"no picture of the kinds .*, though it ends in {ending}: it is damaged"):
            open_picture(tmp_path / f"a{ending}")
    (tmp_path / "a.odd").write_bytes(b"nonsense" * 50)
    with pytest.raises(ValueError, match="Raw: export it as one of these"):
        open_picture(tmp_path / "a.odd")


def test_endings():
    for path, ending in {"a.tif": ".tif", "a.b.NPY": ".NPY", "a": "", "a.odd": ".odd", ".npy": ""}.items():
        assert ending_of(Path(path)) == ending


def test_a_picture_without_an_ending_is_one(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 20)))
    (tmp_path / "a.npy").rename(tmp_path / "picture")
    (tmp_path / "LICENSE").write_text("Permission is hereby granted")
    (tmp_path / "notes.txt").write_bytes((tmp_path / "picture").read_bytes())
    assert {path.name for path in tmp_path.iterdir() if is_picture(path)} == {"picture"}

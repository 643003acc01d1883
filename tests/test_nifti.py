"""NIfTI: the dtype on disk, slope and intercept, affine and header stay; voxels are changed as they are stored."""

import gzip
from pathlib import Path

import nibabel
import nibabel.tests
import numpy as np
import pytest

from Proj_Miniproject2.others.formats import streams
from Proj_Miniproject2.others.formats.opening import open_picture

OWN = Path(nibabel.tests.__file__).parent / "data"


def values(*shape, dtype="i2", seed=0):
    return np.random.default_rng(seed).normal(60, 12, shape).astype(dtype)


def written(path, array, kind=nibabel.Nifti1Image, **fields):
    """A file of these stored values, and what its header says of it."""
    image = kind(array, np.diag([0.7, 0.7, 3, 1]), dtype=array.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("dtype, kind", zip(DTYPES, 5 * [nibabel.Nifti1Image, nibabel.Nifti2Image], strict=True))
def test_stored_values_are_what_changes(dtype, kind, tmp_path):
    path, out = tmp_path / "a.nii", tmp_path / "b.nii"
    array = values(20, 31, 3, 2, dtype=dtype)
    array[0, 0, 0, 0] = 0
    image = kind(array, np.diag([0.7, 0.7, 3, 1]), dtype=dtype)
    image.header.set_slope_inter(0.25, -7)
    image.header["cal_max"], image.header["descrip"] = 99, "a scan"
    nibabel.save(image, path)
    picture = open_picture(path)
    assert picture.count() == 6 and next(picture.pages()).shape == (31, 20)
    picture.write((page + page.dtype.type(2) for page in picture.pages()), out)
    before, after = nibabel.load(path), nibabel.load(out)
    assert after.get_data_dtype() == before.get_data_dtype() == dtype
    assert (after.dataobj.slope, after.dataobj.inter) == (0.25, -7)
    assert np.array_equal(after.dataobj.get_unscaled(), array + array.dtype.type(2))
    one, other = path.read_bytes(), out.read_bytes()
    place, start = (240, 544) if kind is nibabel.Nifti2Image else (148, 352)
    assert one[:place] == other[:place] and one[place + 80 : start] == other[place + 80 : start]
    assert after.header["descrip"].item().startswith(b"a scan; denoised by noise2noise")


@pytest.mark.parametrize(
    "before, after",
    [
        (b"", "denoised by noise2noise"),
        (b"FSL3.3\0 the rest of an older text", "FSL3.3; denoised"),
        (b"x" * 70, "x" * 70),
    ],
)
def test_what_was_done_is_said_where_there_is_room(before, after, tmp_path):
    path, out = written(tmp_path / "a.nii", values(20, 31, 2), descrip=before), tmp_path / "b.nii"
    picture = open_picture(path)
    picture.write(picture.pages(), out)
    found = nibabel.load(out).header["descrip"].item()
    assert found.startswith(after.encode()) and b"\0" not in found and (len(before) < 70 or found == before)


def test_a_header_that_does_not_say_where_voxels_begin(tmp_path):
    path, out = written(tmp_path / "a.nii", values(20, 31, 2)), tmp_path / "b.nii"
    content = bytearray(path.read_bytes())
    content[108:112] = bytes(4)
    path.write_bytes(content)
    picture = open_picture(path)
    picture.write(picture.pages(), out)
    assert np.array_equal(np.transpose(list(picture.pages())), values(20, 31, 2))
    assert out.read_bytes()[352:] == path.read_bytes()[352:]


NAMES = "anatomical.nii example4d.nii.gz example_nifti2.nii.gz functional.nii resampled_anat_moved.nii".split()


@pytest.mark.parametrize("name", NAMES)
def test_files_of_nibabel(name, tmp_path):
    picture, out = open_picture(OWN / name), tmp_path / name
    picture.write(picture.pages(), out)
    before, after = nibabel.load(OWN / name), nibabel.load(out)
    stored = np.asarray(before.dataobj.get_unscaled())
    assert np.array_equal(np.asarray(after.dataobj.get_unscaled()), stored, equal_nan=True)
    pages = np.reshape(list(picture.pages()), stored.shape[::-1]).T
    assert np.array_equal(pages, stored, equal_nan=True)
    before.header["descrip"] = after.header["descrip"] = b""
    assert after.header == before.header and np.array_equal(after.affine, before.affine)
    assert after.header.extensions == before.header.extensions


def huge(path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((4_000, 4_000, 30_000))
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(4)
    path.write_bytes(gzip.compress(content + bytes(2**23)) if path.suffix == ".gz" else content + bytes(99))


BAD = {
    "cut.nii": (lambda path: path.write_bytes(written(path, values(20, 31)).read_bytes()[:-9]), "is cut off"),
    "cut.nii.gz": (lambda path: path.write_bytes(written(path, values(20, 31)).read_bytes()[:-90]), "or cut off"),
    "huge.nii": (huge, "is cut off"),
    "huge.nii.gz": (huge, "unpacks to more than 200 times its size"),
    "behind.nii": (lambda path: path.write_bytes(written(path, values(20, 31)).read_bytes() + bytes(2**17)), "goes on"),
    "complex.nii": (lambda path: written(path, values(20, 31, dtype="c8")), "has voxels of complex64"),
    "colours.nii": (
        lambda path: written(path, np.zeros((20, 31, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "has voxels of .*'R'",
    ),
    "labels.nii": (lambda path: written(path, values(20, 31, 2), intent_code=1002), "holds labels"),
    "line.nii": (lambda path: written(path, values(20)), "holds no pictures"),
    "surface.nii": (lambda path: path.write_bytes((OWN / "row_major.dconn.nii").read_bytes()), "is a CIFTI"),
    "code.nii": (
        lambda path: path.write_bytes(written(path, values(20, 31)).read_bytes().replace(b"\4\0\x10\0", b"\5\1\x10\0")),
        "is a damaged NIfTI",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LARGE", 2**22)
    write, message = BAD[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        list(open_picture(tmp_path / name).pages())

"""MRC: images, stacks, volumes and stacks of volumes stay what they are, and the header says how the values are now."""

import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

from Proj_Miniproject2.others.formats.opening import open_picture


def values(*shape, dtype="f4", seed=0):
    return np.random.default_rng(seed).normal(60, 12, shape).astype(dtype)


def changed(path, **fields):
    """Other values in a file's header."""
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, HEADER_DTYPE, 1)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(content)


def kept(header):
    made = ("dmin", "dmax", "dmean", "rms", "nlabl", "label")
    return {name: header[name].tobytes() for name in header.dtype.names if name not in made}


@pytest.mark.parametrize(
    "kind, shape, dtype",
    [
        ("image", (31, 20), "i2"),
        ("stack", (4, 31, 20), "f2"),
        ("volume", (4, 31, 20), "i1"),
        ("volume", (4, 31, 20), "u2"),
        ("volumes", (2, 3, 31, 20), "f4"),
    ],
)
def test_what_it_is_stays(kind, shape, dtype, tmp_path):
    path, out = tmp_path / "a.mrc", tmp_path / "b.mrc"
    with mrcfile.new(path) as file:
        file.set_data(values(*shape, dtype=dtype))
        if kind == "stack":
            file.set_image_stack()
        file.voxel_size = 1.5, 1.5, 3
        file.header.origin.x = 7
        file.set_extended_header(np.frombuffer(b"serial" * 10, "V1"))
        file.header.exttyp = b"SERI"
        file.add_label("mine")
    path.write_bytes(path.read_bytes() + b"behind")
    picture = open_picture(path)
    picture.write((page + np.dtype(dtype).type(2) for page in picture.pages()), out)
    with mrcfile.open(path, permissive=True) as before, mrcfile.open(out, permissive=True) as after:
        assert after.data.dtype == before.data.dtype and np.array_equal(after.data, before.data + 2)
        assert (after.is_single_image(), after.is_image_stack(), after.is_volume(), after.is_volume_stack()) == tuple(
            kind == other for other in ("image", "stack", "volume", "volumes")
        )
        assert kept(after.header) == kept(before.header)
        assert after.extended_header.tobytes() == before.extended_header.tobytes()
        assert after.get_labels()[:-1] == before.get_labels() and "denoised" in after.get_labels()[-1]
        found = [float(after.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
        exact = after.data.astype(float)
        assert np.allclose(found, [exact.min(), exact.max(), exact.mean(), exact.std()], rtol=1e-6)
    assert out.read_bytes().endswith(b"behind")
    out.write_bytes(out.read_bytes()[: -len(b"behind")])
    # Its validator takes the deviation of half-precision values in half precision, where it overflows.
    assert dtype == "f2" or mrcfile.validate(out)


def test_ten_labels_are_enough(tmp_path):
    path, out = tmp_path / "a.mrc", tmp_path / "b.mrc"
    with mrcfile.new(path) as file:
        file.set_data(values(31, 20))
        for number in range(9):
            file.add_label(str(number))
    picture = open_picture(path)
    picture.write(picture.pages(), out)
    with mrcfile.open(path) as before, mrcfile.open(out) as after:
        assert after.get_labels() == before.get_labels() and len(after.get_labels()) == 10


@pytest.mark.parametrize(
    "stamp, flags, high, unsigned",
    [(1146047817, 0, 99, True), (1146047817, 1, 99, False), (0, 0, 99, False), (0, 0, 240, True)],
)
def test_bytes_without_a_sign(stamp, flags, high, unsigned, tmp_path):
    """Mode 0 was that once, and still is to IMOD, which has a stamp and says so in a flag."""
    path, out = tmp_path / "a.st", tmp_path / "b.st"
    array = np.random.default_rng(0).integers(0, high + 1, (2, 31, 20)).astype("u1")
    with mrcfile.new(path) as file:
        file.set_data(array.view("i1"))
    extra = np.zeros(21, "<i4")
    extra[10:12] = stamp, flags
    changed(path, extra2=extra.tobytes(), dmin=0, dmax=high)
    picture = open_picture(path)
    pages = list(picture.pages())
    assert pages[0].dtype == ("u1" if unsigned else "i1") and np.array_equal(pages, array.view(pages[0].dtype))
    picture.write(iter(pages), out)
    with mrcfile.open(out) as file:
        assert np.array_equal(file.data.view("u1"), array) and file.header.dmax == array.max()


def test_a_comparison_keeps_the_pixel_size(tmp_path):
    path, out = tmp_path / "a.mrc", tmp_path / "b.mrc"
    with mrcfile.new(path) as file:
        file.set_data(values(2, 31, 20))
        file.voxel_size = 1.5
    picture = open_picture(path)
    picture.write((np.concatenate([page, page], 1) for page in picture.pages()), out, twice=True)
    with mrcfile.open(out) as file:
        assert file.data.shape == (2, 31, 40) and np.allclose(file.voxel_size.tolist(), 1.5)


BAD = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is cut off"),
    "short": (lambda path: path.write_bytes(path.read_bytes()[:300]), "is cut off"),
    "huge": (lambda path: changed(path, nx=2**30, ny=2**30), "is cut off"),
    "extended": (lambda path: changed(path, nsymbt=2**31 - 1), "is cut off"),
    "negative": (lambda path: changed(path, nsymbt=-5), "is a damaged MRC"),
    "empty": (lambda path: changed(path, ny=0), r"pages \(2, 0, 20\)"),
    "volumes": (lambda path: changed(path, ispg=401, mz=0), "is a damaged MRC"),
    "order": (lambda path: changed(path, machst=(1, 2, 3, 4)), "is a damaged MRC"),
    "mode": (lambda path: changed(path, mode=9), "is a damaged MRC"),
    "complex": (lambda path: changed(path, mode=4), "pages of complex numbers"),
    "behind": (lambda path: path.write_bytes(path.read_bytes() + bytes(2**17)), "goes on behind"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(values(2, 31, 20))
    damage, message = BAD[name]
    damage(path)
    with pytest.raises(ValueError, match=message):
        list(open_picture(path).pages())

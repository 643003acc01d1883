"""DICOM: a derived image of the same values, units and private elements; what is no grey picture is named."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import weights
from Proj_Miniproject2.others.formats.opening import open_picture

from .test_measured import Darkening

OWN = Path(pydicom.data.__file__).parent / "test_files"
MADE = "ImageType SOPInstanceUID DerivationDescription SourceImageSequence PixelData".split()
MADE += "SmallestImagePixelValue LargestImagePixelValue SeriesInstanceUID SeriesDescription".split()


def written(path, words, syntax=ExplicitVRLittleEndian, **elements):
    """A file of frames (P, H, W) of these words."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, generate_uid()
    found.ImageType, found.Modality, found.PatientName = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "Grün^Ä"
    found.SpecificCharacterSet = "ISO_IR 100"
    found.RescaleSlope, found.RescaleIntercept = "0.5", "-1024"
    found.private_block(0x0009, "MINE", create=True).add_new(1, "OB", b"\1\2\3\4")
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.NumberOfFrames, found.Rows, found.Columns = words.shape
    found.BitsAllocated = found.BitsStored = 8 * words.itemsize
    found.PixelRepresentation = int(words.dtype.kind == "i")
    for name, value in elements.items():
        setattr(found, name, value)
    found.HighBit = elements.get("HighBit", found.BitsStored - 1)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    content = words.astype(words.dtype.newbyteorder(order)).tobytes()
    found.add_new("PixelData", "OB" if words.itemsize == 1 else "OW", content + bytes(len(content) % 2))
    found.add_new(0xFFFCFFFC, "OB", bytes(8))
    found.save_as(path, enforce_file_format=True)
    return path


def words_of(path):
    """The words (P, H, W) in a file, all of their bits."""
    found = pydicom.dcmread(path)
    order = ">" if found.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    dtype = f"{order}{'i' if found.PixelRepresentation else 'u'}{found.BitsAllocated // 8}"
    shape = int(found.get("NumberOfFrames", 1)), found.Rows, found.Columns
    return np.frombuffer(found.PixelData, dtype, np.prod(shape)).reshape(shape).astype(dtype[1:])


def raw(path):
    """All elements but those that an image derived from it has anew: {tag: (VR, value)}."""
    found = pydicom.dcmread(path)
    elements = {tag: found.get_item(tag) for tag in found.keys()}
    made = {pydicom.tag.Tag(name) for name in MADE}
    return {tag: (e.VR, e.value) for tag, e in elements.items() if tag not in made and tag.element}


def draws(*shape, low=0, high=4000, dtype="u2", seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def through(path, out, change):
    picture = open_picture(path)
    picture.write((change(page) for page in picture.pages()), out)
    return picture


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype, low, high", [("u1", 0, 99), ("u2", 0, 4000), ("i2", -2000, 2000), ("u4", 0, 10**6)])
@pytest.mark.parametrize("colours", ["MONOCHROME1", "MONOCHROME2"])
def test_a_derived_image_of_the_same_units(syntax, dtype, low, high, colours, tmp_path):
    words = draws(3, 31, 21, low=low, high=high, dtype=dtype)
    path, out = tmp_path / "a", tmp_path / "b"
    more = {"SmallestImagePixelValue": 5, "LargestImagePixelValue": 5} if words.itemsize == 2 else {}
    written(path, words, syntax, PhotometricInterpretation=colours, **more)
    picture = through(path, out, lambda page: page + page.dtype.type(2))
    assert np.array_equal(list(picture.pages()), words) and np.array_equal(words_of(out), words + words.dtype.type(2))
    before, after = pydicom.dcmread(path), pydicom.dcmread(out)
    assert raw(out) == raw(path) and after.file_meta.TransferSyntaxUID == syntax
    assert after.ImageType == ["DERIVED", "SECONDARY", "AXIAL"] and "denoised" in after.DerivationDescription
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
    assert after.SourceImageSequence[-1].ReferencedSOPInstanceUID == before.SOPInstanceUID
    if more:
        assert (after.SmallestImagePixelValue, after.LargestImagePixelValue) == (words.min() + 2, words.max() + 2)
    assert after.PatientName == "Grün^Ä"


@pytest.mark.parametrize(
    "stored, high, dtype, low, most",
    [(12, 11, "u2", 0, 4000), (12, 15, "u2", 0, 4000), (12, 11, "i2", -2000, 2000), (12, 13, "i2", -2000, 2000)],
)
def test_fewer_bits_are_stored_than_there_are(stored, high, dtype, low, most, tmp_path):
    """Wherever they are, the bits around them stay, and no value leaves them."""
    values = draws(2, 31, 20, low=low, high=most, dtype=dtype)
    values[0, 0, :2] = most + 10
    shift, rest = high + 1 - stored, draws(2, 31, 20, high=2**16, seed=1)
    mask = np.uint16(((1 << stored) - 1) << shift)
    words = ((values.astype("u2") << shift) & mask) | (rest & ~mask)
    path, out = tmp_path / "a.dcm", tmp_path / "b.dcm"
    written(path, words.view(dtype), BitsStored=stored, HighBit=high)
    picture = through(path, out, lambda page: page + page.dtype.type(1000))
    assert np.array_equal(list(picture.pages()), values)
    expected = (values.astype(int) + 1000).clip(*((0, 4095) if dtype == "u2" else (-2048, 2047)))
    found = words_of(out).view("u2")
    assert np.array_equal(found & ~mask, words & ~mask)
    assert np.array_equal(found & mask, (expected.astype("i4").astype("u2") << shift) & mask)


def test_signs_reach_through_the_bits_above(tmp_path):
    """Also where a padding value doesn't fit into those that are stored."""
    values = draws(1, 31, 20, low=-2000, high=2000, dtype="i2")
    values[:, :5] = -32768
    path, out = written(tmp_path / "a.dcm", values, BitsStored=12, PixelPaddingValue=-32768), tmp_path / "b.dcm"
    through(path, out, lambda page: -page)
    assert np.array_equal(words_of(out)[:, 5:], -values[:, 5:]) and (words_of(out)[:, :5] == -32768).all()


@pytest.mark.parametrize(
    "padding, limit, dtype, words",
    [
        (4095, None, "u2", [4095]),
        (0, 3, "u2", [0, 1, 2, 3]),
        (63536, None, "i2", [-2000]),
        (-5, -7, "i2", [-5, -6, -7]),
    ],
)
def test_padding_stays(padding, limit, dtype, words, tmp_path, monkeypatch):
    """Bit for bit, also where the file has a negative number as if it were none, or the limit below."""
    values = draws(2, 31, 20, low=10, dtype=dtype)
    values[:, 5:9, : 5 * len(words)] = np.repeat(np.array(words, dtype), 5)
    path, out = tmp_path / "a.dcm", tmp_path / "out" / "a.dcm"
    written(path, values)
    found = pydicom.dcmread(path)
    kind = "SS" if padding < 0 else "US"
    found.add_new("PixelPaddingValue", kind, padding)
    if limit is not None:
        found.add_new("PixelPaddingRangeLimit", kind, limit)
    found.save_as(path)
    monkeypatch.setattr(weights, "trained", lambda network, path=None: Darkening())
    main(["denoise", str(path), "--out", str(out.parent)])
    after = words_of(out)
    empty = np.isin(values, np.array(words, dtype))
    assert np.array_equal(after[empty], values[empty]) and (after != values)[~empty].mean() > 0.9


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_ones_come_out_without(syntax, tmp_path):
    words = draws(3, 40, 32, low=-2000, high=2000, dtype="i2")  # the encoder takes none with a side below 32
    path, out = written(tmp_path / "a.dcm", words, BitsStored=12), tmp_path / "b.dcm"
    found = pydicom.dcmread(path)
    found.compress(syntax, encapsulate_ext=True, generate_instance_uid=False)
    found.HighBit = 15
    found.save_as(path)
    through(path, out, lambda page: page + page.dtype.type(3))
    after = pydicom.dcmread(out)
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian and np.array_equal(words_of(out), words + 3)
    assert after.HighBit == 11 and "ExtendedOffsetTable" not in after and np.array_equal(after.pixel_array, words + 3)


def test_what_was_derived_before_is_still_said(tmp_path):
    source, item = Dataset(), Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CTImageStorage, "1.2.3"
    item.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    group = Dataset()
    group.CTImageFrameTypeSequence = [item]
    path, out = tmp_path / "a.dcm", tmp_path / "b.dcm"
    written(
        path,
        draws(2, 31, 20),
        DerivationDescription="x" * 1000,
        SourceImageSequence=[source],
        SharedFunctionalGroupsSequence=[group],
        MACParametersSequence=[Dataset()],
    )
    through(path, out, lambda page: page)
    after = pydicom.dcmread(out)
    assert len(after.DerivationDescription) == 1024 and after.DerivationDescription.startswith("xxx")
    assert [item.ReferencedSOPInstanceUID for item in after.SourceImageSequence][0] == "1.2.3"
    assert after.ImageType == ["DERIVED", "PRIMARY", "AXIAL"] and "MACParametersSequence" not in after
    assert after.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0].FrameType[0] == "DERIVED"


def test_what_a_run_makes_of_a_series_is_a_new_one(tmp_path, monkeypatch):
    """The same for all of its files, another for another series, another run, and what is compared."""
    monkeypatch.setattr(Darkening, "VIEWS", 1)
    monkeypatch.setattr(weights, "trained", lambda network, path=None: Darkening())
    series = {"a1": "1.2.3", "a2": "1.2.3", "b": "1.2.4"}
    (tmp_path / "in").mkdir()
    for name, uid in series.items():
        written(tmp_path / "in" / name, draws(1, 31, 20), SeriesInstanceUID=uid, SeriesDescription="x" * 60)
    written(tmp_path / "in" / "none", draws(1, 31, 20))

    def run(*options):
        main(["denoise", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--compare", *options])
        return {path.name: pydicom.dcmread(path) for path in (tmp_path / "out").iterdir()}

    first = run()
    uids = {name: found.SeriesInstanceUID for name, found in first.items() if "none" not in name}
    assert uids["a1"] == uids["a2"] and uids["a1-compare"] == uids["a2-compare"] and len(set(uids.values())) == 4
    assert not {*series.values()} & {*uids.values()} and all(pydicom.uid.UID(uid).is_valid for uid in uids.values())
    assert first["a1"].SeriesDescription == "x" * 55 + " denoised" and "SeriesInstanceUID" not in first["none"]
    (tmp_path / "out" / "a2").unlink()
    assert run("--resume")["a2"].SeriesInstanceUID == uids["a1"]
    other = run("--overwrite", "--strength", "0.5")
    assert other["a1"].SeriesInstanceUID == other["a2"].SeriesInstanceUID != uids["a1"]


def test_bits_of_a_comparison(tmp_path):
    words = draws(2, 31, 21, high=99, dtype="u1")
    path, out = written(tmp_path / "a.dcm", words), tmp_path / "b.dcm"
    picture = open_picture(path)
    picture.write((np.concatenate([page, page + 1], 1) for page in picture.pages()), out, twice=True)
    assert np.array_equal(pydicom.dcmread(out).pixel_array, np.concatenate([words, words + 1], 2))


EXAMPLES = """CT_small MR_small MR_small_bigendian MR_small_implicit MR_small_padded MR_small_RLE MR_small_jp2klossless
MR_small_jpeg_ls_lossless 693_J2KI J2K_pixelrep_mismatch JPGExtended JPEGLSNearLossless_08 examples_overlay""".split()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_files_of_pydicom(name, tmp_path):
    path, out = OWN / f"{name}.dcm", tmp_path / "a.dcm"
    through(path, out, lambda page: page)
    before, after = pydicom.dcmread(path), pydicom.dcmread(out)
    assert np.array_equal(after.pixel_array, before.pixel_array) and raw(out) == raw(path)
    if not before.file_meta.TransferSyntaxUID.is_compressed:
        assert after.PixelData[: before.pixel_array.nbytes] == before.PixelData[: before.pixel_array.nbytes]


NO_PICTURE = {
    "SC_rgb_rle": "has the colours RGB",
    "examples_palette": "has the colours PALETTE COLOR",
    "waveform_ecg": "without a picture, but with 12-lead ECG Waveform Storage",
    "reportsi": "without a picture, but with Basic Text SR Storage",
    "rtplan": "RT Plan Storage",
    "rtdose": "is a radiation dose",
    "liver_1frame": "is a segmentation, not a picture",
    "image_dfl": "deflated as a whole",
    "MR_truncated": "frame 1, not compressed, can't be read",
    "meta_missing_tsyntax": "can't be read",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NO_PICTURE)
def test_what_is_no_picture_is_named(name):
    with pytest.raises(ValueError, match=NO_PICTURE[name]):
        list(open_picture(OWN / f"{name}.dcm").pages())


def test_a_picture_inside_that_says_it_is_huge(tmp_path):
    """Its decoder would ask for 7 GB."""
    content = bytearray((OWN / "MR_small_jp2klossless.dcm").read_bytes())
    place = content.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", content, place + 8, 60_000, 60_000)
    struct.pack_into(">II", content, place + 24, 60_000, 60_000)
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(ValueError, match="it has 60000 x 60000 pixels"):
        list(open_picture(tmp_path / "a.dcm").pages())


@pytest.mark.parametrize(
    "elements, message",
    [
        ({"Rows": 60_000, "Columns": 60_000}, "is cut off"),
        ({"BitsStored": 17}, "is a damaged DICOM"),
        ({"BitsAllocated": 24}, "is a damaged DICOM"),
        ({"HighBit": 3}, "is a damaged DICOM"),
        ({"NumberOfFrames": 900}, "is cut off"),
        ({"Columns": 0}, "is a damaged DICOM"),
    ],
)
def test_headers_that_can_not_be(elements, message, tmp_path):
    path = written(tmp_path / "a.dcm", draws(2, 31, 20))
    found = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(found, name, value)
    found.save_as(path)
    with pytest.raises(ValueError, match=message):
        list(open_picture(path).pages())

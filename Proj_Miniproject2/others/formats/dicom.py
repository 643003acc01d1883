"""DICOM, the files of CT, MRI, X-ray and other scanners: .dcm, and files without an ending. pydicom reads and writes
them, with pylibjpeg for what is compressed."""

import math
import os
import tempfile

from .extras import check_extra
from .streams import check_memory, made_by, quiet

PLACE, MAGIC = 128, b"DICM"
ELEMENT = 12  # bytes before the value of compressed pixels
DEFERRED = 2**16  # bytes: longer values stay in the file until they are asked for
NO_PICTURE = {"SEG": "a segmentation", "RTDOSE": "a radiation dose"}  # by modality
LONGEST_TEXT, LONGEST_NAME = 1024, 64  # of what says how an image came about, and of a series' name
FROM_COMPRESSED = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "EncapsulatedPixelDataValueTotalLength")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
SEALS = ("MACParametersSequence", "DigitalSignaturesSequence")  # of the values that no longer are


class Dicom:
    """All frames of a grey image, as stored: RescaleSlope and RescaleIntercept go on scaling them.

    What comes out is a derived image in DICOM's sense, with a SOPInstanceUID of its own. All that a run makes of a
    series is a new one, as those of a series share what made them (PS3.3, A.1.2 and C.7.3.1). It is uncompressed; one
    that was uncompressed keeps its transfer syntax.
    """

    ENDINGS, FOLDERS, AS = {".dcm"}, set(), {}
    FLOATS = False

    @staticmethod
    def is_mine(path, head):
        return head[PLACE : PLACE + len(MAGIC)] == MAGIC

    def __init__(self, path, options):
        check_extra("is a DICOM", "dicom", "pydicom", "pylibjpeg", "libjpeg", "openjpeg", "rle")
        self.path, self.run = path, options.run
        found = self.read(stop_before_pixels=True)
        try:
            with quiet():
                self.take(found)
        except (AttributeError, NotImplementedError, TypeError) as error:  # of a value of another kind than it must be
            raise ValueError(f"is a damaged DICOM: {error}") from error

    def take(self, found):
        """What all frames are, by the elements before the first. ValueError for what is no grey image."""
        from pydicom.uid import UID

        kind = UID(str(found.get("SOPClassUID", ""))).name or "nothing known"
        if "Rows" not in found or "BitsAllocated" not in found:
            raise ValueError(f"is a DICOM without a picture, but with {kind}")
        if found.get("Modality") in NO_PICTURE or found.BitsAllocated == 1:
            raise ValueError(f"is {NO_PICTURE.get(found.get('Modality'), 'a mask')}, not a picture: {kind}")
        colours = found.get("PhotometricInterpretation", "none known")
        if found.get("SamplesPerPixel", 1) != 1 or colours not in ("MONOCHROME1", "MONOCHROME2"):
            raise ValueError(f"has the colours {colours}: of a DICOM only grey images are denoised")
        if "BitsStored" not in found:
            raise ValueError(f"has pixels of floats, as {kind} has: expected integers")
        self.syntax = found.file_meta.TransferSyntaxUID
        self.shape = found.get("NumberOfFrames") or 1, found.Rows, found.Columns
        self.signed = found.get("PixelRepresentation") == 1
        self.allocated, self.stored = found.BitsAllocated, found.BitsStored
        # Decoders give the bits at the low end, wherever they were before they were compressed.
        self.shift = 0 if self.syntax.is_compressed else found.get("HighBit", self.stored - 1) + 1 - self.stored
        sizes = [*self.shape, self.stored, self.shift + 1, self.allocated + 1 - self.stored - self.shift]
        if self.allocated not in (8, 16, 32) or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"is a damaged DICOM: it tells of {self.shape[0]} frames of {found.Rows} x {found.Columns} pixels of "
                f"{self.stored} bits out of {self.allocated}, the highest of them {found.get('HighBit')}"
            )
        size = math.prod(self.shape) * self.allocated // 8
        if not self.syntax.is_compressed and size > os.path.getsize(self.path):
            raise ValueError(f"is cut off: its header tells of {size} bytes of pixels")
        check_memory(size // self.shape[0])
        # Some write negative ones as if they were unsigned.
        padding = [found.get(key) for key in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        self.padding = [self.signed_word(value) for value in padding if isinstance(value, int)]

    def read(self, **options):
        import pydicom

        with quiet():
            try:
                syntax = pydicom.filereader.read_file_meta_info(self.path).TransferSyntaxUID
                if syntax.is_deflated:
                    raise ValueError("it is deflated as a whole: save it uncompressed")
                return pydicom.dcmread(self.path, **options)
            except Exception as error:  # of a damaged file pydicom raises almost anything
                raise ValueError(f"is a DICOM that can't be read: {error}") from error

    def signed_word(self, value):
        """A value as the pixels have it that are stored by the same bits."""
        value %= 2**self.allocated
        return value - 2**self.allocated if self.signed and value >> (self.allocated - 1) else value

    @property
    def dtype(self):
        import numpy as np

        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    def words(self):
        """The frames with all bits that are there for each value, whether they belong to it or not."""
        from pydicom.pixels import iter_pixels

        number, frames = 0, iter_pixels(self.path, raw=True, correct_unused_bits=False)
        while True:
            try:
                with quiet():
                    if not number:
                        self.check_sizes()
                    words = next(frames, None)
            except Exception as error:  # of a damaged one the decoders raise almost anything
                what = f"compressed by {self.syntax.name}" if self.syntax.is_compressed else "not compressed"
                raise ValueError(f"frame {number + 1}, {what}, can't be read: {error}") from error
            if words is None:
                break
            number += 1
            if words.shape != self.shape[1:]:
                raise ValueError(f"frame {number} is damaged: it has the shape {words.shape}")
            yield words.astype(self.dtype)
        if number != self.shape[0]:
            raise ValueError(f"is damaged: it has {number} frames, and its header tells of {self.shape[0]}")

    def check_sizes(self):
        """ValueError for a compressed frame that says it has another size: a decoder takes the memory that it needs for
        that before it notices."""
        import libjpeg
        import openjpeg
        import pydicom
        from pydicom.encaps import generate_frames
        from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

        if self.syntax in JPEG2000TransferSyntaxes:
            about = openjpeg.get_parameters
        elif self.syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
            about = libjpeg.get_parameters
        else:
            return
        with open(self.path, "rb") as file:
            pydicom.dcmread(file, stop_before_pixels=True)
            file.seek(ELEMENT, os.SEEK_CUR)
            for frame in generate_frames(file, number_of_frames=self.shape[0]):
                found = about(frame)
                if (found["rows"], found["columns"]) != self.shape[1:]:
                    raise ValueError(f"it has {found['rows']} x {found['columns']} pixels, not {self.shape[1:]}")

    def values(self, words):
        """Those of the stored bits alone."""
        above = self.allocated - self.stored - self.shift
        return (words << above) >> (above + self.shift)

    def encoded(self, values):
        return (values << self.shift).astype(self.dtype)

    def count(self):
        return self.shape[0]

    def pages(self):
        for words in self.words():
            yield self.values(words)

    def missing(self, page):
        import numpy as np

        if not self.padding:
            return None
        bounds = [int(self.values(np.array(value, self.dtype))) for value in self.padding]
        return (page >= min(bounds)) & (page <= max(bounds))

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        low, high = (
            (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)
        )
        mask = np.array(((1 << self.stored) - 1) << self.shift, f"u{self.allocated // 8}").view(self.dtype)
        found, lowest, highest = self.read(defer_size=DEFERRED), math.inf, -math.inf
        order = "<" if found.is_little_endian is not False else ">"
        with tempfile.TemporaryFile(dir=path.parent) as scratch:
            for page, words in zip(pages, self.words(), strict=True):
                page = page.clip(low, high)
                new = self.encoded(page)
                if not twice:
                    old = self.values(words)
                    missing = self.missing(old)
                    # What else is in the words, as overlays once were, stays; mostly it is a sign, or nothing.
                    if ((words != self.encoded(old)) & (True if missing is None else ~missing)).any():
                        new = words & ~mask | new & mask
                    new = np.where(page == old, words, new)
                lowest, highest = min(lowest, page.min()), max(highest, page.max())
                scratch.write(new.astype(self.dtype.newbyteorder(order)).tobytes())
            scratch.write(bytes(scratch.tell() % 2))
            scratch.seek(0)
            self.describe(found, int(lowest), int(highest), twice)
            self.put(scratch, found)
            with quiet():
                found.save_as(path, enforce_file_format=True)

    def put(self, scratch, found):
        """The new pixels in place of the old ones, without a compression."""
        from pydicom.dataelem import DataElement
        from pydicom.uid import ExplicitVRLittleEndian

        found["PixelData"] = DataElement("PixelData", "OB" if self.allocated == 8 else "OW", scratch)
        if self.syntax.is_compressed:
            found.file_meta.TransferSyntaxUID, found.HighBit = ExplicitVRLittleEndian, self.stored - 1
            for key in FROM_COMPRESSED:
                if key in found:
                    del found[key]

    def describe(self, found, lowest, highest, twice):
        """What makes of an image's header one of an image derived from it, with such values."""
        from pydicom import Dataset
        from pydicom.uid import generate_uid

        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = found.SOPClassUID, found.SOPInstanceUID
        found.SourceImageSequence = [*found.get("SourceImageSequence", ()), source]
        found.SOPInstanceUID = generate_uid(None)  # which pydicom puts before the elements, too
        if "SeriesInstanceUID" in found:
            what = "compared" if twice else "denoised"
            found.SeriesInstanceUID = generate_uid(entropy_srcs=[found.SeriesInstanceUID, self.run, what])
            name = str(found.get("SeriesDescription", "") or "")[: LONGEST_NAME - len(what) - 1]
            found.SeriesDescription = f"{name} {what}".strip()
        functional = [
            *found.get("SharedFunctionalGroupsSequence", ()),
            *found.get("PerFrameFunctionalGroupsSequence", ()),
        ]
        kinds = found.get("ImageType") or []
        kinds = [kinds] if isinstance(kinds, str) else [*kinds]
        found.ImageType = ["DERIVED", kinds[1] if functional and kinds[1:] else "SECONDARY", *kinds[2:]]
        for group in functional:
            for element in group:
                for item in element.value if element.VR == "SQ" else ():
                    if "FrameType" in item:
                        item.FrameType = ["DERIVED", *item.FrameType[1:]]
        texts = str(found.get("DerivationDescription", "") or ""), f"denoised by {made_by()}, each frame by itself"
        found.DerivationDescription = "; ".join(filter(None, texts))[-LONGEST_TEXT:]
        for key, value in (("SmallestImagePixelValue", lowest), ("LargestImagePixelValue", highest)):
            if key in found and self.allocated <= 16:
                found[key].value = value if found[key].VR == "SS" else value % 2**16
        for key in SEALS:
            if key in found:
                del found[key]
        if twice:
            found.Columns *= 2

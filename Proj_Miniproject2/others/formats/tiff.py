"""TIFFs of any depth, with all their pages, by tifffile and imagecodecs: the extra "measured". Those of 8 bits and one
page are pictures like others."""

import contextlib
import math
import struct

from . import extras
from .pictures import TIFF_BITS

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A TIFF's tags that the writer makes of the picture itself; what a page has besides is handed on.
MADE = {254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 305, 306, 317}
MADE |= {320, 322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 530, 531, 532, 34675, 50838, 50839}
ORIENTATION, IMAGEJ = 274, 50839
BIGTIFF = 43  # where others have 42
LOSSLESS = "NONE LZW ADOBE_DEFLATE DEFLATE PACKBITS LZMA ZSTD".split()  # of those that tifffile writes
LARGEST_TIFF = 2**32 - 2**25  # bytes of pixels; above, a TIFF needs larger numbers (BigTIFF)


class Tiff:
    """All pages of a TIFF, in order; what says which axes they have, as ImageJ's and OME's descriptions, stays."""

    ENDINGS, FOLDERS, AS = {".tif", ".tiff"}, set(), {}

    @staticmethod
    def is_mine(path, head):
        return head.startswith(MAGIC) and is_measured(path)

    def __init__(self, path, options):
        extras.check_extra("has more than 8 bits a value, or several pages", "measured", "tifffile", "imagecodecs")
        self.path = path

    @contextlib.contextmanager
    def opened(self):
        """A tifffile.TiffFile. ValueError for what is so damaged that tifffile is no longer itself."""
        import tifffile

        try:
            with tifffile.TiffFile(self.path) as tiff:
                tiff.pages.useframes = False  # each page has tags of its own
                yield tiff
        except (AttributeError, KeyError, IndexError, TypeError, ArithmeticError, struct.error) as error:
            raise ValueError(f"is a damaged TIFF: {type(error).__name__} {error}") from error

    def checked(self, tiff):
        """Its pages, if all can be written as they are."""
        first = tiff.pages[0]
        for number, page in enumerate(tiff.pages, 1):
            what = self.refused(page, first)
            if what:
                raise ValueError(f"page {number} {what}")
            yield page
        layout = tiff.tiff  # where the next page would begin stands behind a page's tags
        tiff.filehandle.seek(page.offset)
        (tags,) = struct.unpack(layout.tagnoformat, tiff.filehandle.read(layout.tagnosize))
        tiff.filehandle.seek(tags * layout.tagsize, 1)
        if tiff.filehandle.read(layout.offsetsize) != bytes(layout.offsetsize):
            raise ValueError(f"page {number + 1} is damaged, and with it where the pages after it are")
        if number == 1 and math.prod(tiff.series[0].shape) > math.prod(first.shape):
            raise ValueError("has pages that only ImageJ finds, as of more than 4 GB: save it as a BigTIFF")

    def refused(self, page, first):
        if page.dtype is None or page.ndim not in (2, 3) or page.imagedepth > 1 or page.samplesperpixel > 4:
            return (
                f"has {page.samplesperpixel} channels of {page.bitspersample} bits: expected 1 to 4 of 8, 16, 32 or 64"
            )
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            return f"has the shape {page.shape} and {page.dtype}, but page 1 {first.shape} and {first.dtype}"
        if page.photometric.name not in ("MINISBLACK", "MINISWHITE", "RGB"):
            return f"has the colours {page.photometric.name}, which would be lost: expected grey or RGB"
        if page.subifds:
            return "is there in several sizes, of which the others would be lost"
        return None

    def count(self):
        with self.opened() as tiff:
            return sum(1 for _ in self.checked(tiff))

    def pages(self):
        import numpy as np

        with self.opened() as tiff:
            for number, page in enumerate(self.checked(tiff), 1):
                try:
                    array = page.asarray(maxworkers=1)
                    if array.shape != page.shape:
                        raise ValueError("its pixels are not all there")
                except Exception as error:  # of a damaged page tifffile and its decoders raise almost anything
                    raise ValueError(f"page {number} is damaged: {error}") from error
                yield np.moveaxis(array, 0, -1) if page.axes == "SYX" else array

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np
        import tifffile

        with self.opened() as tiff:
            size = (1 + twice) * len(tiff.pages) * tiff.pages[0].nbytes
            with tifffile.TiffWriter(
                path, bigtiff=tiff.is_bigtiff or size > LARGEST_TIFF, byteorder=tiff.byteorder
            ) as writer:
                for page, array in zip(self.checked(tiff), pages, strict=True):
                    array = np.moveaxis(array, -1, 0) if page.axes == "SYX" else array
                    options = self.options(tiff, page, twice)
                    if array.dtype != page.dtype and options["predictor"]:
                        options["predictor"] = "FLOATINGPOINT"
                    writer.write(np.ascontiguousarray(array), **options)

    def options(self, tiff, page, twice):
        """With what tifffile writes a page as it came; of pages that show two things the description isn't true."""
        import tifffile

        values = {tag.code: tag.value for tag in page.tags}
        others = [
            (tag.code, tag.dtype, tag.count, tag.value, True)
            for tag in page.tags
            if tag.code not in MADE or tag.code == ORIENTATION
        ]
        if IMAGEJ in values:
            others += tifffile.imagej_metadata_tag(values[IMAGEJ], tiff.byteorder)
        text = page.tags.get(270)  # the first: behind a text of one's own tifffile writes what it needs itself
        lossless = page.compression.name in LOSSLESS
        return {
            "photometric": page.photometric,
            "planarconfig": page.planarconfig if page.samplesperpixel > 1 else None,
            "extrasamples": page.extrasamples or None,
            "tile": (page.tilelength, page.tilewidth) if page.is_tiled else None,
            "rowsperstrip": None if page.is_tiled else min(page.rowsperstrip, page.imagelength),
            "compression": page.compression if lossless else "ADOBE_DEFLATE",
            "predictor": page.predictor if lossless and page.predictor > 1 else None,
            "iccprofile": page.iccprofile,
            "description": None if twice or text is None else bytes_of(text),
            "datetime": values.get(306),
            "software": values.get(305, False),
            "resolution": (values[282], values[283]) if {282, 283} <= values.keys() else None,
            "resolutionunit": values.get(296),
            "subfiletype": page.subfiletype or None,
            "metadata": None,
            "extratags": others,
        }


def is_measured(path):
    """Whether a TIFF has more pages than one, or more than 8 bits a value."""
    try:
        if not extras.there("tifffile"):
            return is_measured_by_pillow(path)
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            return len(tiff.pages) > 1 or tiff.pages[0].dtype is None or tiff.pages[0].dtype.itemsize > 1
    except Exception:  # tifffile raises many kinds, and Pillow may know better
        return False


def is_measured_by_pillow(path):
    """The same without the extra, to name it. Pillow can't open many of these, but reads the tags of nearly all."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with open(path, "rb") as file:
        head = file.read(16)
        tags = ImageFileDirectory_v2(head if head[2] == BIGTIFF else head[:8])
        file.seek(tags.next)
        tags.load(file)
    return tags.next > 0 or max(tags.get(TIFF_BITS, (1,))) > 8


def bytes_of(tag):
    """A text in a TIFF, as it stood there or in UTF-8."""
    return tag.value if isinstance(tag.value, bytes) else tag.value.encode()

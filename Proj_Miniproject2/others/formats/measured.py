"""Measured pictures in files: TIFFs of any depth, with all their pages, PNGs of 16 bits, and NumPy's .npy.

Each is read and written page by page, so that a long stack needs no more memory than one of its pages. TIFFs take
tifffile and imagecodecs, PNGs imagecodecs: the extra "measured".
"""

import importlib.util
import math
import struct
import zlib

import torch

from .pictures import TIFF_BITS, png_chunks

PNG, TIFF, NPY = b"\x89PNG", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"\x93NUMPY"
DEEP_PNG = 16  # bits a value
# Of a PNG's chunks those that say nothing of what its pixels were.
PNG_CHUNKS = (b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt")
# A TIFF's tags that the writer makes of the picture itself; what a page has besides is handed on.
MADE = {254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 305, 306, 317}
MADE |= {320, 322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 530, 531, 532, 34675, 50838, 50839}
ORIENTATION, IMAGEJ = 274, 50839
NARROW = 16  # columns: a last axis of fewer is none of a stack, but of too many channels
BIGTIFF = 43  # where others have 42
LOSSLESS = "NONE LZW ADOBE_DEFLATE DEFLATE PACKBITS LZMA ZSTD".split()  # of those that tifffile writes
LARGEST_TIFF = 2**32 - 2**25  # bytes of pixels; above, a TIFF needs larger numbers (BigTIFF)

NUMPY_DTYPES = "uint8 uint16 uint32 int8 int16 int32 float16 float32 float64".split()


def check_array(array):
    """TypeError unless it is a plain NumPy array of a dtype that can be denoised."""
    if array.dtype.name not in NUMPY_DTYPES:
        raise TypeError(f"expected an array of {', '.join(NUMPY_DTYPES)}, got {array.dtype}")
    if hasattr(array, "mask"):
        raise TypeError("expected an array without a mask: array.filled(nan) has NaN there, which stay")


def tensor_of(array):
    """The tensor (H, W) or (C, H, W) of a NumPy array (H, W) or (H, W, C), in any order of its bytes. Errors:
    `check_array`."""
    check_array(array)
    native = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    return native if native.dim() == 2 else native.movedim(2, 0)


def measured(path):
    """What reads and writes a file of measured pictures; None for any other file, which may be one for `read_image`.

    It has `pages()`, which yields NumPy arrays (H, W) or (H, W, C), `count()`, how many, and `write(pages, file)`,
    which takes as many and writes the same kind of file to a binary file that can be sought in. Raises OSError, or
    ValueError for what can't be written as it came: the page is named.
    """
    if not path.is_file():  # a pipe waits for who writes to it
        return None
    with open(path, "rb") as file:
        head = file.read(26)
    if head.startswith(NPY):
        return Npy(path)
    if head.startswith(PNG) and head[24:25] == bytes([DEEP_PNG]):
        check_extra("has more than 8 bits a value")
        return Png(path)
    if head.startswith(TIFF) and Tiff(path).is_measured():
        check_extra("has more than 8 bits a value, or several pages")
        return Tiff(path)
    return None


def there(module):
    return importlib.util.find_spec(module) is not None


def check_extra(what):
    if not there("tifffile") or not there("imagecodecs"):
        raise ValueError(f"{what}: pip install '.[measured]' in this project's folder brings what reads it")


class Npy:
    """An array (..., H, W), or (..., H, W, C) with a C of at most 4; of all axes before these each place is a page."""

    def __init__(self, path):
        import numpy as np

        try:
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"is a damaged .npy, or holds no numbers: {error}") from error
        shape = self.array.shape
        if len(shape) < 2 or 0 in shape:
            raise ValueError(f"holds an array {shape}: expected (H, W), (H, W, C) or pages of these")
        if len(shape) > 2 and 4 < shape[-1] < NARROW:
            raise ValueError(f"holds an array {shape}: expected up to 4 channels, or pages of {NARROW} columns or more")
        self.axis = len(shape) - (3 if len(shape) > 2 and shape[-1] <= 4 else 2)  # that of the rows

    def count(self):
        return math.prod(self.array.shape[: self.axis])

    def pages(self):
        import numpy as np

        for place in np.ndindex(self.array.shape[: self.axis]):
            yield np.asarray(self.array[place])

    def write(self, pages, file, twice=False):
        import numpy as np

        shape = list(self.array.shape)
        shape[self.axis + 1] *= 1 + twice
        about = {"descr": np.lib.format.dtype_to_descr(self.array.dtype), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_2_0(file, about)
        for page in pages:
            file.write(page.astype(self.array.dtype).tobytes())


class Png:
    """One page of 16 bits a value."""

    def __init__(self, path):
        self.path, self.chunks = path, list(png_chunks(path))
        if any(kind == b"tRNS" for kind, _ in self.chunks):
            raise ValueError(
                "has a colour that is transparent, which would be lost: expected a channel of transparency"
            )

    def count(self):
        return 1

    def pages(self):
        import imagecodecs

        try:
            page = imagecodecs.png_decode(self.path.read_bytes())
        except imagecodecs.PngError as error:
            raise ValueError(f"is a damaged PNG: {error}") from error
        yield page

    def write(self, pages, file, twice=False):
        import imagecodecs

        (page,) = pages
        content, start = imagecodecs.png_encode(page), 33  # where the chunks begin, after the header's
        file.write(content[:start])
        for kind, content_of in self.chunks:
            if kind in PNG_CHUNKS:
                file.write(struct.pack(">L", len(content_of)) + kind + content_of)
                file.write(struct.pack(">L", zlib.crc32(kind + content_of)))
        file.write(content[start:])


class Tiff:
    """All pages of a TIFF, in order; what says which axes they have, as ImageJ's and OME's descriptions, stays."""

    def __init__(self, path):
        self.path = path

    def is_measured(self):
        """Whether it has more pages than one, or more than 8 bits a value."""
        try:
            if not there("tifffile"):
                return self.is_measured_by_pillow()
            with self.opened() as tiff:
                return len(tiff.pages) > 1 or tiff.pages[0].dtype is None or tiff.pages[0].dtype.itemsize > 1
        except Exception:  # tifffile raises many kinds, and Pillow may know better
            return False

    def is_measured_by_pillow(self):
        """The same without the extra, to name it. Pillow can't open many of these, but reads the tags of nearly all."""
        from PIL.TiffImagePlugin import ImageFileDirectory_v2

        with open(self.path, "rb") as file:
            head = file.read(16)
            tags = ImageFileDirectory_v2(head if head[2] == BIGTIFF else head[:8])
            file.seek(tags.next)
            tags.load(file)
        return tags.next > 0 or max(tags.get(TIFF_BITS, (1,))) > 8

    def opened(self):
        import tifffile

        tiff = tifffile.TiffFile(self.path)
        tiff.pages.useframes = False  # each page has tags of its own
        return tiff

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
                except Exception as error:  # of a damaged page tifffile and its decoders raise almost anything
                    raise ValueError(f"page {number} is damaged: {error}") from error
                yield np.moveaxis(array, 0, -1) if page.axes == "SYX" else array

    def write(self, pages, file, twice=False):
        import numpy as np
        import tifffile

        with self.opened() as tiff:
            size = (1 + twice) * len(tiff.pages) * tiff.pages[0].nbytes
            with tifffile.TiffWriter(
                file, bigtiff=tiff.is_bigtiff or size > LARGEST_TIFF, byteorder=tiff.byteorder
            ) as writer:
                for page, array in zip(self.checked(tiff), pages, strict=True):
                    array = np.moveaxis(array, -1, 0) if page.axes == "SYX" else array
                    options = self.options(tiff, page, twice)
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


def bytes_of(tag):
    """A text in a TIFF, as it stood there or in UTF-8."""
    return tag.value if isinstance(tag.value, bytes) else tag.value.encode()

"""HEICs and AVIFs of more than 8 bits a value, which become PNGs of 16: by pillow-heif and imagecodecs, the extras
"heic" and "measured". Those of 8 bits are pictures like others."""

import functools
import re
import zlib

from . import extras
from .pictures import AVIF, ORIENTATION, boxed, read_image
from .png import write_png

# Where a decoder is told how many bits there are.
DEEP_AVIF = rb"av1C\x81.([\x40-\x7f\xc0-\xff])"
DEEP_HEIC = rb"hvcC\x01.{16}([\xf9-\xff])"
TWELVE = 0x20  # among the bits of an AVIF's; else there are ten
# What makes an array upright, by its orientation.
TURNED = {
    2: lambda page: page[:, ::-1],
    3: lambda page: page[::-1, ::-1],
    4: lambda page: page[::-1],
    5: lambda page: page.swapaxes(0, 1),
    6: lambda page: page[::-1].swapaxes(0, 1),
    7: lambda page: page[::-1, ::-1].swapaxes(0, 1),
    8: lambda page: page[:, ::-1].swapaxes(0, 1),
}


class DeepBoxes:
    """One page of 10 or 12 bits a value, as those of 16 that PNGs have."""

    ENDINGS, FOLDERS, AS = set(), set(), {}  # those of `Picture`
    FLOATS = False

    @staticmethod
    def is_mine(path, head):
        return bool(boxed(head)) and bits_of(path) > 8

    def __init__(self, path, options):
        extras.check_extra("has more than 8 bits a value", "measured", "imagecodecs")
        self.path, self.bits = path, bits_of(path)
        self.is_heic = not re.search(AVIF, boxed(path.read_bytes()[:256]))
        if self.is_heic:
            extras.check_extra("is a HEIC", "heic", "pillow_heif")

    @functools.cached_property
    def image(self):
        """The picture as others have it, for all that it has besides pixels."""
        return read_image(self.path, deep=True)

    def count(self):
        return 1

    def pages(self):
        import numpy as np

        try:
            self.image  # noqa: B018 - which refuses several pictures
            page = self.decoded()
        except (RuntimeError, SyntaxError, EOFError) as error:  # of its decoders
            raise ValueError(f"is damaged: {error}") from error
        yield np.rint(page * (65535 / (2**self.bits - 1))).astype(np.uint16)

    def decoded(self):
        """The page, upright, from 0 to 2**bits - 1."""
        import numpy as np

        if self.is_heic:  # upright, and in the highest of 16 bits
            import pillow_heif

            return np.asarray(pillow_heif.open_heif(self.path, convert_hdr_to_8bit=False)) >> 16 - self.bits
        import imagecodecs
        from PIL import Image

        with Image.open(self.path, formats=("AVIF",)) as file:
            turned = TURNED.get(file.getexif().get(ORIENTATION), np.asarray)
        return turned(imagecodecs.avif_decode(self.path.read_bytes()))

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        (page,) = pages
        about = self.image.info
        chunks = [(b"iCCP", b"ICC profile\0\0" + zlib.compress(about["icc_profile"]))] if "icc_profile" in about else []
        chunks += [(b"eXIf", about["exif"].removeprefix(b"Exif\0\0"))] if "exif" in about else []
        write_png(page, chunks + [chunk[:2] for chunk in about["pnginfo"].chunks], path)


def bits_of(path):
    """How many bits a value has, as the file says."""
    content = path.read_bytes()
    if found := re.search(DEEP_AVIF, content, re.S):
        return 12 if found[1][0] & TWELVE else 10
    if found := re.search(DEEP_HEIC, content, re.S):
        return 8 + (found[1][0] & 7)
    return 8

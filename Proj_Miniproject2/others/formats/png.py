"""PNGs of 16 bits a value, by imagecodecs: the extra "measured". Those of 8 bits are pictures like others."""

import struct
import zlib

from .extras import check_extra
from .pictures import png_chunks
from .streams import check_memory

MAGIC = b"\x89PNG"
DEEP = 16  # bits a value
SAMPLES = {2: 3, 4: 2, 6: 4}  # of a pixel, by the kind of its colours
# Of a PNG's chunks those that say nothing of what its pixels were.
KEPT = (b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt")


class Png:
    """One page of 16 bits a value."""

    ENDINGS, FOLDERS, AS = {".png"}, set(), {}
    FLOATS = False

    @staticmethod
    def is_mine(path, head):
        return head.startswith(MAGIC) and head[24:25] == bytes([DEEP])

    def __init__(self, path, options):
        check_extra("has more than 8 bits a value", "measured", "imagecodecs")
        self.path, self.chunks = path, list(png_chunks(path))
        if any(kind == b"tRNS" for kind, _ in self.chunks):
            raise ValueError(
                "has a colour that is transparent, which would be lost: expected a channel of transparency"
            )

    def count(self):
        return 1

    def pages(self):
        import imagecodecs

        width, height, _, colours = struct.unpack(">LLBB", self.chunks[0][1][:10])
        check_memory(height * width * SAMPLES.get(colours, 1) * DEEP // 8)
        try:
            page = imagecodecs.png_decode(self.path.read_bytes())
        except imagecodecs.PngError as error:
            raise ValueError(f"is a damaged PNG: {error}") from error
        yield page

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        (page,) = pages
        write_png(page, [chunk for chunk in self.chunks if chunk[0] in KEPT], path)


def write_png(page, chunks, path):
    """Write a page (H, W) or (H, W, C) with these (kind, content) before its pixels."""
    import imagecodecs

    content, start = imagecodecs.png_encode(page), 33  # where the chunks begin, after the header's
    with open(path, "wb") as file:
        file.write(content[:start])
        for kind, about in chunks:
            file.write(struct.pack(">L", len(about)) + kind + about + struct.pack(">L", zlib.crc32(kind + about)))
        file.write(content[start:])

"""FITS, the files of telescopes: .fits, packed by gzip or not, and .fz, whose pictures are compressed tile by tile.

What isn't a picture's is copied byte by byte. For what is, astropy says what the headers mean, and compresses; it
writes none of them, as it changes scaled integers that nobody touched into floats, and more.
"""

import contextlib
import math
import os
import re
import shutil
import tempfile
from functools import cached_property
from typing import NamedTuple

from .extras import check_extra
from .streams import PIECE, Source, check_memory, made_by, quiet, unpacked, written

BLOCK, CARD = 2880, 80  # bytes
SCALE = "BSCALE", "BZERO", "BLANK"  # of integers
LONGEST_HEADER = 2_000  # blocks
MAGIC, END = b"SIMPLE  =", b"END".ljust(CARD)
DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}  # by BITPIX
FLOAT = -32  # BITPIX of float32, the only dtype that is asked for
FLOATS_EXACT = 2**53
LEAST = 8  # rows and columns of a picture: what has fewer is a spectrum, or a table
# Names of HDUs, or words in them, that hold no light: what they say of each pixel stays as it is.
NO_PICTURE = set(
    "AREA BPM CONTEXT COVERAGE CTX DQ ERR ERROR ERRORS EXP EXPMAP EXPOSURE FLAG FLAGS IVAR MASK MASKS QUALITY RMS SEG "
    "SEGM SEGMENTATION SIGMA STD STDDEV TIME UNCERT UNCERTAINTY VAR VARIANCE WEIGHT WEIGHTS WHT".split()
)
FILLED = ("CHECKSUM", "DATASUM")  # by what is in the HDU
OLD = ("ZHECKSUM", "ZDATASUM", *FILLED)  # of the picture before it was compressed


class Hdu(NamedTuple):
    """A part of a file: its header, as it stands there and as astropy reads it, the bytes of data behind it with and
    without what fills the last block, and of a picture the (..., H, W)."""

    raw: bytes
    header: object
    size: int
    data: int
    shape: tuple = ()

    @property
    def compressed(self):
        return bool(self.header.get("ZIMAGE", False))

    def count(self):
        return math.prod(self.shape[:-2]) if self.shape else 0

    def is_unsigned(self):
        """Whether BZERO does nothing but give integers the sign that FITS has none of."""
        bits = self.header["ZBITPIX" if self.compressed else "BITPIX"]
        zero = -128 if bits == 8 else 2.0 ** (bits - 1)
        return bits > 0 and self.header.get("BSCALE", 1) == 1 and self.header.get("BZERO", 0) == zero


class Fits:
    """The planes of all pictures in a FITS, HDU after HDU: as floats, or as the integers that are stored, which BSCALE
    and BZERO go on scaling; where BZERO makes unsigned ones of them, as these. BLANK is no measurement. With
    --dtype they are the floats that these stand for, and nothing scales them any more."""

    ENDINGS, FOLDERS, AS = {".fits", ".fit", ".fts", ".fz", ".fits.gz"}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return unpacked(head, len(MAGIC)) == MAGIC

    def __init__(self, path, options):
        check_extra("is a FITS", "fits", "astropy")
        self.path, self.floats = path, bool(options.dtype)

    @cached_property
    def hdus(self):
        """All of them. ValueError for a damaged file, and for one without a picture."""
        found, number = [], 0
        with Source(self.path) as source:
            while raw := self.header_of(source):
                number += 1
                try:
                    with quiet():
                        hdu = described(raw)
                except Exception as error:  # of a damaged header astropy raises almost anything
                    raise ValueError(f"HDU {number} has a damaged header: {error}") from error
                values, left = set(), hdu.data
                if hdu.shape and not hdu.compressed and hdu.header["BITPIX"] == 8:
                    while left and len(values) <= 2:
                        left -= (step := min(left, PIECE))
                        values.update(source.read(step))
                    if len(values) <= 2:  # a mask
                        hdu = hdu._replace(shape=())
                source.copy(left)
                source.piece(hdu.size - hdu.data)  # some leave out what fills the last block
                found.append(hdu)
        if not any(hdu.shape for hdu in found):
            raise ValueError("holds no picture, but tables, masks or spectra alone")
        return found

    def header_of(self, source):
        """The next header as it stands there; none at the end, or where something else begins."""
        raw = bytearray()
        for _ in range(LONGEST_HEADER):
            block = source.piece(BLOCK)
            if not raw and not block.startswith((MAGIC, b"XTENSION")):
                self.behind = block + source.rest()
                return b""
            raw += block
            if len(block) < BLOCK:
                raise ValueError("is cut off in a header")
            if END in cards_of(block):
                return bytes(raw)
        raise ValueError("has a header without an end")

    def count(self):
        return sum(hdu.count() for hdu in self.hdus)

    def pages(self):
        import numpy as np

        with Source(self.path) as source:
            for number, hdu in enumerate(self.hdus):
                source.copy(len(hdu.raw))
                if hdu.compressed and hdu.shape:
                    source.copy(hdu.size)
                    yield from self.unpacked(number)
                    continue
                dtype = np.dtype(DTYPES[hdu.header["BITPIX"]])
                size = math.prod(hdu.shape[-2:]) * dtype.itemsize
                for _ in range(hdu.count()):
                    yield self.native(np.frombuffer(source.read(size), dtype).reshape(hdu.shape[-2:]), hdu)
                source.copy(hdu.data - hdu.count() * size)
                source.piece(hdu.size - hdu.data)

    def unpacked(self, number):
        """The pages of a compressed HDU."""
        import numpy as np

        hdu = self.hdus[number]
        check_memory(math.prod(hdu.shape[-2:]) * abs(hdu.header["ZBITPIX"]) // 8)
        with opened(self.path) as found:
            for place in np.ndindex(hdu.shape[:-2]):
                try:
                    with quiet():
                        page = np.asarray(found[number].section[place or slice(None)])
                except Exception as error:  # of damaged tiles all kinds are raised
                    raise ValueError(f"HDU {number + 1} is damaged: {error}") from error
                yield self.native(page, hdu)

    def native(self, words, hdu):
        return scaled(native(words, hdu), hdu) if self.floats else native(words, hdu)

    def write(self, pages, path, twice=False, dtype=None):
        pages = iter(pages)
        with Source(self.path) as source, written(path, source.packed) as file:
            for number, hdu in enumerate(self.hdus):
                source.copy(len(hdu.raw))
                if not hdu.shape:
                    file.write(hdu.raw)
                    source.copy(hdu.data, file)
                    file.write(source.piece(hdu.size - hdu.data))
                    continue
                source.copy(hdu.data)
                source.piece(hdu.size - hdu.data)
                new = (next(pages) for _ in range(hdu.count()))
                new = (page.astype(DTYPES[FLOAT]) if dtype else stored(page, hdu) for page in new)
                if hdu.compressed:
                    self.write_compressed(number, new, file, twice, dtype)
                else:
                    raw = changed(hdu.raw, "NAXIS1", 2 * hdu.shape[-1]) if twice else hdu.raw
                    raw = without(changed(raw, "BITPIX", FLOAT), SCALE) if dtype else raw
                    file.write(with_cards(raw, history(dtype)))
                    size = sum(file.write(page.tobytes()) for page in new)
                    file.write(bytes(-size % BLOCK))
            file.write(self.behind)
            file.flush()
            self.sum_up(file)

    def write_compressed(self, number, pages, file, twice, dtype):
        """The same tiles in the same compression. But floats, which were rounded to a part of the noise that they no
        longer have, are compressed without a loss, and so is what HCOMPRESS may have rounded."""
        import numpy as np
        from astropy.io import fits

        hdu = self.hdus[number]
        with opened(self.path) as found, new_file(file) as scratch, new_file(file) as content:
            old = found[number]
            shape = (*hdu.shape[:-1], hdu.shape[-1] * (1 + twice))
            data = np.memmap(scratch, DTYPES[FLOAT if dtype else old.header["BITPIX"]], "w+", shape=shape)
            for place, page in zip(np.ndindex(shape[:-2]), pages, strict=True):
                data[place] = page
            header = old.header.copy()
            kept = [header.cards[key].image for key in SCALE if key in header and not dtype]
            for key in (*SCALE, *OLD):  # or astropy counts in them once more, or drops them
                header.remove(key, ignore_missing=True)
            kept += [str(fits.Card(key, "0".ljust(16, "0"))) for key in FILLED if key in hdu.header]
            floats = data.dtype.kind == "f"
            new = fits.CompImageHDU(
                data,
                header,
                compression_type="GZIP_2" if floats else old.compression_type,
                tile_shape=tuple(int(side) for side in old.tile_shape),
                quantize_level=0,
            )
            with quiet():
                fits.HDUList([fits.PrimaryHDU(), new]).writeto(content)
            content.seek(BLOCK)
            header = b""
            while END not in cards_of(header):
                header += content.read(BLOCK)
            file.write(with_cards(header, [*kept, *history(dtype)]))
            shutil.copyfileobj(content, file, PIECE)

    def sum_up(self, file):
        """The checksums anew, where there were some."""
        with opened(file.name, disable_image_compression=True) as found:
            for number, hdu in enumerate(self.hdus):
                if hdu.shape and any(key in hdu.header for key in FILLED):
                    new = found[number]
                    new.add_checksum() if FILLED[0] in hdu.header else new.add_datasum()
                    file.seek(found.fileinfo(number)["hdrLoc"])
                    file.write(new.header.tostring().encode("ascii"))

    def missing(self, page):
        return None  # it is NaN


def new_file(beside):
    return tempfile.TemporaryFile(dir=os.path.dirname(beside.name))


@contextlib.contextmanager
def opened(path, **options):
    """What astropy makes of a file."""
    from astropy.io import fits

    try:
        with quiet():
            found = fits.open(path, do_not_scale_image_data=True, lazy_load_hdus=False, **options)
    except Exception as error:
        raise ValueError(f"is damaged: {error}") from error
    with found:
        yield found


def native(words, hdu):
    """What a page's stored values stand for, see `Fits`: floats with NaN for BLANK, where there is some."""
    import numpy as np

    words = words.astype(words.dtype.newbyteorder("="))
    if words.dtype.kind == "f":
        return words
    values = other_sign(words) if hdu.is_unsigned() else words
    blank = words == hdu.header["BLANK"] if "BLANK" in hdu.header else np.zeros(words.shape, bool)
    if not blank.any():
        return values
    floats = np.where(blank, np.nan, values)
    if np.nanmax(abs(floats), initial=0) > FLOATS_EXACT:
        raise ValueError("has integers beyond 2^53, which floats, that take the place of BLANK, don't know")
    return floats


def scaled(page, hdu):
    """What the values of `native` stand for, see `Fits`."""
    scale, zero = hdu.header.get("BSCALE", 1), hdu.header.get("BZERO", 0)
    return page if hdu.is_unsigned() or (scale, zero) == (1, 0) else page.astype("float64") * scale + zero


def stored(page, hdu):
    """The values of a page as they are stored: the inverse of `native`, rounded where need be."""
    import numpy as np

    dtype = np.dtype(DTYPES[hdu.header["ZBITPIX" if hdu.compressed else "BITPIX"]])
    if dtype.kind == "f":
        return page.astype(dtype)
    words = np.empty(0, dtype.newbyteorder("="))
    kind = (other_sign(words) if hdu.is_unsigned() else words).dtype
    blank = np.isnan(page)
    if page.dtype != kind:
        limits = np.iinfo(kind)
        page = np.where(blank, 0, page).round().clip(limits.min, limits.max).astype(kind)
    words = other_sign(page) if hdu.is_unsigned() else page
    return np.where(blank, hdu.header.get("BLANK", 0), words).astype(dtype)


def other_sign(values):
    """Integers of the other signedness, moved by half of their range: what BZERO does, and its own inverse."""
    import numpy as np

    bits = 8 * values.itemsize
    turned = values.view(f"u{values.itemsize}") ^ np.array(1 << (bits - 1), f"u{values.itemsize}")
    return turned.view(f"{'u' if values.dtype.kind == 'i' else 'i'}{values.itemsize}")


def cards_of(raw):
    return [raw[place : place + CARD] for place in range(0, len(raw), CARD)]


def with_cards(raw, new):
    """A header as it stands in a file, with more cards at its end."""
    cards = cards_of(raw)
    cards = cards[: cards.index(END)] + [card.encode("ascii").ljust(CARD) for card in new] + [END]
    return b"".join(cards) + b" " * (-len(cards) * CARD % BLOCK)


def history(dtype):
    cards = [f"HISTORY {made_by()}: denoised, each plane by itself"]
    return [*cards, f"HISTORY {made_by()}: as {dtype}, without {', '.join(SCALE)}"] if dtype else cards


def is_of(card, keys):
    return any(card.startswith(f"{key:8}=".encode("ascii")) for key in keys)


def changed(raw, key, number):
    """A header as it stands in a file, with another number on a card."""
    new = f"{key:8}= {number:20d}".encode("ascii").ljust(CARD)
    return b"".join(new if is_of(card, [key]) else card for card in cards_of(raw))


def without(raw, keys):
    """A header as it stands in a file, without some of its cards."""
    return b"".join(card for card in cards_of(raw) if not is_of(card, keys))


def described(raw):
    from astropy.io import fits

    header = fits.Header.fromstring(raw)
    kind = "IMAGE" if "SIMPLE" in header else header["XTENSION"].strip()
    axes = [header[f"NAXIS{axis}"] for axis in range(1, header["NAXIS"] + 1)]
    groups = header.get("GROUPS", False) and axes[:1] == [0]
    values = header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + (math.prod(axes[groups:]) if axes else 0))
    data = abs(header["BITPIX"]) // 8 * values
    if min([data, *axes]) < 0:
        raise ValueError("a negative size")
    hdu = Hdu(raw, header, data + -data % BLOCK, data)
    z = "Z" if hdu.compressed and kind == "BINTABLE" else ""
    if kind not in ("IMAGE", "IUEIMAGE") and not z:
        return hdu
    if z:
        axes = [header[f"ZNAXIS{axis}"] for axis in range(1, header["ZNAXIS"] + 1)]
    if header[f"{z}BITPIX"] not in DTYPES:
        raise ValueError(f"BITPIX is {header[f'{z}BITPIX']}")
    words = set(re.split("[^A-Z]+", str(header.get("EXTNAME", "")).upper()))
    named = words & NO_PICTURE or header.get("ZCMPTYPE") == "PLIO_1"  # which takes masks
    is_picture = len(axes) > 1 and min(axes[:2]) >= LEAST and 0 not in axes and not groups and not named
    return hdu._replace(shape=tuple(reversed(axes))) if is_picture else hdu

"""TIFFs of all kinds, by tifffile and imagecodecs: the extra "measured". Without it those of 8 bits and one page are
pictures like others."""

import contextlib
import errno
import functools
import math
import re
import struct
import warnings
from typing import NamedTuple

import torch
from torch.nn.functional import interpolate

from . import extras
from .pictures import TIFF_BITS
from .streams import check_memory

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A TIFF's tags that the writer makes of the picture itself; what a page has besides is handed on.
MADE = {254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 282, 283, 284, 292, 293, 296, 305, 306, 317}
MADE |= {320, 322, 323, 324, 325, 326, 327, 328, 330, 338, 339, 347, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530}
MADE |= {531, 532, 34675, 50838, 50839}
NODATA, IMAGEJ = 42113, 50839
# Tags whose values are places of directories of their own, which are copied: those of EXIF, GPS and interoperability.
DIRECTORIES = {34665, 34853, 40965}
BIGTIFF = 43  # where others have 42
LOSSLESS = "NONE LZW ADOBE_DEFLATE DEFLATE PACKBITS LZMA ZSTD".split()  # of those that tifffile writes
LARGEST_TIFF = 2**32 - 2**25  # bytes of pixels; above, a TIFF needs larger numbers (BigTIFF)
CCITT = ("CCITTRLE", "CCITTFAX3", "CCITTFAX4")
COLOURS = {"SEPARATED": "CMYK", "CFA": "of a sensor behind its filters, not developed yet"}
REDUCED, MASK = 1, 4  # bits of what a page says it is
TRANSPARENCY = (1, 2)  # among the kinds of further samples
ALIKE, BLOCK, FEWEST_BLOCKS = 0.5, 8, 4
LARGE, PACKED = 2**28, 5000  # bytes of a page that is looked at, and how many of them one in the file may become


class Part(NamedTuple):
    """A page of a TIFF, as tifffile has it, and what belongs to it."""

    number: int  # from 1
    page: object
    levels: list  # the same smaller, as the page's own sub-pages
    behind: list  # pages that follow it: the same smaller, and masks


class Tiff:
    """All pages of a TIFF, in order, of any sizes and kinds; what says which axes they have, as ImageJ's and OME's
    descriptions, stays.

    A page's colours and one channel of transparency are a page here; other channels, as a second dye or infrared, are
    pages of their own. Values of fewer than 8 bits are brought to the range of 8, as they are those of pictures. What
    is there again, smaller, is made anew.
    """

    ENDINGS, FOLDERS, AS = {".tif", ".tiff", ".svs"}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return head.startswith(MAGIC) and (has_libraries() or is_measured_by_pillow(path))

    def __init__(self, path, options):
        extras.check_extra("has more than 8 bits a value, or several pages", "measured", "tifffile", "imagecodecs")
        self.path, self.known = path, {}

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

    def groups(self, part):
        """The channels of a `Part` that are a page each: lists of numbers, transparency last. Pages of one kind are
        told from the first."""
        page = part.page
        kind = page.shape, page.dtype, page.photometric, page.extrasamples
        if kind not in self.known:
            self.known[kind] = self.told(page, part.number)
        return self.known[kind]

    def told(self, page, number):
        channels = [*range(3 if page.photometric.name == "PALETTE" else page.samplesperpixel)]
        first = len(channels) - len(page.extrasamples)
        clear = [first + i for i, kind in enumerate(page.extrasamples) if kind in TRANSPARENCY]
        if len(clear) > 1:
            raise ValueError("has several channels of transparency: expected one at most")
        shown = [channel for channel in channels if channel not in clear]
        colours, planes = has_colours(page) and len(shown) >= 3, page.axes == "SYX"
        if colours and (len(shown) > 3 or planes) and not look_like_colours(samples_of(page, number)[..., :3]):
            warnings.warn(f"{self.path}: its {len(shown)} channels don't look like colours: each is denoised as a "
                          "page of its own", stacklevel=2)  # fmt: skip
            colours = False
            if planes:  # as tifffile writes any four planes, with the last as transparency
                shown, clear = channels, []
        groups = [[0, 1, 2], *([i] for i in shown[3:])] if colours else [[i] for i in shown]
        return [groups[0] + clear, *groups[1:]]

    @functools.cached_property
    def nodata(self):
        """What GDAL knows as no data, None if there is no such value among those that the file may have."""
        import numpy as np

        with self.opened() as tiff:
            page = tiff.pages[0]
            try:
                value = float(page.tags.valueof(NODATA).strip("\0 "))
                possible = bits_of(page) >= 8 and np.array(value).astype(page.dtype) == value
            except (AttributeError, ValueError, TypeError):
                return None
            return value if possible else None

    def count(self):
        with self.opened() as tiff:
            return sum(len(self.groups(part)) for part in parts(tiff))

    def pages(self):
        with self.opened() as tiff:
            empty = pages = 0
            for part in parts(tiff):
                samples = samples_of(part.page, part.number)
                for group in self.groups(part):
                    yield samples[..., group[0]] if len(group) == 1 else samples[..., group]
                pages, empty = pages + 1, empty + (not any(part.page.databytecounts))
            absent = promised(tiff) - pages
            if empty or absent > 0:
                warnings.warn(f"{self.path}: {empty + max(0, absent)} of its {pages + max(0, absent)} pages are "
                              "missing, as after a stop: they are left as they are", stacklevel=2)  # fmt: skip

    def missing(self, page):
        """Where a pixel has nothing but the value that is no data."""
        if self.nodata is None:
            return None
        found = page == self.nodata
        return found if found.ndim == 2 else found[..., :3].all(2)

    def write(self, pages, path, twice=False, dtype=None):
        try:
            self.write_pages(iter(pages), path, twice, dtype)
        except OSError as error:
            if error.errno is None:  # NumPy's, of what a disk didn't take
                raise OSError(errno.EFBIG, f"the disk is full, or takes no larger file: {error}") from error
            raise

    def write_pages(self, pages, path, twice, dtype):
        import numpy as np
        import tifffile

        directories = []
        with self.opened() as tiff:
            whole = (page for part in parts(tiff) for page in (part.page, *part.levels, *part.behind))
            size = sum(math.prod(page.shape) * np.dtype(dtype or page.dtype).itemsize for page in whole)
            big = tiff.is_bigtiff or (1 + twice) * size > LARGEST_TIFF
            with tifffile.TiffWriter(path, bigtiff=big, byteorder=tiff.byteorder) as writer:
                for part in parts(tiff):
                    groups = self.groups(part)
                    samples = joined([next(pages) for _ in groups], groups)
                    for page, levels in [(part.page, part.levels), *((page, []) for page in part.behind)]:
                        found = directories_of(tiff, page)
                        standing_in = [(tag + 1, "Q" if big else "I", 1, 0, True) for tag in found]
                        directories.append(found)
                        for each in (page, *levels):
                            values = samples if each is part.page else self.made(each, samples, twice)
                            options = options_of(tiff, each, twice, values.dtype)
                            if each is page:
                                options |= {"subifds": len(levels), "extratags": options["extratags"] + standing_in}
                            writer.write(stored(each, values), **options)
            if next(pages, None) is not None:  # asked for in any case, as there is something behind the last one
                raise ValueError("there are more pages than were read")
            if any(directories):
                write_directories(directories, path)

    def made(self, page, samples, twice):
        """The samples of a page that belongs to the one of these `samples`: those again, smaller; or a mask as it
        is."""
        import numpy as np

        if page.subfiletype & MASK:
            return np.concatenate([samples_of(page)] * (1 + twice), 1)
        height, width = page.imagelength, page.imagewidth * (1 + twice)
        if self.nodata is not None:  # which no mean may touch
            rows, columns = (np.arange(n) * old // n for n, old in zip((height, width), samples.shape, strict=False))
            return samples[rows[:, None], columns]
        wide = samples.astype("float32" if samples.dtype.itemsize < 4 else "float64")
        wide = torch.from_numpy(wide).movedim(2, 0)[None]
        small = interpolate(wide, (height, width), mode="area")[0].movedim(0, 2).numpy()
        return (small if samples.dtype.kind == "f" else small.round()).astype(samples.dtype)


# ---------------------------------------------------------------------------------------------------------------
# Pages


def joined(pages, groups):
    """The samples (H, W, S) of which the pages are groups."""
    import numpy as np

    samples = np.empty((*pages[0].shape[:2], sum(map(len, groups))), pages[0].dtype)
    for group, page in zip(groups, pages, strict=True):
        samples[..., group] = page if page.ndim > 2 else page[..., None]
    return samples


def parts(tiff):
    """Yields the pages of a tifffile.TiffFile, if all can be written as they are: a `Part` each."""
    part = first = None
    for number, page in enumerate(tiff.pages, 1):
        what = None
        if part and (page.subfiletype & MASK or is_copy(page, part.page, tiff)):
            what = refused_mask(page)
            part.behind.append(page)
        else:
            if part:
                yield from known(part)
            if part and tiff.is_imagej and first.ndim == 2 and first.imagewidth in (3, 4):
                raise ValueError(
                    f"has pages of {first.imagewidth} columns, as tifffile makes of ImageJ's colours of 16 bits: each "
                    "is a row of a picture, which is to be saved without ImageJ's kind"
                )
            first = first or page
            part = Part(number, page, [sub.aspage() for sub in page.pages or ()], [])
            what = refused(page) or next(filter(None, (refused_level(sub, page) for sub in part.levels)), None)
        if what:
            raise ValueError(f"page {number} {what}")
    if not part:
        raise ValueError("holds no page, as after a stop")
    layout = tiff.tiff  # where the next page would begin stands behind a page's tags
    tiff.filehandle.seek(page.offset)
    (tags,) = struct.unpack(layout.tagnoformat, tiff.filehandle.read(layout.tagnosize))
    tiff.filehandle.seek(tags * layout.tagsize, 1)
    if tiff.filehandle.read(layout.offsetsize) != bytes(layout.offsetsize):
        raise ValueError(f"page {number + 1} is damaged, and with it where the pages after it are")
    if number == 1 and not tiff.is_ome and math.prod(tiff.series[0].shape) > math.prod(first.shape):
        raise ValueError("has pages that only ImageJ finds, as of more than 4 GB: save it as a BigTIFF")
    yield from known(part)


def known(part):
    """A `Part` in a list; or, where it has several copies of one size, as where those of all pages are behind the last
    one, a part for each of its pages: then nobody knows whose they are."""
    copies = [page.shape for page in part.behind if not page.subfiletype & MASK]
    if len(set(copies)) == len(copies):
        return [part]
    found = [part._replace(behind=[])]
    for number, page in enumerate(part.behind, part.number + 1):
        if page.subfiletype & MASK:
            found[-1].behind.append(page)
        else:
            found.append(Part(number, page, [], []))
    return found


def refused(page):
    """What keeps a page from being denoised, or being written as it came, if anything."""
    import tifffile

    colours = page.photometric.name
    if page.dtype is None:
        return f"has values of {page.bitspersample} bits of the kind {page.sampleformat}, which aren't read"
    if page.ndim not in (2, 3) or page.imagedepth > 1:
        return "is a volume in itself: save it as a page for each plane"
    if page.compression not in tifffile.TIFF.DECOMPRESSORS and page.compression.name not in CCITT:
        return f"is compressed as {page.compression.name}, which isn't read: save it compressed otherwise"
    by_jpeg = colours == "YCBCR" and page.compression.name in ("JPEG", "OJPEG", "ALT_JPEG")  # whose decoder makes RGB
    if colours not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE") and not by_jpeg:
        return f"has the colours {COLOURS.get(colours, colours)}, which would be lost: expected grey or RGB"
    if colours == "PALETTE" and (page.samplesperpixel > 1 or page.colormap is None):
        return "has more than the numbers of colours"
    return None


def refused_mask(page):
    odd = page.subfiletype & MASK and (page.samplesperpixel > 1 or page.dtype is None)
    return "is an odd mask" if odd else None


def refused_level(page, whole):
    """The same of a page inside of `whole`, which has that again, smaller, or is a mask for it."""
    if page.subfiletype & MASK:
        return refused_mask(page)
    if not is_smaller(page, whole):
        return "is there in several sizes, of which one is of another kind and would be lost"
    return None


def is_smaller(page, whole):
    """Whether a page may have `whole` again, smaller: it is of the same kind, and its sides have the same ratio."""
    alike = all(getattr(page, name) == getattr(whole, name) for name in ("dtype", "samplesperpixel", "photometric"))
    (height, width), (rows, columns) = ((p.imagelength, p.imagewidth) for p in (whole, page))
    fits = rows <= height and columns <= width and abs(rows * width - columns * height) <= height + width
    return alike and fits and not page.pages


def is_copy(page, whole, tiff):
    """The same of a page that follows `whole`. Slides of Aperio's scanners (SVS) mark the labels and pictures of all of
    the glass as smaller, and copies not."""
    return bool(page.subfiletype & REDUCED) != tiff.is_svs and is_smaller(page, whole)


@contextlib.contextmanager
def read(number):
    """ValueError for what is wrong with the page of that number, of whatever kind."""
    try:
        yield
    except Exception as error:  # of a damaged page tifffile and its decoders raise almost anything
        raise ValueError(f"page {number} is damaged: {error}" if number else f"is damaged: {error}") from error


def samples_of(page, number=None):
    """The pixels of a page, (H, W, S). ValueError for a damaged one, and one that is too large; number: its own."""
    import numpy as np

    with read(number):
        counts = page.databytecounts
        ends = [start + count for start, count in zip(page.dataoffsets, counts, strict=False) if count]
        size = math.prod(page.shape) * page.dtype.itemsize
        if max(ends, default=0) > page.parent.filehandle.size or size > max(LARGE, PACKED * sum(counts)):
            raise ValueError("its pixels are not all there")
    check_memory(size)
    with read(number):
        array = page.asarray(maxworkers=1)
        if array.shape != page.shape:
            raise ValueError("its pixels are not all there")
    if page.photometric.name == "PALETTE":
        colours = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        return np.moveaxis(colours.astype("uint8")[:, array], 0, 2)
    if bits_of(page) < 8:
        steps = np.arange(2 ** bits_of(page)) * 255 / (2 ** bits_of(page) - 1)
        array = np.rint(steps).astype("uint8")[array.astype("uint8")]
    return array[..., None] if array.ndim == 2 else np.moveaxis(array, 0, -1) if page.axes == "SYX" else array


def stored(page, samples):
    """The array that a writer takes for samples (H, W, S) of a page."""
    import numpy as np

    bits, whole = bits_of(page), samples.dtype.kind != "f"
    if page.photometric.name != "PALETTE" and bits < 8:
        samples = samples / 255 * (2**bits - 1)
        samples = (np.rint(samples) if whole else samples).astype(page.dtype if whole else "float32")
    elif whole and page.dtype.kind == "u" and bits < 8 * page.dtype.itemsize:
        samples = samples.clip(max=2**bits - 1)
    if samples.shape[2] == 1:
        return samples[..., 0]
    return np.ascontiguousarray(np.moveaxis(samples, 2, 0) if page.axes == "SYX" else samples)


def bits_of(page):
    """How many bits a value of a page has."""
    return page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)


def has_colours(page):
    return page.photometric.name in ("RGB", "PALETTE", "YCBCR")


def look_like_colours(samples):
    """Whether two of three channels (H, W, 3) change alike from place to place, as those of photos do, and of dyes
    don't. Means over blocks hide the noise; a picture of few blocks is what its file says."""
    import numpy as np

    rows, columns = (n // BLOCK for n in samples.shape[:2])
    if min(rows, columns) < FEWEST_BLOCKS:
        return True
    blocks = samples[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3)
    means = np.nan_to_num(blocks.mean((1, 3), dtype="float64"))
    changes = np.concatenate([np.diff(means, axis=axis).reshape(-1, 3) for axis in (0, 1)])
    with np.errstate(all="ignore"):  # a channel that is the same everywhere is like none
        likeness = np.corrcoef(changes, rowvar=False)
    return bool((likeness[np.triu_indices(3, 1)] > ALIKE).any())


def promised(tiff):
    """How many pages a file says that it has, as microscopes' programs write before the first is taken."""
    if tiff.is_imagej:
        return (tiff.imagej_metadata or {}).get("images", 0)
    if tiff.is_ome and len(set(re.findall('FileName="([^"]*)"', tiff.ome_metadata or ""))) < 2:
        return sum(len(series) for series in tiff.series if not series.is_pyramidal)
    return 0


# ---------------------------------------------------------------------------------------------------------------
# Tags


def options_of(tiff, page, twice, dtype):
    """With what tifffile writes a page as it came; of pages that show two things the description isn't true."""
    import tifffile

    tags, bits = page.tags, bits_of(page)
    others = [(tag.code, tag.dtype, tag.count, raw(tag), True) for tag in tags if tag.code not in MADE | DIRECTORIES]
    if IMAGEJ in tags:
        others += tifffile.imagej_metadata_tag(tags[IMAGEJ].value, tiff.byteorder)
    palette, own = page.photometric.name == "PALETTE", dtype.kind == page.dtype.kind or bits < 8
    packed = own and dtype.kind != "f" and not palette and bits not in (1, 8, 16, 32, 64)
    lossless = page.compression.name in LOSSLESS
    predictor = page.predictor if lossless and page.predictor > 1 and not packed and bits > 1 else None
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    tile = None if tile and (tile[0] % 16 or tile[1] % 16) else tile
    text = tags.get(270)  # the first: behind a text of one's own tifffile writes what it needs itself
    text = None if twice or text is None else bytes_of(text)
    if text and tiff.is_ome and dtype != page.dtype and bits >= 8:
        text = re.sub(rb'(<(?:\w+:)?Pixels\b[^>]*\bType=")[^"]*', rb"\1float", text)
    return {
        "photometric": "RGB" if has_colours(page) else page.photometric,
        "planarconfig": page.planarconfig if page.samplesperpixel > 1 else None,
        "extrasamples": page.extrasamples or None,
        "bitspersample": bits if packed else None,
        "tile": tile,
        "rowsperstrip": None if tile or not page.rowsperstrip else min(page.rowsperstrip, page.imagelength),
        "compression": None if packed else page.compression if lossless else "ADOBE_DEFLATE",
        "predictor": "FLOATINGPOINT" if predictor and dtype.kind == "f" else predictor,
        "iccprofile": page.iccprofile,
        "description": text,
        "datetime": tags.valueof(306),
        "software": tags.valueof(305, False),
        "resolution": (tags[282].value, tags[283].value) if 282 in tags and 283 in tags else None,
        "resolutionunit": tags.valueof(296),
        "subfiletype": page.subfiletype or None,
        "metadata": None,
        "extratags": others,
    }


def bytes_of(tag):
    """A text in a TIFF, as it stood there or in UTF-8."""
    return tag.value if isinstance(tag.value, bytes) else tag.value.encode()


def raw(tag):
    """A tag's value, as its bytes stand in the file."""
    file = tag.parent.filehandle
    file.seek(tag.valueoffset)
    return file.read(tag.valuebytecount)


def directories_of(tiff, page):
    """The directories of EXIF and the like that a page has: a dict {tag: entries}, without those that are damaged."""
    found = {}
    for code in DIRECTORIES & {tag.code for tag in page.tags}:
        with contextlib.suppress(struct.error, ValueError, KeyError):
            found[code] = read_directory(tiff, page.tags[code].valueoffset)
    return found


def read_directory(tiff, place, deeper=True):
    """The entries (code, dtype, count, bytes or entries) of a directory at a place in the file. KeyError, ValueError or
    struct.error for what is none."""
    import tifffile

    file, layout, entries = tiff.filehandle, tiff.tiff, []
    file.seek(place)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    if place + tags * layout.tagsize > file.size:
        raise ValueError("the directory lies behind the file's end")
    for header in [file.read(layout.tagsize) for _ in range(tags)]:
        code, kind = struct.unpack(layout.byteorder + "HH", header[:4])
        (count,) = struct.unpack(layout.offsetformat, header[4 : -layout.offsetsize])
        size, value = count * struct.calcsize("=" + tifffile.TIFF.DATA_FORMATS[kind]), header[-layout.offsetsize :]
        (at,) = struct.unpack(layout.offsetformat, value)
        if code in DIRECTORIES and deeper:  # one that is damaged is left out
            with contextlib.suppress(struct.error, ValueError, KeyError):
                entries.append((code, kind, count, read_directory(tiff, at, False)))
            continue
        if size > layout.offsetsize:
            if at + size > file.size:
                raise ValueError("the value lies behind the file's end")
            file.seek(at)
            value = file.read(size)
        else:
            value = value[:size]
        entries.append((code, kind, count, value))
    return entries


def write_directories(directories, path):
    """Put the directories of each page, see `directories_of`, into a TIFF, where other tags stand in for theirs: those
    with the next number, as tifffile writes none of them itself."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.useframes = False
        for page, found in zip(tiff.pages, directories, strict=True):
            for code, entries in found.items():
                tag, place = page.tags[code + 1], write_directory(tiff, entries)
                tiff.filehandle.seek(tag.offset)
                tiff.filehandle.write(struct.pack(tiff.byteorder + "H", code))
                tiff.filehandle.seek(tag.valueoffset)
                tiff.filehandle.write(struct.pack(tiff.tiff.offsetformat, place))


def write_directory(tiff, entries):
    """Append a directory to a TIFF: its place."""
    file, layout, written = tiff.filehandle, tiff.tiff, b""
    nested = {code: write_directory(tiff, value) for code, _, _, value in entries if isinstance(value, list)}
    file.seek(0, 2)
    place = file.tell() + file.tell() % 2
    behind = place + layout.tagnosize + layout.tagsize * len(entries) + layout.offsetsize
    written, values = struct.pack(layout.tagnoformat, len(entries)), b""
    for code, kind, count, value in entries:
        if code in nested:
            value = struct.pack(layout.offsetformat, nested[code])
        elif len(value) > layout.offsetsize:
            at, values = behind + len(values), values + value + bytes(len(value) % 2)
            value = struct.pack(layout.offsetformat, at)
        written += struct.pack(layout.byteorder + "HH", code, kind) + struct.pack(layout.offsetformat, count)
        written += value.ljust(layout.offsetsize, b"\0")
    file.write(bytes(place - file.tell()) + written + bytes(layout.offsetsize) + values)
    return place


# ---------------------------------------------------------------------------------------------------------------
# Without the extra


def has_libraries():
    return extras.there("tifffile") and extras.there("imagecodecs")


def is_measured_by_pillow(path):
    """Whether a TIFF has several pages, or more than 8 bits a value, for which the extra is needed. Pillow can't open
    many of these, but reads the tags of nearly all."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with open(path, "rb") as file:
            head = file.read(16)
            tags = ImageFileDirectory_v2(head if head[2] == BIGTIFF else head[:8])
            file.seek(tags.next)
            tags.load(file)
        return tags.next > 0 or max(tags.get(TIFF_BITS, (1,))) > 8
    except Exception:  # of a damaged one Pillow raises almost anything, and once more when it is read
        return False

"""NumPy's files: .npy, and .npz with several of these."""

import math
import shutil
import tempfile
import zipfile
import zlib

from .streams import check_memory

MAGIC, ARCHIVE = b"\x93NUMPY", b"PK\3\4"
NARROW = 16  # columns: a last axis of fewer is none of a stack, but of too many channels


class Blocks:
    """How an array (..., H, W), or (..., H, W, C) with a C of at most 4, is pages: of all axes before these each place
    is a block (H, W) or (H, W, C), which is a page, or with `channels` has a page for each place of the last axis."""

    def __init__(self, shape, channels):
        if len(shape) < 2 + channels or 0 in shape:
            raise ValueError(f"holds an array {shape}: expected (H, W), (H, W, C) or pages of these")
        if not channels and len(shape) > 2 and 4 < shape[-1] < NARROW:
            raise ValueError(
                f"holds an array {shape}: expected up to 4 channels, or pages of {NARROW} columns or more; with "
                "--channels each channel is denoised by itself"
            )
        self.axis = len(shape) - (3 if channels or (len(shape) > 2 and shape[-1] <= 4) else 2)  # that of the rows
        self.shape, self.places = shape[self.axis :], shape[: self.axis]
        self.pages = shape[-1] if channels else 1

    def check_memory(self, dtype):
        check_memory(math.prod(self.shape) * dtype.itemsize)

    def count(self):
        return math.prod(self.places) * self.pages

    def split(self, block):
        return [block] if self.pages == 1 else [block[..., channel] for channel in range(self.pages)]

    def join(self, pages):
        import numpy as np

        first = next(pages)
        return first if self.pages == 1 else np.stack([first, *(next(pages) for _ in range(self.pages - 1))], -1)

    def write(self, pages, file, dtype, twice):
        """Write the array of all pages to a binary file."""
        import numpy as np

        height, width, *channels = self.shape
        shape = (*self.places, height, width * (1 + twice), *channels)
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, about)
        for _ in range(math.prod(self.places)):
            file.write(self.join(pages).astype(dtype).tobytes())


class Npy:
    """An array, see `Blocks`."""

    ENDINGS, FOLDERS, AS = {".npy"}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return head.startswith(MAGIC)

    def __init__(self, path, options):
        import numpy as np

        try:
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"is a damaged .npy, or holds no numbers: {error}") from error
        self.blocks = Blocks(self.array.shape, options.channels)

    def count(self):
        return self.blocks.count()

    def pages(self):
        import numpy as np

        self.blocks.check_memory(self.array.dtype)
        for place in np.ndindex(self.blocks.places):
            yield from self.blocks.split(np.asarray(self.array[place]))

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        with open(path, "wb") as file:
            self.blocks.write(iter(pages), file, np.dtype(dtype or self.array.dtype), twice)


class Npz:
    """The pictures among an archive's arrays: those of numbers whose sides have NARROW pixels or more. Others, as
    tables of places are, stay as they are, byte for byte."""

    ENDINGS, FOLDERS, AS = {".npz"}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return head.startswith(ARCHIVE) and path.suffix.lower() == ".npz"

    def __init__(self, path, options):
        import numpy as np

        self.path, self.arrays = path, {}  # by name: (dtype, blocks, whether it is in columns)
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    with archive.open(entry) as file:
                        shape, in_columns, dtype = header_of(file)
                        size = math.prod(shape) * dtype.itemsize
                        if dtype.hasobject or dtype.kind not in "iuf" or not is_picture(shape, options.channels):
                            continue
                        if size > entry.file_size:
                            raise ValueError(f"its array {entry.filename.removesuffix('.npy')} is damaged")
                    self.arrays[entry.filename] = np.dtype(dtype), Blocks(shape, options.channels), in_columns
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
            raise ValueError(f"is a damaged .npz: {error}") from error
        if not self.arrays:
            raise ValueError(f"holds no array (..., H, W) or (..., H, W, C) with sides of {NARROW} or more")

    def count(self):
        return sum(blocks.count() for _, blocks, _ in self.arrays.values())

    def pages(self):
        import numpy as np

        with zipfile.ZipFile(self.path) as archive:
            for name, (dtype, blocks, in_columns) in self.arrays.items():
                blocks.check_memory(dtype)
                with archive.open(name) as file:
                    shape, *_ = header_of(file)
                    size = math.prod(blocks.shape) * dtype.itemsize
                    if not in_columns:
                        for _ in range(math.prod(blocks.places)):
                            content = read(file, size, name)
                            yield from blocks.split(np.frombuffer(content, dtype).reshape(blocks.shape))
                        continue
                    with tempfile.TemporaryFile() as unpacked:  # as each page lies all over it
                        for _ in range(math.prod(blocks.places)):
                            unpacked.write(read(file, size, name))
                        unpacked.flush()
                        array = np.memmap(unpacked, dtype, "r", shape=shape, order="F")
                        for place in np.ndindex(blocks.places):
                            yield from blocks.split(np.array(array[place]))

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        pages = iter(pages)
        with zipfile.ZipFile(self.path) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                new = zipfile.ZipInfo(entry.filename, entry.date_time)
                new.compress_type, new.external_attr = entry.compress_type, entry.external_attr
                with target.open(new, "w", force_zip64=True) as file:
                    if entry.filename in self.arrays:
                        own, blocks, _ = self.arrays[entry.filename]
                        blocks.write(pages, file, np.dtype(dtype or own), twice)
                    else:
                        with source.open(entry) as old:
                            shutil.copyfileobj(old, file)


def read(file, size, name):
    """The next bytes of an archive's open array of that name. ValueError if there are fewer."""
    try:
        content = file.read(size)
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"its array {name.removesuffix('.npy')} is damaged: {error}") from error
    if len(content) < size:
        raise ValueError(f"its array {name.removesuffix('.npy')} is damaged: it is cut off")
    return content


def header_of(file):
    """The (shape, in columns, dtype) of an open .npy."""
    import numpy as np

    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def is_picture(shape, channels):
    rows = shape[-3:-1] if len(shape) > 2 and (channels or shape[-1] < NARROW) else shape[-2:]
    return len(shape) > 1 and min(rows, default=0) >= NARROW

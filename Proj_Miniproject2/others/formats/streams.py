"""Files read and written from front to back, packed by gzip or not, and no more of them in memory than asked for."""

import contextlib
import gzip
import importlib.metadata
import os
import shutil
import tempfile
import warnings
import zlib

GZIP = b"\x1f\x8b"
PIECE = 2**16  # bytes
# What unpacks to more than this, and to more than so many times its size, holds next to nothing, or no picture at all.
LARGE, TIMES = 2**28, 200
TAKEN = 16  # times as much memory as a page has bytes is taken to denoise it
LARGEST_REST = 2**16  # bytes that stand behind all that a file's header tells of
REST = "goes on behind what its header tells of, with something that is no picture"


def unpacked(head, size):
    """The first bytes of a file, without gzip if it is packed by that: `size` of them, or fewer."""
    if not head.startswith(GZIP):
        return head[:size]
    try:
        return zlib.decompressobj(31).decompress(head, size)
    except zlib.error:
        return b""


class Source:
    """A file, unpacked, from front to back. All raise ValueError where it ends too early, is damaged, or goes on
    without end."""

    def __init__(self, path):
        self.size = os.path.getsize(path)
        with open(path, "rb") as file:
            self.packed = file.read(len(GZIP)) == GZIP
        self.file = gzip.open(path) if self.packed else open(path, "rb")
        self.place = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def piece(self, size):
        """The next bytes: `size` of them, or those that are left."""
        try:
            content = self.file.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"is damaged, or cut off: {error}") from error
        self.place += len(content)
        if self.packed and self.place > max(LARGE, TIMES * self.size):
            raise ValueError(f"unpacks to more than {TIMES} times its size: unpack it first")
        return content

    def read(self, size):
        """The next bytes, so many."""
        self.check(size)
        check_memory(size)
        content = bytearray()
        while len(content) < size:
            content += self.some(size - len(content))
        return content

    def copy(self, size, target=None):
        """The next bytes, written to a file, if there is one."""
        self.check(size)
        if target is None and not self.packed:
            self.place = self.file.seek(size, os.SEEK_CUR)
            return
        while size:
            content = self.some(size)
            size -= len(content)
            if target:
                target.write(content)

    def rest(self):
        """What is left."""
        content = self.piece(LARGEST_REST + 1)
        if len(content) > LARGEST_REST:
            raise ValueError(REST)
        return content

    def check(self, size, last=False):
        """Whether there are so many bytes, and, if they are the last, hardly more: as far as one can tell by now."""
        if not self.packed and last and self.size - self.place - size > LARGEST_REST:
            raise ValueError(REST)
        if not self.packed and size > self.size - self.place:
            raise ValueError(
                f"is cut off: its header tells of {self.place + size} bytes or more, and it has {self.size}"
            )

    def some(self, size):
        content = self.piece(min(size, PIECE))
        if not content:
            raise ValueError("is cut off: its header tells of more than there is")
        return content


@contextlib.contextmanager
def written(path, packed):
    """A new file at `path` that can be written, read and sought in, and is packed by gzip at the end if it should be.
    Its `name` is that of the unpacked one."""
    if not packed:
        with open(path, "w+b") as file:
            yield file
        return
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), suffix=".part") as file:
        yield file
        file.seek(0)
        with open(path, "wb") as target, gzip.GzipFile("", "wb", 6, target, mtime=0) as packing:
            shutil.copyfileobj(file, packing, PIECE)


def memory():
    """The machine's, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(size):
    """ValueError for a page of so many bytes, if this machine can't denoise it."""
    if TAKEN * size > memory():
        what = f"has pages of {size / 1e9:.3g} GB, for which this machine has too little memory"
        raise ValueError(f"{what}: cut them into parts, or save it as an OME-Zarr")


@contextlib.contextmanager
def quiet():
    """What a library warns of, as of odd values in a header, that is none of our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made_by():
    """Who denoised, for a file's history."""
    try:
        return f"noise2noise {importlib.metadata.version('proj-miniproject2')}"
    except importlib.metadata.PackageNotFoundError:  # run where it lies
        return "noise2noise"

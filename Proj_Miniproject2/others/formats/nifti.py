"""NIfTI, the files of MRI: .nii and .nii.gz, of version 1 and 2. nibabel says what the header means."""

import math

from .extras import check_extra
from .streams import Source, made_by, unpacked, written

HEADERS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}  # by their size: a mark, and where
START = 352  # of the data, in a file of version 1 that doesn't say so
LABELS, CIFTI = 1002, range(3000, 3100)  # by the header's intent
ROOM = 80  # for what the header says of the file


class Nifti:
    """All slices of all volumes, one page each, as stored: slope and intercept stay. A page is (Y, X): two voxels that
    are neighbours along X are neighbours in the file, too."""

    ENDINGS, FOLDERS, AS = {".nii", ".nii.gz"}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        head = unpacked(head, START)
        return any(head[place : place + len(mark)] == mark for place, mark in HEADERS.values())

    def __init__(self, path, options):
        check_extra("is a NIfTI", "nifti", "nibabel")
        import nibabel

        self.path = path
        with Source(path) as source:
            raw = bytes(source.read(348))
            version = 1 if raw.startswith(b"n+1", 344) else 2
            raw += bytes(source.read(540 - 348)) if version == 2 else b""
        kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
        try:
            self.header = kind(raw, check=False)
            self.dtype, shape = self.header.get_data_dtype(), self.header.get_data_shape()
        except Exception as error:  # of a damaged header nibabel raises many kinds
            raise ValueError(f"is a damaged NIfTI: {error}") from error
        intent = int(self.header["intent_code"])
        if intent in CIFTI:
            raise ValueError("is a CIFTI, with values of a surface: expected a NIfTI with pictures")
        if intent == LABELS:
            raise ValueError("holds labels, not a picture")
        if self.dtype.kind not in "iuf" or self.dtype.itemsize > 8:
            raise ValueError(f"has voxels of {self.dtype}: expected one integer or float of up to 64 bits each")
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(f"holds no pictures, but an array {shape}")
        self.shape = tuple(reversed(shape))
        self.start = max(int(self.header["vox_offset"]), START if version == 1 else len(raw) + 4)

    def count(self):
        return math.prod(self.shape[:-2])

    def pages(self):
        import numpy as np

        size = math.prod(self.shape[-2:]) * self.dtype.itemsize
        with Source(self.path) as source:
            source.copy(self.start)
            source.check(size * self.count(), last=True)
            for _ in range(self.count()):
                yield np.frombuffer(source.read(size), self.dtype).reshape(self.shape[-2:])

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        header = self.header.copy()
        if twice:
            header["dim"][1] *= 2
        header["descrip"] = described(bytes(header["descrip"].tobytes()))
        new = self.dtype
        if dtype:
            new = np.dtype(dtype).newbyteorder(header.endianness)
            header.set_data_dtype(new)
        with Source(self.path) as source, written(path, source.packed) as file:
            source.copy(len(header.binaryblock))
            file.write(header.binaryblock)
            source.copy(self.start - len(header.binaryblock), file)  # with the extensions
            source.copy(self.dtype.itemsize * math.prod(self.shape))
            for page in pages:
                file.write(np.ascontiguousarray(page, new).tobytes())
            file.write(source.rest())


def described(text):
    """What a header says of its file, with what was done to it where there is room: bytes."""
    after = b"; ".join(filter(None, (text.split(b"\0")[0], f"denoised by {made_by()}".encode())))
    return after if len(after) <= ROOM else text

"""NumPy's files: .npy."""

import math

MAGIC = b"\x93NUMPY"
NARROW = 16  # columns: a last axis of fewer is none of a stack, but of too many channels


class Npy:
    """An array (..., H, W), or (..., H, W, C) with a C of at most 4; of all axes before these each place is a page."""

    ENDINGS, FOLDERS, AS = {".npy"}, set(), {}

    @staticmethod
    def is_mine(path, head):
        return head.startswith(MAGIC)

    def __init__(self, path, options):
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

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        shape, dtype = list(self.array.shape), np.dtype(dtype or self.array.dtype)
        shape[self.axis + 1] *= 1 + twice
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        with open(path, "wb") as file:
            np.lib.format.write_array_header_2_0(file, about)
            for page in pages:
                file.write(page.astype(dtype).tobytes())

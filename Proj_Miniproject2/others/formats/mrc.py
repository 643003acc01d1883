"""MRC, the files of electron microscopes: .mrc, .mrcs, .map, .rec, .st, packed by gzip or not. mrcfile says what the
header means."""

import math

from .extras import check_extra
from .streams import Source, made_by, unpacked, written

PLACE, MAGIC = 208, b"MAP"  # in the header
OF_FLOATS = 2
REFUSED = {3: "of complex numbers", 4: "of complex numbers", 16: "of colours", 101: "of 4 bits a value"}  # by mode
IMOD, STAMP, SIGNED = 1146047817, 40, 1  # IMOD's mark in the header, where in `extra2`, and the flag behind it
LABELS = 10


class Mrc:
    """All sections of an image, a stack, a volume or a stack of volumes, one page each."""

    ENDINGS, FOLDERS, AS = {*".mrc .mrcs .map .rec .st .mrc.gz .mrcs.gz .map.gz .rec.gz".split()}, set(), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return unpacked(head, PLACE + len(MAGIC))[PLACE:] == MAGIC

    def __init__(self, path, options):
        check_extra("is an MRC", "mrc", "mrcfile")
        import numpy as np
        from mrcfile import dtypes, utils

        self.path = path
        with Source(path) as source:
            raw = source.read(dtypes.HEADER_DTYPE.itemsize)
        header = np.frombuffer(raw, dtypes.HEADER_DTYPE).reshape(()).view(np.recarray)
        try:
            order = utils.byte_order_from_machine_stamp(header.machst)
            self.header = header.view(header.dtype.newbyteorder(order)).view(np.recarray)
            mode = int(self.header.mode)
            if mode in REFUSED:
                raise ValueError(f"pages {REFUSED[mode]}: expected mode 0, 1, 2, 6 or 12")
            self.dtype = utils.data_dtype_from_header(self.header)
            self.shape = utils.data_shape_from_header(self.header)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"is a damaged MRC, or has what can't be denoised: {error}") from error
        if min(self.shape) < 1 or self.header.nsymbt < 0:
            raise ValueError(f"is a damaged MRC: its header tells of pages {self.shape}")
        if self.has_unsigned_bytes():
            self.dtype = np.dtype("u1")

    def has_unsigned_bytes(self):
        """Mode 0 is signed, but was not to IMOD, which says so, nor to all that don't, whose range shows it."""
        import numpy as np

        if self.header.mode:
            return False
        dtype = np.dtype("i4").newbyteorder(self.header.mode.dtype.byteorder)
        stamp, flags = np.frombuffer(self.header.extra2.tobytes(), dtype, 2, STAMP)
        return not flags & SIGNED if stamp == IMOD else bool(self.header.dmax > 127 and self.header.dmin >= 0)

    def count(self):
        return math.prod(self.shape[:-2])

    def pages(self):
        import numpy as np

        size = math.prod(self.shape[-2:]) * self.dtype.itemsize
        with Source(self.path) as source:
            source.copy(self.header.nbytes + int(self.header.nsymbt))
            source.check(size * self.count(), last=True)
            for _ in range(self.count()):
                yield np.frombuffer(source.read(size), self.dtype).reshape(self.shape[-2:])

    def missing(self, page):
        return None

    def write(self, pages, path, twice=False, dtype=None):
        import numpy as np

        header, seen, new = self.header.copy(), Statistics(), self.dtype
        if dtype:
            header.mode, new = OF_FLOATS, np.dtype(dtype).newbyteorder(header.mode.dtype.byteorder)
        if twice:
            for key in ("nx", "mx"):
                header[key] *= 2
            header.cella.x *= 2
        if header.nlabl < LABELS:
            header.label[header.nlabl] = f"{made_by()}: denoised, each section by itself".encode().ljust(80)
            header.nlabl += 1
        with Source(self.path) as source, written(path, source.packed) as file:
            source.copy(header.nbytes)
            file.write(header.tobytes())
            source.copy(int(header.nsymbt), file)
            source.copy(self.dtype.itemsize * math.prod(self.shape))
            for page in pages:
                seen.add(page)
                file.write(np.ascontiguousarray(page, new).tobytes())
            file.write(source.rest())
            header.dmin, header.dmax, header.dmean, header.rms = seen.low, seen.high, seen.mean, seen.deviation()
            file.seek(0)
            file.write(header.tobytes())


class Statistics:
    """The least and the largest value of pages, their mean and standard deviation, page after page: Chan, Golub and
    LeVeque's update (1979)."""

    def __init__(self):
        self.count, self.mean, self.squares, self.low, self.high = 0, 0.0, 0.0, math.inf, -math.inf

    def add(self, page):
        import numpy as np

        count, mean = self.count + page.size, float(page.mean(dtype=np.float64))
        self.squares += float(page.var(dtype=np.float64)) * page.size
        self.squares += (mean - self.mean) ** 2 * self.count * page.size / count
        self.mean += (mean - self.mean) * page.size / count
        self.low, self.high = min(self.low, float(page.min())), max(self.high, float(page.max()))
        self.count = count

    def deviation(self):
        return math.sqrt(self.squares / self.count)

"""OME-Zarr, 0.4 and 0.5: folders that hold arrays in chunks, of any size, read and written block by block by zarr.

Of each image in the folder the full resolution is denoised, and its other levels are made of it anew: each value is the
mean of the block of the level before that it stands for. Labels, tables and all metadata are copied byte for byte, so
axes, chunks, shards, compressors and dtype stay. What no chunk holds, or a chunk of nothing but the fill value, was
never measured: it stays, too.

A copy is made beside its place and moved there when it is whole. It keeps a list of the blocks that are done, so that
several processes can share one, and that another run goes on after a crash.
"""

import contextlib
import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from .arrays import NUMPY_DTYPES
from .extras import check_extra
from .files import flush, read_json

METADATA = {".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"}
PART = ".part"  # the ending of the folder beside, in which a copy is made
LOCK = "lock"  # a file in there, which is locked by who makes it
LEFT = ".partial"  # of files that zarr itself writes a chunk to, before it takes its name: a crash leaves some
SIDE = 2048  # pixels: a block has at least as many rows and columns, as what lies around it costs time
MOST = 2**27  # bytes: fewer, if it would have more of them, as of chunks that are deep
LARGEST = 2**31  # bytes of a chunk, or a shard, which is read and written as a whole
SLACK = 2**20  # bytes that a chunk of noise may take more than its values


@dataclass(frozen=True)
class Level:
    """One resolution of an image: where its array is, and how many values of the level before make one of its own, for
    each axis. None for the first."""

    path: str
    factors: tuple | None


@dataclass(frozen=True)
class Image:
    """axes: their names, as "tczyx", of which the last two are the rows and the columns."""

    axes: tuple
    levels: tuple


@dataclass(frozen=True)
class Block:
    """What is read and written at once: slices of an array, for each axis; `around` has the halo, too."""

    path: str
    place: tuple
    around: tuple

    @property
    def inner(self):
        """Its place in what is read with it."""
        pairs = zip(self.place, self.around, strict=True)
        return tuple(slice(own.start - around.start, own.stop - around.start) for own, around in pairs)


class Zarr:
    """A folder of images. ValueError for what can't be read, or not written as it came; it is named.

    others: the files that hold no part of these images, as names below the folder. stored: for the path of each array
    of the images the numbers, one for each axis, of the blocks in which there is anything.
    """

    ENDINGS, FOLDERS, AS = frozenset(), frozenset({".zarr"}), {}
    FLOATS = True

    @staticmethod
    def is_mine(path, head):
        return path.is_dir() and path.suffix.lower() in Zarr.FOLDERS

    def __init__(self, path, options):
        check_extra("is an OME-Zarr", "zarr", "zarr")
        import zarr

        self.path = path
        try:
            self.root = zarr.open_group(self.path, mode="r", use_consolidated=False)
        except Exception as error:  # of metadata that are none zarr raises many kinds
            raise ValueError(f"holds no image of OME-Zarr, or is damaged: {' '.join(str(error).split())}") from error
        groups = [self.root, *(self.root[name] for name in groups_in(self.path))]
        self.images = [image for group in groups for image in images_of(group)]
        if not self.images:
            raise ValueError("holds no image of OME-Zarr: expected a group with multiscales, not an array alone")
        arrays = {level.path: self.root[level.path] for image in self.images for level in image.levels}
        for array in arrays.values():
            check_array(array)
        self.others, self.stored = [], {path: set() for path in arrays}
        for name, size in files_in(self.path):
            parents = (name[:i] for i, letter in enumerate(name) if letter == "/")
            array = next((arrays[parent] for parent in parents if parent in arrays), None)
            place = chunk_of(array, name.removeprefix(f"{array.path}/")) if array else None
            if place is None:
                self.others.append(name)
                continue
            if size > written_bytes(array) * 1.1 + SLACK:
                raise ValueError(f"{name} is larger than what it should hold")
            pairs = zip(place, written_at_once(array), sides_of(array), strict=True)
            self.stored[array.path].add(tuple(i * n // side for i, n, side in pairs))

    def array(self, image):
        """The zarr array of an image's full resolution."""
        return self.root[image.levels[0].path]

    def count(self):
        """How many planes there are, of all images."""
        return sum(math.prod(self.array(image).shape[:-2]) for image in self.images)

    def pages(self):
        import numpy as np

        for image in self.images:
            for place in np.ndindex(self.array(image).shape[:-2]):
                yield read(self.array(image), image.levels[0].path, place)

    def missing(self, page):
        """As `unmeasured` says."""
        image = next(image for image in self.images if self.array(image).shape[-2:] == page.shape)
        whole = tuple(slice(0, n) for n in page.shape)
        array = self.array(image)
        return unmeasured(page, array.fill_value, array.chunks[-2:], whole)

    def write(self, pages, path, twice=False, dtype=None):
        """As `begin`, and with pages; what is larger than memory is for `Copy`."""
        import numpy as np

        root, pages = self.begin(path, twice, dtype), iter(pages)
        for image in self.images:
            array = root[image.levels[0].path]
            for place, number in stacks_of(array):
                planes = [next(pages) for _ in range(number)]
                array[place] = np.stack(planes) if array.ndim > 2 else planes[0]
            places = [block_at(array, number, sides_of(array)).place for number in numbers_of(array)]
            for below, level, blocks in levels_above(root, image, places):
                for block in blocks:
                    root[level.path][block.place] = level_of(below, level, block)

    def begin(self, folder, twice=False, dtype=None):
        """A copy of all but what the images' arrays hold, which may be of twice as many columns, or of another dtype:
        its zarr group, to be written to."""
        import zarr

        widths = {}
        for image in self.images:
            for level, before in zip(image.levels, (None, *image.levels[:-1]), strict=True):
                width = self.root[level.path].shape[-1]
                if before:
                    old, factor = self.root[before.path].shape[-1], level.factors[-1]
                    new = widths[before.path]
                    widths[level.path] = new // factor if width == old // factor else -(-new // factor)
                else:
                    widths[level.path] = (1 + twice) * width
        for name in self.others:
            new = folder / name
            new.parent.mkdir(parents=True, exist_ok=True)
            where, _, last = name.rpartition("/")
            if (twice or dtype) and last in METADATA:
                array = widths.get(where) if last in (".zarray", "zarr.json") else None
                about = changed(read_json(self.path / name), array, dtype)
                if last != ".zmetadata":
                    new.write_text(json.dumps(about), encoding="utf-8")
            else:
                shutil.copyfile(self.path / name, new)
        return zarr.open_group(folder, mode="r+", use_consolidated=False)

    def channels(self, image):
        """How many an image has."""
        return self.array(image).shape[image.axes.index("c")] if "c" in image.axes else 1

    def blocks(self, image, halo=0, grid=1):
        """The blocks of an image's full resolution in which something is stored, in a fixed order, and what is around
        them as far as `halo` pixels, from a multiple of `grid` on."""
        array = self.array(image)
        return [block_at(array, place, sides_of(array), halo, grid) for place in sorted(self.stored[array.path])]

    def planes(self, image, block):
        """The planes of a block: pairs (place in all of its axes but the last two, number of the channel)."""
        axis = image.axes.index("c") if "c" in image.axes else None
        for place in product(*(range(s.stop - s.start) for s in block.place[:-2])):
            yield place, 0 if axis is None else block.place[axis].start + place[axis]

    def read(self, block):
        """A block and what is around it: a NumPy array, and which of its values are `unmeasured`."""
        values = read(self.root[block.path], block.path, block.around)
        array = self.root[block.path]
        return values, unmeasured(values, array.fill_value, array.chunks, block.around)

    def samples(self, image, channel, number=8, side=512):
        """Squares of some planes of a channel, or all of smaller ones, spread over what is stored: yields arrays
        (H, W) of one shape, and what of them is `unmeasured`."""
        blocks = self.blocks(image)
        axis = image.axes.index("c") if "c" in image.axes else None
        own = [b for b in blocks if axis is None or b.place[axis].start <= channel < b.place[axis].stop]
        for block in own[:: -(-len(own) // number) or 1]:
            place = [slice(middle := (s.start + s.stop) // 2, middle + 1) for s in block.place[:-2]]
            if axis is not None:
                place[axis] = slice(channel, channel + 1)
            for s, size in zip(block.place[-2:], self.array(image).shape[-2:], strict=True):
                start = max(0, min((s.start + s.stop - side) // 2, size - side))
                place.append(slice(start, min(start + side, size)))
            square = self.read(Block(block.path, tuple(place), tuple(place)))
            yield tuple(values[(0,) * (values.ndim - 2)] for values in square)


def read(array, path, place):
    """Some of a zarr array's values."""
    try:
        return array[place]
    except Exception as error:  # every codec raises its own
        where = ", ".join(f"{s.start} to {s.stop}" for s in place)
        raise ValueError(f"{path} is damaged in {where}: {' '.join(str(error).split())}") from error


def files_in(folder, above=(), name=""):
    """The files in a folder and those in it, links followed: their names below it, and sizes. ValueError for a link
    that leads back to where it is, and for what is no file."""
    found = os.stat(folder)
    here = found.st_dev, found.st_ino
    if here in above:
        raise ValueError(f"{name.rstrip('/')} is a link that leads back to a folder above it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from files_in(entry.path, (*above, here), f"{name}{entry.name}/")
            elif entry.is_file():
                yield name + entry.name, entry.stat().st_size
            else:
                raise ValueError(f"{name}{entry.name} is no file, or a link to none")


def groups_in(folder):
    """The names of all groups in a folder but the first."""
    for name, _ in files_in(folder):
        name, _, last = name.rpartition("/")
        if name and (last == ".zgroup" or (last == "zarr.json" and node_type(folder / name / last) == "group")):
            yield name


def node_type(path):
    """What a file of metadata says to belong to: a group or an array; None if it's damaged."""
    try:
        return read_json(path)["node_type"]
    except (ValueError, TypeError, KeyError):
        return None


# ---------------------------------------------------------------------------------------------------------------
# What the metadata say


def images_of(group):
    """The images whose metadata a group holds, but for labels."""
    about = group.attrs.asdict()
    about = about.get("ome", about)  # 0.5 has all of its own in there
    if not isinstance(about, dict) or "image-label" in about or "labels" in group.path.split("/"):
        return
    scales = about.get("multiscales", [])
    where = group.path or "the zarr"
    if not isinstance(scales, list):
        raise ValueError(f"{where} has multiscales that are no list")
    seen = set()
    for scale in scales:
        try:
            paths = [dataset["path"] for dataset in scale["datasets"]]
            axes = scale.get("axes", "tczyx")  # as before 0.3
            axes = tuple(axis["name"] if isinstance(axis, dict) else axis for axis in axes)
            steps = [scale_of(dataset, len(axes)) for dataset in scale["datasets"]]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{where} has multiscales that can't be read: {error!r}") from error
        if axes[-2:] != ("y", "x"):
            raise ValueError(f"{where} has the axes {', '.join(map(str, axes))}: expected the last two to be y, x")
        if not paths or paths[0] in seen:
            continue
        seen |= {*paths}
        yield Image(axes, tuple(levels_of(group, paths, steps, len(axes))))


def scale_of(dataset, axes):
    """How far apart a level's values are, for each axis; None where it isn't said."""
    for change in dataset.get("coordinateTransformations", ()):
        if change.get("type") == "scale" and len(change["scale"]) == axes:
            return [float(step) for step in change["scale"]]
    return None


def levels_of(group, paths, steps, axes):
    before = None
    for path, step in zip(paths, steps, strict=True):
        try:
            array = group[path]
            shape = array.shape
        except Exception as error:  # there is none, or zarr can't read what it says
            raise ValueError(f"{group.path or 'the zarr'} has no array {path!r}: {error}") from error
        if len(shape) != axes or 0 in shape:
            raise ValueError(f"{array.path} has the shape {shape}: expected {axes} axes, and no empty one")
        factors = None
        if before:
            ratios = [1 if not a or not b else b / a for a, b in zip(before[1] or (), step or (), strict=False)]
            factors = tuple(
                factor_of(array.path, *sizes, ratio)
                for *sizes, ratio in zip(before[0], shape, ratios or [0] * axes, strict=True)
            )
        yield Level(array.path, factors)
        before = shape, step


def factor_of(path, before, size, ratio):
    """By which whole number an axis of a level is shorter than before: as the metadata say, if that fits the sizes."""
    for factor in (round(ratio) if math.isfinite(ratio) else 0, round(before / size), 1):
        if factor >= 1 and size in (before // factor, -(-before // factor)):
            return factor
    raise ValueError(
        f"{path} has an axis of {size} made of {before}: expected levels that are smaller by whole factors"
    )


def check_array(array):
    """ValueError for one that can't be denoised, or whose chunks can't be held in memory."""
    if array.dtype.name not in NUMPY_DTYPES:
        raise ValueError(f"{array.path} holds {array.dtype}: expected {', '.join(NUMPY_DTYPES)}")
    if written_bytes(array) > LARGEST:
        expected = f"expected {LARGEST / 2**30:.3g} at most"
        raise ValueError(f"{array.path} has chunks of {written_bytes(array) / 2**30:.3g} GiB: {expected}")


def written_at_once(array):
    """The sides of an array's shards, or of its chunks if it has none."""
    return array.shards or array.chunks


def written_bytes(array):
    return math.prod(written_at_once(array)) * array.dtype.itemsize


def sides_of(array):
    """The sides of an array's blocks: of a chunk or shard, but with as many rows and columns of these as make SIDE, or
    as MOST allows."""
    unit = written_at_once(array)
    side = min(SIDE, math.isqrt(MOST // (math.prod(unit[:-2]) * array.dtype.itemsize)))
    return (*unit[:-2], *(max(1, side // n) * n for n in unit[-2:]))


def chunk_of(array, name):
    """The numbers of the chunk or shard in a file of an array's folder; None for another file."""
    place = tuple(map(int, re.findall(r"\d+", name)))
    if len(place) != array.ndim or name.rpartition("/")[2] in METADATA:
        return None
    sizes = zip(place, array.shape, written_at_once(array), strict=True)
    inside = all(i * n < size for i, size, n in sizes)
    return place if inside and array.metadata.encode_chunk_key(place) == name else None


def block_at(array, place, sides, halo=0, grid=1):
    """The block of an array of that number, for each axis, among those of such sides."""
    own = [slice(i * n, min((i + 1) * n, size)) for i, n, size in zip(place, sides, array.shape, strict=True)]
    around = own[:-2]
    for s, size in zip(own[-2:], array.shape[-2:], strict=True):
        around.append(slice(max(0, s.start - halo) // grid * grid, min(s.stop + halo, size)))
    return Block(array.path, tuple(own), tuple(around))


def stacks_of(array):
    """The places in all axes but the last two of planes that are written at once, or a chunk would be for each of them
    anew, and how many these are."""
    *first, depth = (1, *array.shape[:-2])
    unit = (1, *written_at_once(array))[-3]
    for place in product(*map(range, first[1:])):
        for start in range(0, depth, unit):
            stop = min(start + unit, depth)
            yield (*place, slice(start, stop)) if array.ndim > 2 else (), stop - start


def numbers_of(array):
    """Those of all blocks of an array."""
    return product(*(range(-(-n // side)) for n, side in zip(array.shape, sides_of(array), strict=True)))


def unmeasured(values, fill, chunks, place):
    """Which values of a place in an array lie in a chunk that has nothing but the fill value: bool."""
    import numpy as np

    fill = 0 if fill is None else fill
    same = np.isnan(values) if fill != fill else values == fill
    bounds = [
        [0, *range(n - s.start % n, s.stop - s.start, n), s.stop - s.start] for s, n in zip(place, chunks, strict=True)
    ]
    for axis, (*starts, _) in enumerate(bounds):
        same = np.logical_and.reduceat(same, starts, axis)
    for axis, edges in enumerate(bounds):
        same = np.repeat(same, np.diff(edges), axis)
    return same


# ---------------------------------------------------------------------------------------------------------------
# Writing


def changed(about, width, dtype):
    """The metadata of a group or, where there is a width, of an array, with that and a dtype, if any. What says the
    same for all of a zarr in one place isn't true of it any more."""
    about.pop("consolidated_metadata", None)
    if width is not None:
        about["shape"][-1] = width
    if width is not None and dtype:
        import numpy as np

        dtype = np.dtype(dtype)
        if "dtype" in about:  # zarr 2
            about["dtype"] = dtype.str
        else:
            about["data_type"] = dtype.name
            about["codecs"] = little_endian(about["codecs"])
    return about


def little_endian(codecs):
    """Codecs of zarr 3, which for bytes don't say it."""
    if isinstance(codecs, list):
        return [little_endian(codec) for codec in codecs]
    about = codecs.get("configuration", {})
    about |= {key: little_endian(about[key]) for key in ("codecs",) if key in about}
    return codecs | {"configuration": {"endian": "little"} | about} if codecs["name"] == "bytes" else codecs


def levels_above(root, image, places):
    """An image's other levels, made of the first, where `places` were written: yields (array of the level before,
    level, blocks). Each must be written before the next is asked for."""
    below = root[image.levels[0].path]
    for level in image.levels[1:]:
        array, numbers = root[level.path], set()
        unit = written_at_once(array)
        for place in places:
            spans = zip(place, level.factors, unit, array.shape, strict=True)
            numbers |= {*product(*(range(*chunks_in(s, factor, n, size)) for s, factor, n, size in spans))}
        blocks = [block_at(array, number, unit) for number in sorted(numbers)]
        yield below, level, blocks
        below, places = array, [block.place for block in blocks]


def level_of(below, level, block):
    """What a block of a level holds, of the array of the level before."""
    sizes = zip(block.place, level.factors, below.shape, strict=True)
    wider = tuple(slice(s.start * factor, min(s.stop * factor, size)) for s, factor, size in sizes)
    return means(read(below, below.path, wider), level.factors, below.dtype)


class Copy:
    """What becomes of a zarr at `output`, block by block, until it is whole.

    about: what the run depends on, as JSON holds it: with `resume` a copy goes on if it was begun with the same. share:
    this process's number, and how many there are. All of them go through the same steps: `together` is the context of
    each, which ends when all are there, and raises in all if it went wrong in any.
    """

    def __init__(self, source, output, about, resume=False, dtype=None, share=(0, 1), together=contextlib.nullcontext):
        import zarr

        self.source, self.share, self.together = source, share, together
        self.output = Path(os.path.realpath(output))
        self.beside = self.output.with_name(self.output.name + PART)
        self.folder = self.beside / self.output.name
        with self.step():
            self.lock = locked(self.beside) if share[0] == 0 else None
            if share[0] == 0:
                self.begin(json.dumps(about), resume, dtype)
        with self.step():
            self.done = {line for path in self.beside.glob("*.done") for line in path.read_text().splitlines()}
        self.journal = open(self.beside / f"{share[0]} of {share[1]}.done", "a", encoding="utf-8")
        self.root = zarr.open_group(self.folder, mode="r+", use_consolidated=False)

    @contextlib.contextmanager
    def step(self):
        """Something that all processes do before one goes on. What is damaged can't be done later, either: then all of
        the copy goes."""
        try:
            with self.together():
                yield
        except ValueError:
            shutil.rmtree(self.beside, ignore_errors=True)
            raise

    def begin(self, about, resume, dtype):
        """Copy all but what is denoised, unless that has been done."""
        note = self.beside / "about.json"
        if resume and note.is_file() and note.read_text(encoding="utf-8") == about:
            return
        for path in self.beside.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.source.begin(self.folder, dtype=dtype)
        note.write_text(about, encoding="utf-8")

    def own(self, blocks):
        """Those of blocks that aren't done, this process's share."""
        number, processes = self.share
        return [block for block in blocks if name_of(block) not in self.done][number::processes]

    def write(self, block, values):
        """Put values in a block's place, and remember that once they are on the disk."""
        array = self.root[block.path]
        array[block.place] = values
        pairs = zip(block.place, written_at_once(array), strict=True)
        for place in product(*(range(s.start // n, -(-s.stop // n)) for s, n in pairs)):
            with contextlib.suppress(FileNotFoundError):  # a chunk of nothing but the fill value has no file
                flush(self.folder / array.path / array.metadata.encode_chunk_key(place))
        self.journal.write(name_of(block) + "\n")
        self.journal.flush()

    def build_levels(self, image):
        """Make an image's other levels of its first."""
        places = [block.place for block in self.source.blocks(image)]
        for below, level, blocks in levels_above(self.root, image, places):
            with self.step():
                for block in self.own(blocks):
                    self.write(block, level_of(below, level, block))

    def finish(self):
        """Move the copy to its place; what is there, goes."""
        self.journal.close()
        with self.step():
            if self.share[0] == 0:
                for path in self.folder.rglob(f"*{LEFT}"):  # of a crash in the midst of a chunk
                    path.unlink()
                if self.output.exists():
                    os.rename(self.output, self.beside / "old")
                os.rename(self.folder, self.output)
                shutil.rmtree(self.beside)
                self.lock.close()


def locked(folder):
    """A file in a folder, which is made if there is none, that is locked until it is closed, or its process ends.
    OSError if somebody else has locked it."""
    import fcntl

    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise OSError("another run is at work on its output: wait for it, or choose another folder") from error
        except OSError:  # there are file systems that know no locks
            return file
        if (folder / LOCK).exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK)):
            return file
        file.close()  # it was that of a copy that has become whole just now


def name_of(block):
    """A block in a line of the list of what is done."""
    return f"{block.path} {' '.join(f'{s.start}:{s.stop}' for s in block.place)}"


def chunks_in(place, factor, side, size):
    """The first chunk, and the one after the last, of an axis of a level with something of a slice of that before."""
    return min(place.start // factor, size - 1) // side, min((place.stop - 1) // factor, size - 1) // side + 1


def means(values, factors, dtype):
    """The means of an array's blocks of the sides `factors`, the last of an axis may be smaller, rounded if the dtype
    holds integers."""
    import numpy as np

    result = values.astype(np.float64)
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, result.shape[axis], factor)
            counts = np.diff(starts, append=result.shape[axis])
            shape = [-1 if i == axis else 1 for i in range(result.ndim)]
            result = np.add.reduceat(result, starts, axis) / counts.reshape(shape)
    return (np.rint(result) if dtype.kind in "iu" else result).astype(dtype)

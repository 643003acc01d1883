"""Which format a file has: the list of all of them, and what a folder has of their files."""

from . import PLAIN
from .boxes import DeepBoxes
from .dicom import Dicom
from .fits import Fits
from .floating import Floating
from .folders import paths_in
from .mrc import Mrc
from .nifti import Nifti
from .npy import Npy, Npz
from .pictures import FORMATS as PILLOWS
from .pictures import Picture, is_photo
from .png import Png
from .raw import Raw
from .tiff import Tiff
from .ways_out import INSTRUMENTS, way_out
from .zarr import Zarr

FORMATS = (  # the first whose it is takes it: a PNG of 8 bits is a `Picture`
    *(Npy, Npz, Fits, Mrc, Nifti, Dicom, Zarr, Png, Raw, Tiff, DeepBoxes, Picture),
)
KINDS = [*PILLOWS, "HEIC", "AVIF", *(kind.__name__ for kind in FORMATS if kind not in (Png, Tiff, DeepBoxes, Picture))]
HEAD = 4096  # bytes
ENDINGS = frozenset().union(*(kind.ENDINGS for kind in FORMATS))
FOLDERS = frozenset().union(*(kind.FOLDERS for kind in FORMATS))
AS = {ending: other for kind in FORMATS for ending, other in kind.AS.items()}


def open_picture(path, options=PLAIN):
    """What reads and writes a picture's file, see the verbs in `formats`.

    Raises OSError, or ValueError for what is no picture, can't be taken, or would lose something; some only when its
    pages are read.
    """
    head = head_of(path)
    for kind in FORMATS:
        if kind.is_mine(path, head):
            if options.dtype and not kind.FLOATS:
                able = ", ".join(kind.__name__ for kind in FORMATS if kind.FLOATS)
                raise ValueError(
                    f"would hold no floats: leave --dtype {options.dtype} out, or save it first as one of {able}"
                )
            return Floating(kind(path, options), options.dtype) if options.dtype else kind(path, options)
    ending = ending_of(path).lower()
    odd = f", though it ends in {ending}: it is damaged, or of another kind"
    what_to_do = odd if ending in ENDINGS else ": export it as one of these"
    raise ValueError(way_out(path.suffix) or f"is no picture of the kinds {', '.join(KINDS)}{what_to_do}")


def head_of(path):
    """How a file begins; nothing for a folder. ValueError for a pipe or the like, which would wait for who writes to
    it."""
    if path.is_dir():
        return b""
    if path.exists() and not path.is_file():
        raise ValueError("is no file, but a pipe or the like")
    with path.open("rb") as file:
        return file.read(HEAD)


def picture_paths(folder, onerror=None):
    """The pictures in a folder and its subfolders, files or folders themselves, see `paths_in`: those with an ending
    that says so, and of those without one the ones that begin as pictures do."""
    return paths_in(folder, is_picture, onerror)


def is_picture(path):
    """Whether a path is worth being opened as one. OSError if that can't be found out."""
    if path.is_dir():
        return ending_of(path).lower() in FOLDERS
    if path.suffix[1:].isdigit() or not path.suffix:  # the second part of a number, as of a DICOM's
        return path.is_file() and any(kind.is_mine(path, head_of(path)) for kind in FORMATS)
    return is_photo(path) or ending_of(path).lower() in ENDINGS | INSTRUMENTS.keys()


def ending_of(path):
    """The ending of a path as it stands there: of two parts, where there is a kind of file that has it so."""
    name = path.name.lower()
    known = [ending for ending in ENDINGS | FOLDERS if name.endswith(ending) and len(name) > len(ending)]
    return path.name[-len(max(known, key=len)) :] if known else path.suffix


def with_ending(path, ending):
    """The path with another ending."""
    return path.with_name(path.name.removesuffix(ending_of(path)) + ending)


def name_out(path, options=PLAIN):
    """The path with the ending that a picture of its ending comes out with."""
    ending = ending_of(path)
    if options.jpeg and ending.lower() in Raw.ENDINGS:
        return with_ending(path, ".jpg")
    return with_ending(path, AS.get(ending.lower(), ending))

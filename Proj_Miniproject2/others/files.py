"""Reading and writing: pictures, pairs as the course's files hold them, and results."""

import json
import math
import tempfile
import warnings
from pathlib import Path

import torch

from ..model import load, write_whole


class Incomplete(Exception):
    """A command did a part of its work only, or is not content with it."""


# Pictures that Pillow can't read, or not everywhere: they are tried, so that nobody misses them in silence.
OTHER_PICTURES = {".avif", ".jp2", ".jxl", ".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"}


def photo_paths(folder):
    """The files in a folder and its subfolders whose endings are those of pictures, sorted."""
    from PIL import Image

    readable = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN} | OTHER_PICTURES
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in readable and path.is_file())


# Formats that are read, as Pillow names them: of these it is known when there are more than 8 bits a value.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
# A TIFF's tags that describe the picture, not the file: EXIF's of the same numbers, with its two parts.
DESCRIBING = {270, 271, 272, 305, 306, 315, 33432, 34665, 34853}
ORIENTATION, EXIF_PART, EXIF_WIDTH, EXIF_HEIGHT, TIFF_BITS = 0x0112, 0x8769, 0xA002, 0xA003, 258


def read_image(path):
    """A Pillow image of mode L, LA, RGB or RGBA, upright. Its `format` is the one to write it in, which the file has
    (but PNG for GIF, which holds 256 colours), and `info` has its profile, EXIF data and resolution.

    Of a JPEG with more pictures in it, as previews and gain maps are, it is the first, which is what viewers show.
    Raises OSError, or ValueError for another kind of file and for what would lose something: more than 8 bits a value,
    several pictures, other colours than grey and RGB. Of a broken file Pillow may raise anything.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures and of odd EXIF data
        try:
            file = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError(f"is no picture of the kinds {', '.join(FORMATS)}") from error
        with file:
            previews = file.format == "MPO" and Path(path).suffix.lower() != ".mpo"
            if getattr(file, "n_frames", 1) > 1 and not previews:
                raise ValueError(f"holds {file.n_frames} pictures, not one")
            bits = file.tag_v2.get(TIFF_BITS, (8,)) if file.format == "TIFF" else (8,)
            if file.mode[0] in "IF" or max(bits) > 8 or (file.format == "PNG" and _png_depth(path) > 8):
                raise ValueError("has more than 8 bits a value, which would be lost")
            if file.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                raise ValueError(f"has the colours {file.mode}, which would be lost: expected grey or RGB")
            upright = ImageOps.exif_transpose(file)
            mode = ("L" if upright.mode in ("1", "L", "LA") else "RGB") + "A" * upright.has_transparency_data
            image = in_mode(upright, mode)
            info = file.info | {"exif": _exif(file, upright.size)}
            image.format = {"MPO": "JPEG", "GIF": "PNG"}.get(file.format, file.format)
    image.info = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    return image


def in_mode(image, mode):
    """A Pillow image in a mode: itself if it has it, as of a large picture every copy counts."""
    return image if image.mode == mode else image.convert(mode)


def _exif(file, size):
    """The EXIF data of an open Pillow image, for one of that (width, height) which stands upright; without a thumbnail,
    which would show the noise."""
    exif = file.getexif()
    exif.pop(ORIENTATION, None)
    if file.format == "TIFF":
        exif.bigtiff = False  # EXIF data is never of that kind
        for tag in set(exif) - DESCRIBING:
            del exif[tag]
    if EXIF_PART in exif and EXIF_WIDTH in exif.get_ifd(EXIF_PART):
        exif.get_ifd(EXIF_PART).update(zip((EXIF_WIDTH, EXIF_HEIGHT), size, strict=True))
    return exif.tobytes() if exif else b""


def _png_depth(path):
    """Bits a value, from the header: Pillow opens PNGs of 16 bits a channel with 8."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def read_pair(path):
    """The (noisy, clean) of a file; ValueError if it holds anything but two equal uint8 (N, 3, H, W)."""
    pair = load(path, "cpu", tuple)
    kinds = [(t.dtype, t.dim(), *t.shape) if isinstance(t, torch.Tensor) else None for t in pair]
    if len(pair) != 2 or kinds[0] != kinds[1] or not kinds[0] or kinds[0][:2] != (torch.uint8, 4) or kinds[0][3] != 3:
        raise ValueError(f"{path} should hold two uint8 tensors of one shape (N, 3, H, W)")
    return pair


def write_json(content, path):
    """Write `content` as JSON, with null for infinities and NaN; the file is replaced in one go."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(v) for key, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    write_whole((json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode(), path)


def check_outputs(*paths):
    """OSError unless each path (None is passed over) can be written as a file: found out before any work is done."""
    for path in paths:
        if path is None:
            continue
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, not a file to write")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
        with tempfile.TemporaryFile(dir=path.parent):
            pass

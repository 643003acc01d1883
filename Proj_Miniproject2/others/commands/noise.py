"""Say what the noise of pictures is: files, or folders with all the pictures in them.

For each file, of all its pages at once: how the noise's variance goes with what is seen, gain (value - offset) +
read_noise^2, and its standard deviation over the whole picture, all in the picture's units; whether it is independent
from pixel to pixel, or how far neighbours, channels or whole rows share it; and how many pixels are saturated, empty
(as padding is, and what is no measurement) or dead. `denoise` finds the same, and takes the same three options where
the camera is known. Of what seems to be a mosaic of a sensor's colours each is a page; `denoise` wants --mosaic there.

What can't be read, or is too small to tell, is named at the end; the others are done, and the exit status is 1.
"""

from pathlib import Path

from ..api.blocks import noise_of
from ..api.measuring import noises_in
from ..formats.files import Incomplete
from ..formats.folders import is_sidecar
from ..formats.mosaic import Mosaic, is_mosaic
from ..formats.opening import is_picture, open_picture, picture_paths
from ..formats.zarr import Zarr
from ..noise.estimate import LEAST_SIDE, spread
from . import add_known, check_not_bent, known_of

COLOURS = "red", "green", "blue"
DIGITS = 4


def report(picture, **known):
    """What there is to say of what `open_picture` gives: lines."""
    if isinstance(picture, Zarr):
        return of_channels(picture, known)
    if is_mosaic(next(picture.pages())):
        picture = Mosaic(picture)
    found = noises_in(picture, **known)
    if len(found) == 1:
        return [pages_of(picture), *described(found[0])]
    lines = [f"{pages_of(picture)}, whose noise differs"]
    for place, noise in zip(spread(picture.count()), found, strict=True):
        lines += [f"page {place + 1}:", *described(noise)]
    return lines


def of_channels(picture, known):
    """As `report`, of a zarr, whose channels have one noise each, which some of what is stored tells."""
    places = [(image, channel) for image in picture.images for channel in range(picture.channels(image))]
    noises = [noise_of(picture, image, channel, known) for image, channel in places]
    if not any(noises):
        raise ValueError(f"is empty, or has less than {LEAST_SIDE} x {LEAST_SIDE} pixels: its noise can't be told")
    lines = []
    for (image, channel), noise in zip(places, noises, strict=True):
        name = (
            f"channel {channel + 1}:" if len(picture.images) == 1 else f"{image.levels[0].path}, channel {channel + 1}:"
        )
        lines += [name] if len(places) > 1 else []
        lines += described(noise) if noise else ["empty"]
    return [pages_of(picture), *lines]


def pages_of(picture):
    pages = picture.count()
    mosaic = ", of a sensor's mosaic of colours" if isinstance(picture, Mosaic) else ""
    return f"{pages} page{'s' * (pages != 1)}{mosaic}"


def described(noise):
    """What a `Noise` is, in lines."""
    names = [""] if len(noise.sd) == 1 else [f"{name}: " for name in COLOURS]
    each = zip(names, noise.gain, noise.offset, noise.read_noise, noise.sd, strict=True)
    lines = [
        f"{name}gain {gain:.{DIGITS}g}, offset {offset:.{DIGITS}g}, read noise {read:.{DIGITS}g}; "
        f"standard deviation {sd:.{DIGITS}g}"
        for name, gain, offset, read, sd in each
    ]
    if noise.white:
        lines.append("independent from pixel to pixel")
    else:
        lines.append(
            f"shared by neighbours: correlation {noise.correlation:.2f} of the next pixel, below 0.1 from "
            f"{noise.reach} pixels on; it can't be told from texture, and is roughly this"
        )
    if any(noise.lines):
        offs = ", ".join(f"{sd:.{DIGITS}g}" for sd in noise.lines)
        lines.append(f"whole rows or columns are off besides, by a standard deviation of {offs}")
    if len(noise.sd) > 1:
        lines.append(f"correlation of neighbouring channels {noise.channels:.2f}")
    shares = {"saturated": noise.saturated, "empty": noise.empty, "dead": noise.dead}
    told = [f"{percent(share)} {what}" for what, share in shares.items() if share]
    return [*lines, ", ".join(told)] if told else lines


def percent(share):
    return f"{100 * share:.2g} %"


def files_in(paths, onerror):
    """The files that are meant by paths of files and folders; onerror: see `paths_in`."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        if path.is_dir() and not is_picture(path):
            yield from picture_paths(path, onerror)
        elif not is_sidecar(path):
            yield path


def add_arguments(parser):
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="PICTURES",
        help="The pictures: files, or folders, whose subfolders are searched, too.",
    )
    add_known(parser)


def main(args):
    errors = []
    files = [*files_in(args.images, errors.append)]
    if not files and not errors:
        raise ValueError("there is no picture to measure")
    known = known_of(args)
    failed = [f"{error.filename}: {error.strerror}" for error in errors]
    for file in files:
        try:
            check_not_bent(file, known)
            lines = report(open_picture(file), **known)
        except ImportError:  # an extra is missing
            raise
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            failed.append(f"{file}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            print("\n  ".join([f"{file}: {lines[0]}", *lines[1:]]), flush=True)
    if failed:
        things = "pictures and folders" if errors else "pictures"
        raise Incomplete(f"{len(failed)} of {len(files) + len(errors)} {things} failed:\n" + "\n".join(failed))

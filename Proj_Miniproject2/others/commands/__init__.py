"""The commands of `noise2noise`: each is a module with `add_arguments`, `main`, and a docstring that is its help.

Here is what several of them do.
"""

from ..formats.opening import ending_of, picture_paths
from ..noise.estimate import check_known

JPEGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}


def pictures_in(*paths):
    """The pictures that are read from folders or files, for `check_outputs`; of None there are none. What can't be read
    is left to who reads it."""

    def found(path):
        return [path] if path.is_file() else picture_paths(path, lambda error: None)

    return [file for path in paths if path for file in found(path)]


def add_views(parser):
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 2, 4, 8),
        help="Take the mean over so many of the picture's eight symmetries (unet 8, photo and camera 1): each costs "
        "the same time again, and brings less than the one before.",
    )


def add_overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there already.")


def add_known(parser):
    """What is known of the camera."""
    for name, what in (
        ("gain", "How much a photon (or an electron) adds, in the picture's units"),
        ("read-noise", "The standard deviation where there is no light, in the picture's units"),
        ("offset", "The value where there is no light"),
    ):
        parser.add_argument(f"--{name}", type=float, metavar="N", help=f"{what}, if it is known: else it is estimated.")


def known_of(args):
    """What `add_known` has found, as `estimate_noise` takes it; ValueError for what no camera has."""
    known = {"gain": args.gain, "read_noise": args.read_noise, "offset": args.offset}
    check_known(**known)
    return known


def check_not_bent(file, known):
    """ValueError if something is known of the camera of a file which a camera has already changed."""
    if ending_of(file).lower() in JPEGS and any(value is not None for value in known.values()):
        raise ValueError("is a JPEG, whose values a camera bent: no gain, read noise or offset fits them")

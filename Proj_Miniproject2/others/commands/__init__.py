"""The commands of `noise2noise`: each is a module with `add_arguments`, `main`, and a docstring that is its help.

Here is what several of them do.
"""

from ..formats.opening import picture_paths


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
        help="Take the mean over so many of the picture's eight symmetries (unet 8, photo and camera 2): each costs "
        "the same time again, and brings less than the one before.",
    )


def add_overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there already.")

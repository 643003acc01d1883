"""The commands of `noise2noise`: each is a module with `add_arguments`, `main`, and a docstring that is its help.

Here is what several of them do.
"""

from ..data.pictures import photo_paths


def pictures_in(*folders):
    """The pictures that are read from folders, for `check_outputs`; of None there are none. What can't be read is left
    to who reads it."""
    return [path for folder in folders if folder for path in photo_paths(folder, onerror=lambda error: None)]


def add_overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there already.")

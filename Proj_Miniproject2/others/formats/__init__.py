"""How pictures and other files are kept: read and written, with nothing lost.

`opening.open_picture(path)` gives what reads and writes a picture's file, page by page; everything else here serves it,
but `files`, which all rooms use. A format is a class in a file of its own, and inherits nothing. Who adds one adds that
file, a line in `opening.FORMATS`, and examples in tests/test_formats.py. It answers:

    ENDINGS, FOLDERS        the endings of its files, and of folders that are one picture: lower case, with the dot
    FLOATS                  whether its files may hold floats where they had integers, see `write`
    AS                      the endings of those that come out as another kind of file: {".gif": ".png"}
    is_mine(path, head)     static: whether a file is of this kind, by its first bytes (opening.HEAD of them), or else
                            by its ending; of a folder `head` is b"". It is cheap, and raises nothing
    Format(path, options)   of a file that is: cheap, too. ValueError for what can't be taken: its text goes on behind
                            the file's name and says what to do. For a missing library see `extras.check_extra`
    count()                 how many pages there are
    pages()                 yields them, as often as asked: NumPy arrays (H, W) or (H, W, C) of the file's dtype. C
                            is 1 or 3, or 2 or 4 with transparency as the last. One is in memory at a time
    missing(page)           what of a page is no measurement, and comes out bit for bit: bool (H, W), or None
    write(pages, path, twice=False, dtype=None)
                            makes a file or folder like this one, with as many other pages, at a path that is new and of
                            the name that it will have. twice: each is twice as wide, as it shows two things side by
                            side. dtype: what the pages have, if it is another one than the file's
    fours()                 only of a mosaic: whether each four of its pages are the planes of one of 2 x 2 pixels
    colours()               only of a mosaic: the number of the colour of each of its pages
    shown()                 only of one whose pages aren't what people see: what they do, which `write` takes with twice

`path` is a Path, `options` the `Options` below. OSError or ValueError, which says which page, for what is damaged, or
would lose something: some only show it when they are read. Libraries are imported in functions: who has no such file
needs none of them. That what is written is there whole or not at all is up to `files.whole_path`, around all formats.
"""

from typing import NamedTuple


class Options(NamedTuple):
    """What a user asks of what is written; each format looks at those that it knows."""

    quality: int | None = None  # of JPEG and lossy WebP, from 1 to 100
    jpeg: bool = False  # what RAW files are developed to, instead of a TIFF
    dtype: str | None = None  # "float32" for files of floats, whatever came
    channels: bool = False  # whether the last axis of NumPy's arrays is of channels, each a page of its own
    run: str = ""  # what this run is told from others by, which make other files of the same ones


PLAIN = Options()

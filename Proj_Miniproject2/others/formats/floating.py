"""Any pictures as floats, for who wants the result unrounded."""

from .arrays import as_floats


class Floating:
    """What another format gives, with pages of floats that hold its values, written as floats of this dtype."""

    def __init__(self, picture, dtype):
        self.picture, self.dtype = picture, dtype

    def count(self):
        return self.picture.count()

    def pages(self):
        return map(as_floats, self.picture.pages())

    def missing(self, page):
        return self.picture.missing(page)

    def write(self, pages, path, twice=False, dtype=None):
        self.picture.write((page.astype(self.dtype) for page in pages), path, twice, self.dtype)

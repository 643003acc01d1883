"""RAW files of cameras, read and developed by LibRaw (rawpy): the extra "raw".

What is denoised is what the sensor counted, above its black level, where noise is independent from pixel to pixel. Then
LibRaw develops it, with the camera's white balance, to a TIFF of 16 bits or a JPEG in sRGB.

LibRaw looks at the picture for how bright it should be, and what is white: both are taken from it as it came, so that
what is denoised differs by its noise alone.
"""

import contextlib
import math

from .extras import check_extra
from .mosaic import BAYER, apart, in_dtype, together

LARGEST_PERIOD = 12  # of a pattern of colours, in pixels
WHITE_FROM = 0.75  # LibRaw: if the brightest pixel is above this share of the white level, it is white itself
BRIGHT = 0.01  # LibRaw: of each channel this share of the pixels may be white
BINS, DARKEST = 8192, 32  # LibRaw: of the histogram of 16 bits by which it finds that, and where it ends
QUALITY = 95  # of a JPEG


class Raw:
    """Its pages are the planes of the sensor's mosaic, float32, above the black level."""

    ENDINGS = frozenset(".dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split())
    FOLDERS, AS = frozenset(), dict.fromkeys(ENDINGS, ".tif")
    FLOATS = False

    @staticmethod
    def is_mine(path, head):
        return path.suffix.lower() in Raw.ENDINGS and bool(head)

    def __init__(self, path, options):
        check_extra("is a RAW file", "raw", "rawpy")
        self.path, self.options = path, options

    @contextlib.contextmanager
    def opened(self):
        """The file, in rawpy. ValueError for one that LibRaw can't read or develop, or without a mosaic."""
        import rawpy

        try:
            with rawpy.imread(str(self.path)) as raw:
                if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None:
                    raise ValueError("holds no mosaic, but colours developed in part: develop it first, to a TIFF")
                yield raw
        except rawpy.LibRawError as error:
            raise ValueError(f"is damaged, or a RAW file that LibRaw can't develop: {message(error)}") from error

    def fours(self):
        with self.opened() as raw:
            return period_of(raw) == BAYER

    def colours(self):
        with self.opened() as raw:
            rows, columns = period_of(raw)
            return numbers_of(raw)[:rows, :columns].flatten().tolist()

    def count(self):
        with self.opened() as raw:
            return math.prod(period_of(raw))

    def pages(self):
        with self.opened() as raw:
            period, counts = period_of(raw), above(raw)
        yield from apart(counts, period)

    def missing(self, page):
        return None

    def shown(self):
        """What came, developed."""
        with self.opened() as raw:
            yield self.developed(raw, development(raw))

    def write(self, pages, path, twice=False, dtype=None):
        """Develop what was made of the sensor's colours. twice: write what `shown` gives, beside something else."""
        import numpy as np

        if twice:
            (picture,) = pages
        else:
            with self.opened() as raw:
                # Before LibRaw develops it, which gives its second green the first one's number.
                dark, period, shape = black(raw), period_of(raw), raw.raw_image_visible.shape
                how = development(raw)
                mosaic = raw.raw_image_visible  # LibRaw's own
                after = in_dtype(together(pages, period, shape) + dark, mosaic.dtype)
                mosaic[:] = np.where(mosaic >= raw.white_level, mosaic, after)  # what is saturated shows no noise
                picture = self.developed(raw, how)
        write(picture, path, self.options.quality or QUALITY)

    def developed(self, raw, how):
        return raw.postprocess(output_bps=8 if self.options.jpeg else 16, **how)


def message(error):
    """What LibRaw says, which is bytes."""
    (what,) = error.args or (b"",)
    return what.decode(errors="replace") if isinstance(what, bytes) else str(what)


def numbers_of(raw):
    """The number of each pixel's colour. Of a sensor without any LibRaw says 6, and has names and levels for four."""
    return raw.raw_colors_visible.clip(max=3)


def period_of(raw):
    """After how many rows and columns a sensor's pattern of colours begins anew. ValueError for one without."""
    import numpy as np

    numbers = numbers_of(raw)
    for period in range(1, LARGEST_PERIOD + 1):
        same = [np.array_equal(turned[period:], turned[:-period]) for turned in (numbers, numbers.T)]
        if all(same) and min(numbers.shape) >= period:
            return period, period
    raise ValueError(f"has a pattern of {raw.color_desc.decode()} that isn't regular: develop it first, to a TIFF")


def black(raw):
    """The black level of each pixel of a mosaic: float32 (H, W)."""
    import numpy as np

    return np.array(raw.black_level_per_channel, np.float32)[numbers_of(raw)]


def above(raw):
    """What a sensor counted above its black level: float32 (H, W)."""
    return raw.raw_image_visible - black(raw)


def development(raw):
    """The arguments for `postprocess` with which LibRaw develops a picture as it would by itself, whatever becomes of
    its noise."""
    import numpy as np

    brightest = int(above(raw).max())  # asked first, see `Raw.write`
    white = raw.white_level - min(raw.black_level_per_channel)
    # Unlike `white_level`, `user_sat` is above the black level.
    own_white = {"user_sat": brightest} if WHITE_FROM * white < brightest < white else {}
    how = {"use_camera_wb": True, "adjust_maximum_thr": 0, "no_auto_bright": True, **own_white}
    linear = raw.postprocess(gamma=(1, 1), output_bps=16, **how)
    most = 0
    for channel in np.moveaxis(linear, 2, 0):
        brighter = np.bincount(channel.ravel() // (2**16 // BINS), minlength=BINS)[::-1].cumsum()[::-1]
        enough = np.flatnonzero(brighter > BRIGHT * channel.size)
        most = max(most, DARKEST, enough[-1] if len(enough) else 0)
    return how | {"bright": float(BINS / most)}


def write(picture, path, quality):
    """Write a picture uint8 or uint16 (H, W, 1 or 3) to a JPEG or a TIFF."""
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if picture.shape[2] == 3 else None
    picture = picture.squeeze(2) if profile is None else picture
    if picture.dtype.itemsize == 1:
        Image.fromarray(picture).save(path, "JPEG", quality=quality, subsampling=0, icc_profile=profile)
    else:
        import tifffile

        kind = {"photometric": "rgb" if profile else "minisblack", "compression": "adobe_deflate", "predictor": True}
        tifffile.imwrite(path, picture, **kind, iccprofile=profile, metadata=None)

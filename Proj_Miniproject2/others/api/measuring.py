"""What the noise of pictures is, in memory or in files.

`estimate_noise` is the package's public function; the command `noise` does the same with files, and `denoise` begins
with it.
"""

from itertools import islice

import torch

from ..noise.estimate import TooSmall, estimate, looked_at, spread
from ..noise.ranges import SPAN, empty
from .arguments import axis_of, read, tensor_from, undisturbed
from .way import colours_of, left_alone, varies

FINE = 1.5  # steps of integers
LIKE = 1.3  # times as strong as that of all pages, or less, is the noise of each, if it is one
AT_ENDS = 2  # times a page's variance at most do both differ by where it is darkest and brightest


@undisturbed
def estimate_noise(picture, *, gain=None, read_noise=None, offset=None, pages=False):
    """The noise of a picture, from the picture alone: a `Noise`, see there, whose fields are tuples of a number for
    each channel (gain, offset, read_noise, sd) or one number for all (white, correlation, reach, channels, saturated,
    empty, dead). `denoise` takes it as `noise`.

    Args:
        picture: what `denoise` takes, of 16 pixels a side or more. Its last channel is left out where it is
            transparency, and what that hides tells nothing, as NaN and infinities do
        gain: what is known of the camera, in the picture's units for each photon (or electron), and is then not
            estimated; for integers of a camera, in its steps (ADU) for each
        read_noise: its standard deviation where there is no light, in the picture's units
        offset: the value where there is no light, in the picture's units
        pages: whether the first axis counts pictures of one camera, whose noise is the same: of many, 8 are looked at

    The noise is taken to be that of a detector: in each pixel its variance is gain (value - offset) + read_noise^2. So
    it is where photons are counted, and (with a gain of 0) where noise is Gaussian and the same everywhere. In
    magnitudes of magnetic resonance it is the latter only where the signal is some 3 times the noise or more: where it
    is less, as in the air around a body, they are Rician, with less noise (0.66 of it where there is no signal) and a
    mean above zero. It is then said to be what it is in most of the picture, which is too little if that is air.

    Raises TypeError for what is no picture, and ValueError for one that is too small or of another shape; for a gain or
    a read noise that is negative or no number, for an offset above all of the picture, and for any of them with colours
    of 8 bits, which cameras bend.
    """
    picture = read(picture)
    axis_of(picture, pages)
    known = {"gain": gain, "read_noise": read_noise, "offset": offset}
    pictures = [tensor_from(picture[place]) for place in spread(len(picture))] if pages else [tensor_from(picture)]
    check_linear(pictures[0], known)
    return estimate(map(told, pictures), **known)


def told(pixels, missing=None):
    """The colours (C, H, W) of pixels (H, W) or (C, H, W): NaN where `missing`, bool (H, W), or transparent."""
    colours, hidden = colours_of(pixels), missing
    if pixels.dim() == 3 and len(pixels) % 2 == 0:
        clear = pixels[-1].cpu() == 0
        hidden = clear if hidden is None else clear | hidden
    if hidden is None or not bool(hidden.any()):
        return colours
    return torch.where(hidden, torch.nan, colours.double())


def noises(pages, **known):
    """The `Noise` that all pages have, tensors (C, H, W), in a list; or, if theirs isn't one, as of channels that lie
    on pages of their own, that of each. known: gain, read_noise and offset, as for `estimate_noise`."""
    looked = [looked_at(page) for page in pages]
    each = [estimate(parts, **known) for parts in looked]
    if len(each) > 1 and len({tuple(part.shape for part in parts) for parts in looked}) == 1:
        one = estimate([part for parts in looked for part in parts], **known)
        if all(fits(one, *page) for page in zip(each, looked, strict=True)):
            return [one]
    return each


def fits(noise, own, parts):
    """Whether a page's own noise is what another says that it should be, at the page's brightness; and where it is
    darkest and brightest, as through pages of two kinds there is always a line."""
    for channel, (sd, (low, scale)) in enumerate(zip(own.sd, own.span, strict=True)):
        values = torch.cat([(seen := part[channel : channel + 1])[~empty(seen)] for part in parts]).double()
        expected = max(noise.gain[channel] * values.nanmean().item() + noise.floor(channel), 0) ** 0.5
        if scale and not max(sd, expected) <= LIKE * min(sd, expected):
            return False
        for value in (low, low + SPAN * scale):
            said, found = (max(one.gain[channel] * value + one.floor(channel), 0) for one in (noise, own))
            if abs(said - found) > AT_ENDS * sd**2:
                return False
    return True


def noises_in(picture, **known):
    """The `noises` of the pages of what `open_picture` gives, of which one is in memory at a time."""
    places = spread(picture.count())
    pages = (page for place, page in enumerate(islice(picture.pages(), places[-1] + 1)) if place in places)
    return noises((page_told(picture, page, known) for page in pages), **known)


def page_told(picture, page, known):
    """`told` of a page, an array, of what `open_picture` gives; errors as `check_linear`."""
    pixels, missing = tensor_from(page), picture.missing(page)
    check_linear(pixels, known)
    return told(pixels, None if missing is None else torch.from_numpy(missing))


def check_linear(pixels, known):
    """ValueError if something is known of a camera whose values these pixels (H, W) or (C, H, W) aren't any more."""
    bent = pixels.dtype == torch.uint8 and pixels.dim() == 3 and len(pixels) > 2
    if bent and any(value is not None for value in known.values()):
        raise ValueError("has colours of 8 bits, which a camera bent: no gain, read noise or offset fits them")


def noise_in(picture, **known):
    """A function that tells the `Noise` of a page, an array, of what `open_picture` gives: that of all pages, or, if
    theirs isn't one, its own; None for one that is too small."""

    def own(page):
        try:
            return estimate([page_told(picture, page, known)], **known)
        except TooSmall:
            return None

    try:
        found = noises_in(picture, **known)
    except TooSmall:
        return own
    return own if len(found) > 1 else lambda page: found[0]


def rounding_costs(noise, dtype):
    """Whether integers of a NumPy dtype are too coarse for what is left of a picture without its `Noise`: that was no
    stronger than FINE steps. Noise that isn't taken away costs nothing, nor do 8 bits but of few photons."""
    if dtype.kind == "f" or (dtype.itemsize == 1 and not varies(noise, dtype.name == "uint8")):
        return False
    level = max(scale for _, scale in noise.span)
    return bool(level) and left_alone(noise, 1 if dtype.name == "uint8" else level) > 0 and min(noise.sd) < FINE

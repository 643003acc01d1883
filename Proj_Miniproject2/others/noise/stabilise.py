"""Noise made even: of one standard deviation everywhere, which networks then need not guess, and the way back.

Where the variance of the noise grows with what is seen, as that of counted photons does, a generalised Anscombe
transform makes it 1: for var(x) = gain x + floor

    z = 2 / gain sqrt(max(gain x + 3/8 gain^2 + floor, 0))

(Murtagh, Starck and Bijaoui, "Image restoration with noise suppression using a multiresolution support", 1995). Its
inverse is that of the mean: z's mean over the noise is another function of what is seen than z itself (Mäkitalo and
Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", 2013).
"""

STRENGTH = 25  # grey levels: the noise's standard deviation in what networks see
MIDDLE = 128  # the grey level that the middle of a picture becomes


def evened(pixels, sd, middle):
    """Pixels as networks see them, when their noise has the standard deviation `sd`: all may be tensors."""
    return (pixels - middle) * (STRENGTH / sd) + MIDDLE


def stabilised(x, gain, floor):
    """The generalised Anscombe transform of x, whose noise has the variance gain x + floor, gain > 0; see above."""
    return 2 / gain * (gain * x + 3 / 8 * gain**2 + floor).clamp(min=0).sqrt()

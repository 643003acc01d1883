"""Noise made even: of one standard deviation everywhere, which networks then need not guess, and the way back.

Where the variance of the noise grows with what is seen, as that of counted photons does, a generalised Anscombe
transform makes it 1: for var(x) = gain x + floor

    z = 2 / gain sqrt(max(gain x + 3/8 gain^2 + floor, 0))

(Murtagh, Starck and Bijaoui, "Image restoration with noise suppression using a multiresolution support", 1995). Its
inverse is that of the mean: z's mean over the noise is another function of what is seen than z itself (Mäkitalo and
Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", 2013).
"""

import torch

STRENGTH = 25  # grey levels: the noise's standard deviation in what networks see
MIDDLE = 128  # the grey level that the middle of a picture becomes
MOST_PHOTONS, TABLE, NODES, FARTHEST = 60, 400, 801, 7  # of `mean_table`; with more photons z^2 / 4 - 1 / 8 - sd^2 does


def evened(pixels, sd, middle):
    """Pixels as networks see them, when their noise has the standard deviation `sd`: all may be tensors."""
    return (pixels - middle) * (STRENGTH / sd) + MIDDLE


def stabilised(x, gain, floor):
    """The generalised Anscombe transform of x, whose noise has the variance gain x + floor, gain > 0; see above."""
    return 2 / gain * (gain * x + 3 / 8 * gain**2 + floor).clamp(min=0).sqrt()


def restored(z, gain, floor, offset):
    """The exact inverse of `stabilised` for means: what is seen where z has that mean. For z below that of no photons a
    straight line goes on; or if the noise there is stronger than that of a photon, as of pictures from which a
    background was subtracted, the parabola."""
    sd = max(floor + gain * offset, 0) ** 0.5 / gain  # of the read noise, in photons
    photons, means = mean_table(sd)
    place = torch.searchsorted(means, z.contiguous()).clamp(1, len(means) - 1)
    slope = (photons[place] - photons[place - 1]) / (means[place] - means[place - 1])
    few = photons[place - 1] + slope * (z - means[place - 1])
    if sd > 1:
        few = torch.where(z < means[0], (z.clamp(min=0) ** 2 - means[0] ** 2) / 4, few)
    many = z**2 / 4 - 1 / 8 - sd**2
    return offset + gain * torch.where(z > means[-1], many, few)


def mean_table(sd):
    """Numbers of photons (T,), 0 to MOST_PHOTONS, and the mean of their Anscombe transform (T,), with a read noise of
    so many photons: sums over all counts, and over the read noise up to FARTHEST standard deviations."""
    photons = torch.linspace(0, MOST_PHOTONS**0.5, TABLE, dtype=torch.float64) ** 2
    counts = torch.arange(int(MOST_PHOTONS + 12 * MOST_PHOTONS**0.5), dtype=torch.float64)
    log_likely = counts * photons[:, None].clamp(min=1e-300).log() - photons[:, None] - torch.lgamma(counts + 1)
    nodes = torch.linspace(-FARTHEST, FARTHEST, NODES, dtype=torch.float64)
    weights = (-(nodes**2) / 2).exp()
    z = 2 * (counts[:, None] + sd * nodes + 3 / 8 + sd**2).clamp(min=0).sqrt()
    return photons, log_likely.exp() @ (z @ (weights / weights.sum()))

"""What a picture shows of its noise: whether neighbouring pixels share it."""

import torch

ALIKE = 0.3  # correlation of neighbouring pixels: from here on noise isn't independent
BLOCK = 16  # side of the blocks of which the flattest are looked at
FLAT = 10  # one in so many is flat
FAR = 4  # pixels: so far apart, noise has hardly anything in common
MIDDLE = 1024  # rows and columns of a larger picture that are looked at
FAINT = 0.5  # squared grey levels: what rounding does to a difference
EQUAL = 0.3  # of the pixels are as two beside them, in all channels, in drawings and letters: noise leaves none so


def correlation(pixels):
    """How much the noise of neighbouring pixels has in common: from about 0, if it is independent, to 1.

    pixels: (C, H, W), three channels or one, in grey levels. Where a picture is flat, differences of pixels are those
    of their noise: with variance v and correlation r at a distance, their mean square is 2 v (1 - r). So the ratio of
    neighbours' to that of pixels FAR apart tells r, in the flattest blocks. Of colours it is the differences of the
    channels, which edges hardly touch. A picture without noise seems to be correlated, as neighbours are alike; one
    that is empty, or smaller than a block and FAR more, tells nothing: 1. So it is of drawings and letters, by their
    EQUAL pixels.
    """
    if equal(pixels) > EQUAL:
        return 1.0
    near, far = differences(pixels)
    return of_blocks(near, far, near + far)


def least_correlation(pixels):
    """The same, of the blocks that show the least of it. Texture, of which a whole picture may be full, adds to it, so
    this is the better bound: noise that is correlated is so everywhere. Chance makes it lower by 0.1."""
    near, far = differences(pixels)
    return of_blocks(near, far, -near / far)


def differences(pixels):
    """What `squares` gives for neighbours and for pixels FAR apart, of all blocks of a picture that aren't empty."""
    pixels = middle(pixels).float()
    channels = pixels if len(pixels) == 1 else pixels[::2] - pixels[1:2]
    if min(pixels.shape[1:]) < BLOCK + FAR:
        return torch.empty(2, 0)
    near, far = (squares(channels, distance) for distance in (1, FAR))
    return near[far > 0], far[far > 0]  # what is empty, as borders are, shows no noise


def middle(pixels):
    top, left = (max(n - MIDDLE, 0) // 2 for n in pixels.shape[1:])
    return pixels[:, top : top + MIDDLE, left : left + MIDDLE]


def equal(pixels):
    """The share of the pixels (C, H, W) that are, in all channels, as the one below and the one to the right, in the
    median of the blocks in which not all are; without saturated ones."""
    pixels = middle(pixels)
    height, width = ((n - 1) // BLOCK * BLOCK for n in pixels.shape[1:])
    corner = pixels[:, :height, :width]
    both = (corner == pixels[:, 1 : height + 1, :width]) & (corner == pixels[:, :height, 1 : width + 1])
    shown = (corner != pixels.amax((1, 2), keepdim=True)).any(0)
    shares = (both.all(0) & shown).unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).double().mean((1, 3))
    shares = shares[shares < 1]
    return shares.median().item() if len(shares) else 0.0


def of_blocks(near, far, order):
    """The correlation in one in FLAT of the blocks, the first ones by `order`."""
    if not len(far):
        return 1.0
    first = order.argsort()[: max(len(far) // FLAT, 1)]
    return 1 - (near[first].sum() / (far[first].sum() + FAINT * len(first))).item()


def squares(channels, distance):
    """The mean squared difference of pixels so far apart, down and to the right: one number for each block."""
    corner = channels[:, :-FAR, :-FAR]
    _, height, width = corner.shape
    down = channels[:, distance:, :][:, :height, :width] - corner
    right = channels[:, :, distance:][:, :height, :width] - corner
    both = (down.square() + right.square()).sum(0)
    height, width = (n // BLOCK * BLOCK for n in both.shape)
    return both[:height, :width].unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).mean((1, 3)).flatten() / 2

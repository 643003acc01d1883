"""Arrays that are larger than memory, denoised block by block, by several processes if there are any."""

from math import ceil

import torch

from ..formats.arrays import as_floats, tensor_of
from ..noise.estimate import TooSmall, estimate
from .measuring import told
from .way import BROAD, denoise_array

AROUND = 3 * BROAD  # pixels: besides what a network sees, so far reach the means in which nothing is lost


def denoise_blocks(models, picture, copy, progress=iter, strength=1, known=None, repair=False, dtype=None):
    """Denoise all images of a `formats.zarr.Zarr` into its `Copy`.

    Each channel has one noise, everywhere and at all times and depths, and what is seen with a block is as much as can
    make a difference, from a row and a column on that the networks and means begin with in the whole array, too: the
    blocks are those of the array denoised as one. known: of the camera, see `estimate_noise`. repair: as there. dtype:
    of floats, if the copy has one. ValueError for models that find out by themselves what they see in a block.
    """
    import numpy as np

    if not any(model.even for model in models) and models[0].range is None:
        raise ValueError("needs a network that is told the noise of the whole array: those shipped are")
    halo = ceil(max(strength, 1)) * (max(model.HALO for model in models) + AROUND)
    grid = max(BROAD, *(model.GRID for model in models))
    for image in picture.images:
        with copy.step():
            noises = [noise_of(picture, image, channel, known or {}) for channel in range(picture.channels(image))]
            for block in progress(copy.own(picture.blocks(image, halo, grid))):
                values, missing = picture.read(block)
                result = values[block.inner].astype(dtype or values.dtype)
                for place, channel in picture.planes(image, block):
                    options = {"noise": noises[channel], "missing": missing[place], "repair": repair, "whole": False}
                    plane = as_floats(values[place]) if dtype else values[place]
                    clean = denoise_array(models, plane, strength=strength, **options)
                    result[place] = np.where(missing[place], plane, clean)[block.inner[-2:]]
                copy.write(block, result)
        copy.build_levels(image)
    copy.finish()


def noise_of(picture, image, channel, known):
    """The `Noise` of an image's channel; None where its planes are too small to tell it, or nothing was measured."""
    samples = [
        told(tensor_of(values), torch.from_numpy(missing)) for values, missing in picture.samples(image, channel)
    ]
    try:
        return estimate(samples, **known) if samples else None
    except TooSmall:
        return None

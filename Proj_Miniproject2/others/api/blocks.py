"""Arrays that are larger than memory, denoised block by block, by several processes if there are any."""

from .way import denoise_array


def denoise_blocks(models, picture, copy, progress=iter, strength=1):
    """Denoise all images of a `formats.zarr.Zarr` into its `Copy`.

    A network sees a block with as much around it as it can, from the same rows and columns on as the whole array, and
    with the array's noise: the blocks are those of the array denoised as one.
    """
    import numpy as np

    halo, grid = (max(getattr(model, name) for model in models) for name in ("HALO", "GRID"))
    for image in picture.images:
        with copy.step():
            for block in progress(copy.own(picture.blocks(image, halo, grid))):
                values, missing = picture.read(block)
                result = np.empty_like(values)
                for place, _channel in picture.planes(image, block):
                    result[place] = denoise_array(models, values[place], strength=strength)
                copy.write(block, np.where(missing, values, result)[block.inner])
        copy.build_levels(image)
    copy.finish()

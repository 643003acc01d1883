"""What it brings to denoise a sensor's colours before they are developed: a drawn DNG, beside the same denoised after.

    python -m benchmarks.raw

Drawn scenes behind a lens that blurs by BLUR pixels, in linear light, seen through the patterns of Bayer and X-Trans by
a sensor that counts: NOISES are its gain, in counts for an electron, and its read noise, in counts, of WHITE - BLACK.

The result, benchmarks/results/raw.json, for each pattern, noise and scene: PSNR in dB against the DNG without noise,
both developed by LibRaw in the same way, of what is not denoised, denoised after, and denoised before.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.__main__ import main as noise2noise
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.formats.raw import development
from Proj_Miniproject2.others.pairs.scenes import draw_scenes

from .speed import RESULTS, machine

NOISES = (16, 12), (64, 24), (200, 80)
BLACK, WHITE = 512, 16383
SCENES, SIDE, BLUR = 4, 600, 1  # of X-Trans LibRaw takes no less
BAYER, XTRANS = (0, 1, 1, 2), tuple(map(int, "110112112110201021112110110112021201"))  # red 0, green 1, blue 2
FULL = 12_000  # counts of the brightest green
NEUTRAL = (1, 2), (1, 1), (2, 3)  # what white is in the camera's red, green and blue: fractions
# From XYZ to the camera's colours, in ten thousandths: of a camera that was sold.
MATRIX = 7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758


def write_dng(path, mosaic, pattern=BAYER, black=(BLACK,), white=WHITE, orientation=1, **options):
    """A DNG of a mosaic, uint16 (H, W), with the tags that LibRaw needs. pattern: the colours of 2 x 2 or 6 x 6 pixels;
    black: the levels of 2 x 2 pixels, or one."""
    import tifffile

    side, levels = (round(len(values) ** 0.5) for values in (pattern, black))
    fractions = [n for entry in MATRIX for n in (entry, 10_000)]
    tags = [
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (side, side), True),  # CFARepeatPatternDim
        (33422, "B", len(pattern), bytes(pattern), True),  # CFAPattern
        (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
        (50708, "s", 0, "Drawn", True),  # UniqueCameraModel
        (50713, "H", 2, (levels, levels), True),  # BlackLevelRepeatDim
        (50714, "I", len(black), black, True),  # BlackLevel
        (50717, "I", 1, white, True),  # WhiteLevel
        (50721, "2i", 9, fractions, True),  # ColorMatrix1
        (50728, "2I", 3, [n for fraction in NEUTRAL for n in fraction], True),  # AsShotNeutral
        (50778, "H", 1, 21, True),  # CalibrationIlluminant1: D65
    ]
    tifffile.imwrite(path, mosaic, photometric="cfa", metadata=None, extratags=tags, **options)


def sensor(picture, pattern=BAYER):
    """What a sensor of a pattern counts of a picture, uint8 (3, H, W), without noise: float64 (H, W)."""
    light = (picture.permute(1, 2, 0).numpy() / 255) ** 2.2 * [a / b for a, b in NEUTRAL] * FULL
    side = round(len(pattern) ** 0.5)
    rows, columns = np.indices(light.shape[:2]) % side
    return np.take_along_axis(light, np.reshape(pattern, (side, side))[rows, columns][..., None], 2)[..., 0]


def blurred(picture):
    from PIL import Image, ImageFilter

    image = Image.fromarray(picture.permute(1, 2, 0).numpy()).filter(ImageFilter.GaussianBlur(BLUR))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def counted(mosaic, gain=None, read=0, seed=0):
    """What is in the file, uint16: with the noise of that gain and read noise, if any."""
    draws = np.random.default_rng(seed)
    if gain:
        mosaic = draws.poisson(mosaic / gain) * gain + draws.normal(0, read, mosaic.shape)
    return (BLACK + mosaic).round().clip(0, WHITE).astype(np.uint16)


def developed(path, how):
    import rawpy

    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(output_bps=16, **how)


def score(picture, clean):
    return round(10 * float(np.log10(65535**2 / np.mean((picture.astype(float) - clean) ** 2))), 2)


def measure(mosaic, pattern, gain, read, folder):
    """The scores of one mosaic, float64 (H, W), with that noise."""
    import rawpy
    import tifffile

    noisy, clean = folder / "noisy.dng", folder / "clean.dng"
    write_dng(noisy, counted(mosaic, gain, read), pattern)
    write_dng(clean, counted(mosaic), pattern)
    with rawpy.imread(str(noisy)) as raw:
        how = development(raw)
    truth, before = developed(clean, how), developed(noisy, how)
    noise2noise(["denoise", str(noisy), "--out", str(folder), "--overwrite"])
    first = tifffile.imread(folder / "noisy.tif")
    pictures = {"noisy": before, "denoised after": denoise(before), "denoised before": first}
    return {name: score(picture, truth) for name, picture in pictures.items()}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(args)
    torch.set_num_threads(1)
    results = {}
    for i, scene in enumerate(draw_scenes(SCENES, SIDE, seed=7)):
        for name, pattern in {"Bayer": BAYER, "X-Trans": XTRANS}.items():
            mosaic = sensor(blurred(scene), pattern)
            for gain, read in NOISES:
                with TemporaryDirectory() as folder:
                    scores = measure(mosaic, pattern, gain, read, Path(folder))
                results.setdefault(f"{name}, gain {gain}, read noise {read}", {})[f"scene {i}"] = scores
                print(f"{name}, scene {i}, gain {gain}, read noise {read}: {scores}", flush=True)
                write_json({"machine": machine(), "PSNR": results}, RESULTS / "raw.json")


if __name__ == "__main__":
    main()

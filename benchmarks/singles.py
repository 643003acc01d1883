"""What a short training on single noisy pictures gains: `noisy`, what `denoise` makes of it, and the same with weights
of `train --singles` on that very picture alone.

    python -m benchmarks.singles FOLDER

FOLDER has grey pictures, nearly clean. NOISES are Poisson noise of so many photons at white, and Gaussian noise of that
standard deviation, of which white is 1, upon it: floats, neither rounded nor clamped, as a measurement has them.

The result, benchmarks/results/singles.json, for each noise and picture: PSNR in dB, and the processor's seconds of the
training, on one core.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.__main__ import main as noise2noise
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.formats.pictures import photo_paths
from Proj_Miniproject2.others.noise.kinds import camera_noise
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.photos import read_photo

from .speed import RESULTS, machine

NOISES = (30, 0.03), (5, 0.1)


def trained_alone(noisy, folder):
    """A file of weights that were trained on one picture (H, W), and the seconds."""
    picture, weights = folder / "noisy.npy", folder / "weights.pth"
    np.save(picture, noisy)
    begin = time.process_time()
    noise2noise(["train", "--singles", str(picture), "--out", str(weights), "--overwrite"])
    return weights, time.process_time() - begin


def measure(clean, photons, sigma, generator, folder):
    """The scores of one picture, float (1, 1, H, W) in [0, 255], with that noise."""
    gain = torch.full((1, 1, 1, 1), 255 / photons)
    noisy = camera_noise(clean, 255 * sigma, gain, generator)[0, 0].numpy()
    weights, seconds = trained_alone(noisy, folder)
    pictures = {"noisy": noisy, "shipped": denoise(noisy), "singles": denoise(noisy, weights=weights)}
    scores = {name: round(psnr(torch.from_numpy(image)[None, None], clean), 2) for name, image in pictures.items()}
    return scores | {"seconds": round(seconds)}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, metavar="FOLDER")
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    results = {f"{photons} photons, {sigma}": {} for photons, sigma in NOISES}
    for i, path in enumerate(photo_paths(args.pictures)):
        clean = read_photo(path)[None, :1].float()
        for (photons, sigma), scores in zip(NOISES, results.values(), strict=True):
            with TemporaryDirectory() as folder:
                generator = torch.Generator().manual_seed(i)
                scores[path.stem] = measure(clean, photons, sigma, generator, Path(folder))
            print(f"{path.stem}, {photons} photons, {sigma}: {scores[path.stem]}", flush=True)
            write_json({"machine": machine(), "PSNR": results}, RESULTS / "singles.json")


if __name__ == "__main__":
    main()

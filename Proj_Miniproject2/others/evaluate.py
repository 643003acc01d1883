"""PSNR of the pretrained model, or of other weights, in dB.

    python -m Proj_Miniproject2.others.evaluate VAL_DATA [--photos FOLDER]

on a validation file (noisy, clean); on its clean images with other noise; and with --photos on larger images cut
from photos that were not trained on. Each beside what the noisy images have.
"""

import argparse
from pathlib import Path

import torch

from ..model import PRETRAINED, Model
from .metrics import psnr
from .noise import block_mean, gaussian_noise, pixel_noise, poisson_noise
from .photos import load_photos
from .train import write_json

SEED = 7


def read_pair(path):
    """The (noisy, clean) of a file; ValueError if it holds anything but two equal uint8 (N, 3, H, W)."""
    try:
        pair = torch.load(path, weights_only=True)
        noisy, clean = pair
        fits = noisy.dtype == clean.dtype == torch.uint8 and noisy.shape == clean.shape and noisy.dim() == 4
    except Exception as error:  # torch raises many kinds for files that it can't read
        raise ValueError(f"{path} is not a file of two tensors: {error}") from error
    if not fits:
        raise ValueError(f"{path} should hold two uint8 tensors of one shape (N, 3, H, W)")
    return noisy, clean


def other_noise(clean):
    """The clean images with noise that the network may not know: pairs (name, noisy)."""
    generator = torch.Generator().manual_seed(SEED)
    for sigma in (10, 25, 50):
        yield f"Gaussian, sigma {sigma}", gaussian_noise(clean, sigma, generator)
    for peak in (30, 255):
        yield f"Poisson, peak {peak}", poisson_noise(clean, peak, generator)


def centre_crops(photos, side):
    return torch.stack([p[:, (p.shape[1] - side) // 2 :, (p.shape[2] - side) // 2 :][:, :side, :side] for p in photos])


def from_photos(photos):
    """Images from the centres of photos: triples (name, noisy, clean)."""
    generator = torch.Generator().manual_seed(SEED)
    crops = centre_crops(photos, 256)
    for block in (16, 8, 4, 2):
        side = 256 // block
        yield (
            f"{block} x {block} blocks, {side} x {side} images",
            pixel_noise(crops, block, generator),
            block_mean(crops, block),
        )


def evaluate(model, rows):
    """Print and return the PSNR of each of the triples (name, noisy, clean)."""
    results = {}
    for name, noisy, clean in rows:
        results[name] = {"noisy": round(psnr(noisy, clean), 3), "denoised": round(psnr(model.predict(noisy), clean), 3)}
        print(f"{name:32} noisy {results[name]['noisy']:6.2f}   denoised {results[name]['denoised']:6.2f}")
    return results


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("val_data", type=Path, help="file with a tuple (noisy, clean), as the course's val_data.pkl")
    parser.add_argument("--photos", type=Path, help="folder of photos, for larger images")
    parser.add_argument("--weights", type=Path, default=PRETRAINED, help="(bestmodel.pth)")
    parser.add_argument("--results", type=Path, help="JSON file to write")
    args = parser.parse_args(args)
    try:
        noisy, clean = read_pair(args.val_data)
        model = Model()
        model.load_weights(args.weights)
        photos = load_photos(args.photos) if args.photos else []
    except (ValueError, OSError) as error:
        parser.error(str(error))
    rows = [("the file's own noise", noisy, clean), *((name, bad, clean) for name, bad in other_noise(clean))]
    results = evaluate(model, rows + list(from_photos(photos) if photos else []))
    if args.results:
        write_json(results, args.results)


if __name__ == "__main__":
    main()

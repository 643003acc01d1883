"""PSNR in dB of a network's shipped weights, or of others, beside that of the noisy images.

On a validation file (noisy, clean); on its clean images with other noise; and with --photos on larger images cut from
photos that were not trained on.
"""

from pathlib import Path

import torch

from ..api.weights import seeing, trained
from ..formats.files import check_outputs, read_pair, write_json
from ..networks import NETWORKS
from ..noise.kinds import block_mean, gaussian_noise, pixel_noise, poisson_noise
from ..noise.metrics import psnr
from ..pairs.photos import load_photos
from . import add_overwrite, add_views, pictures_in

SEED = 7


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


def add_arguments(parser):
    parser.add_argument(
        "val_data",
        type=Path,
        metavar="FILE",
        help="A file that holds a tuple (noisy, clean), as the course's val_data.pkl and that of `pairs`.",
    )
    parser.add_argument(
        "--photos", type=Path, metavar="PHOTOS", help="A folder of photos that larger images are cut from, too."
    )
    parser.add_argument("--network", choices=NETWORKS, default="report", help="The network to measure (%(default)s).")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="A file of weights, as `train` writes, instead of those shipped.",
    )
    add_views(parser)
    parser.add_argument("--results", type=Path, metavar="FILE", help="A JSON file to write the numbers to, too.")
    add_overwrite(parser)


def main(args):
    read = [args.val_data, args.weights or NETWORKS[args.network].PRETRAINED, *pictures_in(args.photos)]
    check_outputs([args.results], read, args.overwrite)
    noisy, clean = read_pair(args.val_data)
    model = seeing(trained(args.network, args.weights), args.views)
    photos = load_photos(args.photos) if args.photos else []
    rows = [("the file's own noise", noisy, clean), *((name, bad, clean) for name, bad in other_noise(clean))]
    results = evaluate(model, rows + list(from_photos(photos) if photos else []))
    if args.results:
        write_json(results, args.results)

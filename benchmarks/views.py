"""What the mean over a picture's symmetries costs and gives: `--views` of `noise2noise denoise` and `evaluate`.

    python -m benchmarks.views FILE FOLDER [--quick]

FILE is a validation file (noisy, clean), whose first images `unet` denoises; FOLDER has BSD300's test photos, of which
`photo` takes some with Gaussian noise of sigma = 25, and `camera` the same in grey. One pass each.

The result, benchmarks/results/views.json: for each network and each number of views PSNR in dB, the mean over images,
and seconds of the processor, on one thread: the shortest of several, in turn. Keep the machine quiet: five minutes.
"""

import argparse
import time
from pathlib import Path

import torch

from Proj_Miniproject2.others.api.weights import seeing, trained
from Proj_Miniproject2.others.formats.files import read_pair, write_json
from Proj_Miniproject2.others.formats.pictures import photo_paths
from Proj_Miniproject2.others.noise.kinds import gaussian_noise
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.photos import read_photo

from .speed import RESULTS, machine

VIEWS = 1, 2, 4, 8
IMAGES, PHOTOS, ROUNDS = 200, 4, 3
SIGMA = 25


def photos_of(folder, grey):
    """Pairs (noisy, clean), (1, 3, H, W), of some photos, in colours or with three equal channels."""
    paths, generator = photo_paths(folder), torch.Generator().manual_seed(0)
    for path in paths[:: max(1, len(paths) // PHOTOS)][:PHOTOS]:
        photo = read_photo(path)[None]
        clean = photo.float().mean(1, keepdim=True).round().byte() if grey else photo
        yield tuple(t.expand(-1, 3, -1, -1) for t in (gaussian_noise(clean, SIGMA, generator), clean))


def measure(network, pairs, rounds):
    """{views: {"PSNR", "seconds"}} of a network on pairs (noisy, clean)."""
    model, found = trained(network), {}
    for _ in range(rounds):
        for views in VIEWS:
            begin = time.thread_time()
            cleaned = [seeing(model, views).predict(noisy) for noisy, _ in pairs]
            seconds = time.thread_time() - begin
            scores = [psnr(ours, clean) for ours, (_, clean) in zip(cleaned, pairs, strict=True)]
            before = found.get(views, {"seconds": seconds})["seconds"]
            found[views] = {"PSNR": sum(scores) / len(scores), "seconds": min(seconds, before)}
    return found


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("val_data", type=Path, metavar="FILE")
    parser.add_argument("photos", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="a round of few and no results file: does it run?")
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    small = [tuple(images[: 4 if args.quick else IMAGES] for images in read_pair(args.val_data))]
    sources = {
        "unet": small,
        "photo": list(photos_of(args.photos, False)),
        "camera": list(photos_of(args.photos, True)),
    }
    results = {"machine": machine(), "views": {}}
    for network, pairs in sources.items():
        found = measure(network, pairs[:1] if args.quick else pairs, 1 if args.quick else ROUNDS)
        results["views"][network] = {str(views): scores for views, scores in found.items()}
        for views, scores in found.items():
            print(f"{network:8} {views} views {scores['PSNR']:6.3f} dB {scores['seconds']:7.2f} s", flush=True)
    if not args.quick:
        write_json(results, RESULTS / "views.json")


if __name__ == "__main__":
    main()

"""What each part of the mixture is worth on which `camera.pth` was trained.

    python -m benchmarks.noises PHOTOS CAMERA

From photo.pth a network is trained on PAIRS crops of photos of the folder PHOTOS, once on the whole mixture, see
`sources.correlated`, and once without each of its parts, whose place the others take. The result,
benchmarks/results/noises.json, for each of them: PSNR in dB in one pass, the mean over TAKEN of the photos set aside
for each kind of noise, and over the pairs of CAMERA, as in `benchmarks.photos`. It is shown beside, not chosen by.
One core, six minutes for each part.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.lab.experiment import start_from
from Proj_Miniproject2.others.lab.runs import RUNS
from Proj_Miniproject2.others.networks import CameraUNet, PhotoUNet
from Proj_Miniproject2.others.noise.kinds import coloured_noise, developed_noise, jpeg, to_uint8
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.photos import load_photos, split
from Proj_Miniproject2.others.pairs.sources import SHARES, correlated

from .photos import as_jpeg, camera_pairs, grey, impulses, lines
from .speed import RESULTS, machine

EPOCHS, PAIRS = 4, 8_000
TAKEN = 20
ASIDE = "soft", "impulses"  # parts of the mixture that are no kind of its own


def drawn(noise):
    """A kind of correlated noise of any root mean square, as a camera's file holds it, a JPEG."""

    def kind(photo, rms, generator):
        clean = photo[:, : photo.shape[1] // 2 * 2, : photo.shape[2] // 2 * 2]
        noisy = clean + noise(clean[None].float(), torch.full((1, 1, 1, 1), float(rms)), generator)[0]
        return jpeg(to_uint8(noisy), 92, 2), clean

    return kind


KINDS = {
    "JPEG 85": (as_jpeg(85), 25),
    "developed 5": (drawn(developed_noise), 5),
    "coloured 5": (drawn(coloured_noise), 5),
    "grey 15": (grey, 15),
    "grey 50": (grey, 50),
    "lines": (lines, 6),
    "impulses": (impulses, 0.02),
}


def trained(photos, run, without):
    torch.manual_seed(run.seed)
    model = CameraUNet()
    model.loss = run.loss()
    start_from(model, PhotoUNet.PRETRAINED)
    model.fit(correlated(photos, run, without), recipe=replace(run.recipe, exchange=False), seed=run.seed)
    return model


def shipped():
    model = PhotoUNet()
    model.load_pretrained_model()
    return model


def score(model, pairs):
    found = (model.predict(noisy[None].expand(-1, 3, -1, -1)).round() for noisy, _ in pairs)
    return statistics.mean(psnr(f, clean[None].expand_as(f)) for f, (_, clean) in zip(found, pairs, strict=True))


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("camera", type=Path, metavar="CAMERA")
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    run = RUNS["camera"]
    run = replace(run, recipe=replace(run.recipe, num_epochs=EPOCHS), pairs=PAIRS // EPOCHS)
    photos, held_out = split(load_photos(args.photos))
    pictures = {"camera": camera_pairs(args.camera)}
    for name, (kind, strength) in KINDS.items():
        draws = enumerate(held_out[:TAKEN])
        pictures[name] = [kind(photo, strength, torch.Generator().manual_seed(i)) for i, photo in draws]
    results = {"PSNR": {}}
    networks = {"photo.pth": shipped, "the mixture": lambda: trained(photos, run, None)}
    networks |= {f"without {part}": lambda part=part: trained(photos, run, part) for part in (*SHARES, *ASIDE)}
    for name, make in networks.items():
        model = make()
        model.VIEWS = 1
        row = results["PSNR"][name] = {kind: round(score(model, pairs), 2) for kind, pairs in pictures.items()}
        print(name, row, flush=True)
        write_json({"machine": machine(), **results}, RESULTS / "noises.json")


if __name__ == "__main__":
    main()

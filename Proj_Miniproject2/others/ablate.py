"""What each part of the recipe is worth: short trainings that differ in one thing, measured on photos set aside.

    python -m Proj_Miniproject2.others.ablate PHOTOS RESULTS [STUDY ...]

All see as many pairs. Every study writes RESULTS/STUDY.json, anew after each training; one that is there already goes
on from where it stopped. Without names, all studies are run. What several studies ask for is trained once.
"""

import argparse
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from ..model import DEFAULT, REPORT, Convolution, Model, initialize
from .photos import PairStream, load_photos
from .train import split, train_and_score, write_json

PAIRS = 10_000
SEEDS = (0, 1)
BASE = replace(DEFAULT, precision="bfloat16")
ADAM = replace(BASE, optimizer="adam", lr=4e-3)
SGD = replace(BASE, optimizer="sgd", lr=1.0, momentum=0.9)
PLAIN_SGD = replace(SGD, lr=5.0, momentum=0)

# study: variant: what differs from the base, as options of `train_and_score` (epochs: with as many pairs in
# all, so that each comes as often)
STUDIES = {
    "initialisation": {
        f"{name}, {init}": dict(init=init, recipe=recipe)
        for name, recipe in (("Muon", BASE), ("SGD", SGD))
        for init in ("torch", "xavier", "kaiming")
    },
    "optimiser": {
        "SGD as in the report": dict(recipe=replace(REPORT, precision="bfloat16")),
        "SGD with cosine and average": dict(recipe=PLAIN_SGD),
        "SGD with cosine, average and momentum": dict(recipe=SGD),
        "Adam": dict(recipe=ADAM),
        "Muon": dict(recipe=BASE),
    },
    "learning-rate": {
        f"{recipe.optimizer} {lr:g}": dict(recipe=replace(recipe, lr=lr))
        for recipe, rates in ((BASE, (0.01, 0.03, 0.1)), (SGD, (0.3, 1.0, 3.0)))
        for lr in rates
    },
    "momentum": {
        f"{recipe.optimizer} {recipe.momentum:g}": dict(recipe=recipe)
        for recipe in (
            *(replace(BASE, momentum=momentum) for momentum in (0, 0.95)),
            *(PLAIN_SGD, SGD, replace(SGD, lr=0.3, momentum=0.97)),
        )
    },
    "weight-decay": {
        f"{recipe.optimizer} {decay:g}": dict(recipe=replace(recipe, weight_decay=decay))
        for recipe, decays in ((BASE, (0, 0.1, 1.0)), (ADAM, (0, 0.03, 0.3)))
        for decay in decays
    },
    "batch-size": {f"{n}": dict(recipe=replace(BASE, batch_size=n)) for n in (16, 32, 64)},
    "schedule and average": {
        f"{schedule}, average {keep:g}": dict(recipe=replace(BASE, schedule=schedule, average=keep))
        for schedule in ("constant", "cosine")
        for keep in (0, 0.999)
    },
    "augmentation": {
        f"{data} pairs, {'with' if augment else 'without'}": dict(
            data=data, epochs=10, recipe=replace(BASE, augment=augment, exchange=augment)
        )
        for data in ("fixed", "fresh")
        for augment in (False, True)
    },
    "target": {
        target: dict(data=data, recipe=replace(BASE, exchange=False))
        for target, data in (("noisy", "fresh"), ("clean", "clean"))
    },
    "precision": {name: dict(recipe=replace(BASE, precision=name)) for name in ("float32", "bfloat16")},
}


def gradient_sizes(photos, seed):
    """Root mean square of every convolution's weight gradient, and of its input's, at the start of training.

    A dict init -> list of (layer, weight gradient, gradient of the layer's output), for one batch of pairs.
    """
    noisy1, noisy2 = PairStream(split(photos)[0]).draw(64, seed)
    sizes = {}
    for init in ("torch", "xavier", "kaiming"):
        torch.manual_seed(seed)
        model = Model()
        initialize(model.network, init)
        model.loss(model.network(noisy1.to(model.device) / 255), noisy2.to(model.device) / 255)
        grad, sizes[init] = model.loss.backward(), []
        for layer in reversed(model.network):
            output_grad, grad = grad, layer.backward(grad)
            if isinstance(layer, Convolution):
                rms = [float(t.square().mean().sqrt()) for t in (layer.param()[0].grad, output_grad)]
                sizes[init].insert(0, [repr(layer), *rms])
    return sizes


def run_study(score, name, folder, pairs):
    """Run what of the study is not yet in its file, by `score`, which takes the options of `train_and_score`."""
    path = folder / f"{name.replace(' ', '-')}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for variant, options in STUDIES[name].items():
        runs = results.setdefault(variant, [])
        options = {"recipe": BASE, "epochs": 1, "init": "xavier"} | options
        epochs = options.pop("epochs")
        options["recipe"] = replace(options["recipe"], num_epochs=epochs)
        for seed in SEEDS[len(runs) :]:
            try:
                runs.append(score(pairs=pairs // epochs, seed=seed, **options))
            except FloatingPointError as error:
                runs.append({"psnr": None, "seed": seed, "error": str(error)})
            write_json(results, path)
        print(f"{name}: {variant}: {[run['psnr'] for run in runs]} dB", flush=True)


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos, searched with its subfolders")
    parser.add_argument("results", type=Path, help="folder for the results, made if absent")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="that a training sees (%(default)s)")
    args = parser.parse_args(args)
    unknown = set(args.studies) - set(STUDIES)
    if unknown:
        parser.error(f"unknown studies {', '.join(unknown)}: known are {', '.join(STUDIES)}")
    try:
        photos = load_photos(args.photos)
        args.results.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if not args.studies or "initialisation" in args.studies:
        write_json(gradient_sizes(photos, SEEDS[0]), args.results / "gradients.json")
    score = cache(lambda **options: train_and_score(photos, **options)[1])
    for name in args.studies or STUDIES:
        run_study(score, name, args.results, args.pairs)


if __name__ == "__main__":
    main()

"""What each part of the recipe is worth: studies, each of short trainings that differ in one thing.

The command `ablate` carries them out.
"""

import json
from dataclasses import replace

import torch

from ...model import MSE, Convolution, Model
from ..formats.files import write_json
from ..pairs.photos import PairStream, split
from ..pairs.sources import clean, fixed
from ..training.initialisations import INITIALISATIONS
from ..training.optimizers import Muon, adam, sgd
from ..training.recipe import DEFAULT, constant, cosine
from .runs import DEEP, REPORT, RUNS, Run

PAIRS = 10_000
SEEDS = (0, 1)
BASE = Run(replace(DEFAULT, num_epochs=1, lr=0.03, weight_decay=0), pairs=PAIRS)  # the default when they were made
SHORT = replace(RUNS["short"], pairs=PAIRS)
ADAM = dict(optimizer=adam, lr=4e-3, momentum=0.9)
SGD = dict(optimizer=sgd, lr=1.0, momentum=0.9)
PLAIN_SGD = dict(optimizer=sgd, lr=5.0, momentum=0)


def variant(run=BASE, **changes):
    """The run with some fields of its recipe changed"""
    return replace(run, recipe=replace(run.recipe, **changes))


STUDIES = {
    "initialisation": {
        f"{name}, {init}": replace(run, init=INITIALISATIONS[init])
        for name, run in (("Muon", BASE), ("SGD", variant(**SGD)))
        for init in INITIALISATIONS
    },
    "optimiser": {
        "SGD as in the report": replace(BASE, recipe=replace(REPORT, num_epochs=1, precision="auto")),
        "SGD with cosine and average": variant(**PLAIN_SGD),
        "SGD with cosine, average and momentum": variant(**SGD),
        "Adam": variant(**ADAM),
        "Muon": BASE,
    },
    "learning-rate": {
        **{f"muon {lr:g}": variant(lr=lr) for lr in (0.01, 0.03, 0.1)},
        **{f"sgd {lr:g}": variant(**SGD | dict(lr=lr)) for lr in (0.3, 1.0, 3.0)},
    },
    "momentum": {
        **{f"muon {momentum:g}": variant(momentum=momentum) for momentum in (0, 0.95)},
        "sgd 0": variant(**PLAIN_SGD),
        "sgd 0.9": variant(**SGD),
        "sgd 0.97": variant(**SGD | dict(lr=0.3, momentum=0.97)),
    },
    "weight-decay": {
        **{f"muon {decay:g}": variant(weight_decay=decay) for decay in (0, 0.1, 1.0)},
        **{f"adam {decay:g}": variant(**ADAM, weight_decay=decay) for decay in (0, 0.03, 0.3)},
    },
    "batch-size": {f"{n}": variant(batch_size=n) for n in (16, 32, 64)},
    "schedule-and-average": {
        f"{schedule.__name__}, average {keep:g}": variant(schedule=schedule, average=keep)
        for schedule in (constant, cosine)
        for keep in (0, 0.999)
    },
    # of ten epochs, so that a fixed pair comes back
    "augmentation": {
        f"{name} pairs, {'with' if augment else 'without'}": replace(
            variant(run, augment=augment, exchange=augment, num_epochs=10), pairs=PAIRS // 10
        )
        for name, run in (("fixed", replace(BASE, source=fixed)), ("fresh", BASE))
        for augment in (False, True)
    },
    "target": {
        "noisy": variant(exchange=False),
        "mean of 8 noisy": replace(variant(exchange=False), targets=8),
        "clean": replace(variant(exchange=False), source=clean),
    },
    "network": {
        label: replace(BASE, recipe=replace(DEEP, num_epochs=1), network=network)
        for label, network in {
            "U-Net of 48, 96, 192 channels": "unet-narrow",
            "without skips": "unet-plain",
            "without the global residual": "unet-direct",
            "concatenating": "unet-concatenating",
            "two scales: 48, 96": "unet-shallow",
            "32, 64, 128 channels": "unet-very-narrow",
            "64, 128, 256 channels": "unet",
            "ResNet": "resnet",
        }.items()
    }
    | {"the report's": variant(weight_decay=0.1)},
    "short": {
        "as `train --run short`": SHORT,
        "all batches of one size": variant(SHORT, small_batches=0),
        "rows of any length": variant(SHORT, optimizer=Muon),
        "mean squared error": replace(SHORT, loss=MSE),
        "cosine": variant(SHORT, schedule=cosine),
    },
    "precision": {name: variant(precision=name) for name in ("float32", "bfloat16")},
}


def gradient_sizes(photos, seed):
    """Root mean square of every convolution's weight gradient, and of its output's, at the start of training.

    A dict init -> list of (layer, weight gradient, gradient of the layer's output), for one batch of pairs.
    """
    noisy1, noisy2 = PairStream(split(photos)[0]).draw(64, seed)
    sizes = {}
    for name, initialise in INITIALISATIONS.items():
        torch.manual_seed(seed)
        model = Model()
        initialise(model.network)
        model.loss(model.network(noisy1.to(model.device) / 255), noisy2.to(model.device) / 255)
        grad, sizes[name] = model.loss.backward(), []
        for layer in reversed(model.network):
            output_grad, grad = grad, layer.backward(grad)
            if isinstance(layer, Convolution):
                rms = [float(t.square().mean().sqrt()) for t in (layer.param()[0].grad, output_grad)]
                sizes[name].insert(0, [repr(layer), *rms])
    return sizes


def run_study(score, name, folder):
    """Run what of the study is not yet in its file, by `score`, which takes a Run and gives a dict for JSON."""
    path = folder / f"{name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for label, run in STUDIES[name].items():
        runs = results.setdefault(label, [])
        for seed in SEEDS[len(runs) :]:
            runs.append(score(replace(run, seed=seed)))
            write_json(results, path)
        print(f"{name}: {label}: {[run['psnr'] for run in runs]} dB", flush=True)

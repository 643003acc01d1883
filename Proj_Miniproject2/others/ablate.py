"""What each part of the recipe is worth: small trainings that differ in one thing, measured on photos set aside.

    python -m Proj_Miniproject2.others.ablate PHOTOS [STUDY ...]

All train on as many pairs, drawn anew, with every seed; results go to one JSON file a study.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..model import DEFAULT, REPORT, Convolution, Model, initialize
from .photos import PairStream, load_photos
from .train import split, train_and_score, write_json

SGD = dict(optimizer="sgd", lr=1.0, momentum=0.9)
# name: (options of train_and_score that differ, with "recipe" for fields of the recipe)
STUDIES = {
    "initialisation": {init: dict(init=init) for init in ("torch", "xavier", "kaiming")},
    "initialisation-sgd": {init: dict(init=init, recipe=SGD) for init in ("torch", "xavier", "kaiming")},
    "optimiser": {
        "SGD as the report": dict(recipe=dict(optimizer="sgd", lr=0.5, momentum=0, schedule="steps", warmup=0, average=0)),
        "SGD": dict(recipe=SGD | dict(momentum=0, lr=5.0)),
        "SGD with momentum": dict(recipe=SGD),
        "Adam": {},
    },
    "learning-rate": {f"Adam {lr:g}": dict(recipe=dict(lr=lr)) for lr in (5e-4, 1e-3, 2e-3, 4e-3)},
    "learning-rate-sgd": {f"SGD {lr:g}": dict(recipe=SGD | dict(lr=lr)) for lr in (0.1, 0.3, 1.0, 3.0)},
    "momentum": {f"{m:g}": dict(recipe=SGD | dict(momentum=m, lr=10 * (1 - m))) for m in (0, 0.5, 0.9, 0.97)},
    "batch-size": {f"{n}": dict(recipe=dict(batch_size=n)) for n in (8, 16, 32, 64, 128)},
    "schedule": {name: dict(recipe=dict(schedule=name)) for name in ("constant", "steps", "cosine")},
    "average": {f"{keep:g}": dict(recipe=dict(average=keep)) for keep in (0, 0.99, 0.999)},
    "average-constant-rate": {
        f"{keep:g}": dict(recipe=dict(average=keep, schedule="constant")) for keep in (0, 0.99, 0.999)
    },
    "augmentation": {
        "without, fixed pairs": dict(data="fixed", pairs_and_epochs=4, recipe=dict(augment=False)),
        "with, fixed pairs": dict(data="fixed", pairs_and_epochs=4, recipe=dict(augment=True)),
        "with, fresh pairs": dict(recipe=dict(augment=True)),
    },
    "target": {"noisy (Noise2Noise)": {}, "clean": dict(data="clean")},
    "precision": {name: dict(recipe=dict(precision=name)) for name in ("float32", "bfloat16")},
}

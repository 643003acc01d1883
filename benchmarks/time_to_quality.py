"""Seconds of training until the report's network and a U-Net are good: ours beside torch.nn, on fresh pairs.

    python -m benchmarks.time_to_quality PHOTOS VAL_DATA [--learning-rates LR ...] [--quick | --retime]

Every training starts from the same weights and sees the same pairs, augmented alike. Several times on its way, and in
the end, the weights that a user would take, the running average where there is one, are measured on VAL_DATA. Its
seconds are its pairs times what one takes in its steps, which is measured first, for all methods in turn: so a machine
that is now faster, now slower, is the same for all. Schedules depend on the length, so each length is a training of its
own. AdamW's learning rate is the one that is best on photos set aside, at the first length; it has a cosine, or all of
our short trainings but the optimiser: their loss, schedule and small first batches, which torch's Muon has, too. Ours
multiplies in bfloat16 where that is faster, so torch's Muon is also there with autocast. The result,
benchmarks/results/time-to-quality-UNITS.json, is named as `benchmarks.speed` names its own. Keep the machine quiet for
the first four minutes; the trainings take some forty more on two cores. After a change that makes steps faster, and
nothing else, --retime measures the seconds alone, and takes the trainings from the result.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.formats.files import read_json, read_pair, write_json
from Proj_Miniproject2.others.lab.experiment import VALIDATION_PAIRS, VALIDATION_SEED
from Proj_Miniproject2.others.lab.runs import DEEP, REPORT, RUNS, Run
from Proj_Miniproject2.others.lab.studies import ADAM
from Proj_Miniproject2.others.networks import NarrowUNet
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.photos import PairStream, load_photos, split
from Proj_Miniproject2.others.pairs.sources import fresh
from Proj_Miniproject2.others.training.by_recipe import augment
from Proj_Miniproject2.others.training.losses import RelativeMSE
from Proj_Miniproject2.others.training.recipe import DEFAULT

from .speed import RESULTS, Torchs, in_turn, machine

GOALS = ("24.5", "25.0", "25.17")  # dB; the last is the best from-scratch network of the class
PIECE = 5_000  # pairs from one measuring to the next, about
TIMED, ROUNDS = 640, 5  # pairs of a method in its turn


def ours(kind, run):
    model = kind()
    model.loss = run.loss()
    return model


def train_ours(kind, run, pieces, draw, measure):
    """Train a model of some kind with `Model.fit`; returns the function that denoises."""
    model, seen, recipe = ours(kind, run), 0, run.recipe
    shadow = kind()  # which holds the running average, to measure it

    def pairs(epoch):
        nonlocal seen
        if epoch:
            for ours, theirs in zip(shadow.network.param(), model.optimizer.params, strict=True):
                ours.copy_(theirs.state["average"] if recipe.average else theirs.value)
            measure(seen, shadow.predict)
        inputs, targets = draw(epoch)
        seen += len(inputs)
        return inputs, targets

    model.fit(pairs, pieces, recipe=recipe)
    measure(seen, model.predict)
    return model.predict


def relative_mse(prediction, target):
    """`RelativeMSE`"""
    return ((prediction - target).square().reshape(len(target), -1).mean(1) + (15 / 255) ** 2).log().mean()


class TorchTraining(Torchs):
    """A model in torch.nn, channels last, with autograd, and a run's loss, schedule and average as `Model.fit`."""

    def __init__(self, model, optimizers, run, num_epochs=1, autocast=False):
        super().__init__(model, torch.channels_last, autocast)
        self.recipe, self.steps = replace(run.recipe, num_epochs=num_epochs), 0
        self.loss = {m.MSE: torch.nn.functional.mse_loss, RelativeMSE: relative_mse}[run.loss]
        self.optimizers = [make(self.network) for make in optimizers]
        self.peaks = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.values = list(self.network.parameters())
        self.average = [value.detach().clone() for value in self.values]

    def train(self, pairs, epoch, rng):
        """A pass over pairs (inputs, targets)."""
        batches = torch.randperm(len(pairs[0]), generator=rng).split(self.recipe.batch_size)
        for step, index in self.recipe.halved(batches, epoch):
            at = (epoch + (step + 0.5) / len(batches)) / self.recipe.num_epochs
            for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * self.recipe.lr_at(at) / self.recipe.lr
            batch = augment(*(images[index].float() / 255 for images in pairs), self)
            self.step(*(batch if self.random() < 0.5 else batch[::-1]))

    def random(self):
        return float(torch.rand(()))  # in place of Python's generator, which `augment` takes

    def step(self, inputs, targets):
        self.network.zero_grad()
        self.backward(inputs, targets)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for value in group["params"]:
                    if value.grad is None:  # a matrix that is a view of a weight
                        value.grad = as_matrix(value.weight.grad)
            optimizer.step()
            optimizer.zero_grad()
        self.steps += 1
        keep = min(self.recipe.average, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.average, [value.detach() for value in self.values], 1 - keep)

    def predict_average(self, images):
        now = [value.detach().clone() for value in self.values]
        with torch.no_grad():
            torch._foreach_copy_(self.values, self.average)
            output = self.predict(images)
            torch._foreach_copy_(self.values, now)
        return output


def as_matrix(weight):
    """A weight with channels last as a matrix of len(weight) rows: a view."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def adamw(lr):
    return [lambda network: torch.optim.AdamW(network.parameters(), lr, weight_decay=0)]


def muon(lr, weight_decay=DEFAULT.weight_decay):
    """torch's Muon takes matrices only: views of the weights. AdamW has the biases."""

    def of_matrices(network):
        matrices = []
        for weight in (value for value in network.parameters() if value.dim() == 4):
            matrices.append(torch.nn.Parameter(as_matrix(weight.detach())))
            matrices[-1].weight = weight
        return torch.optim.Muon(matrices, lr, weight_decay=weight_decay)

    def of_biases(network):
        return torch.optim.AdamW([value for value in network.parameters() if value.dim() == 1], 3e-3, weight_decay=0)

    return [of_matrices, of_biases]


def train_torch(kind, optimizers, autocast, run, pieces, draw, measure):
    """Train `torch.nn` by what else is in a run; returns the function that denoises."""
    training, seen = TorchTraining(kind(), optimizers, run, pieces, autocast), 0
    rng = torch.Generator().manual_seed(0)
    for epoch in range(pieces):
        pairs = draw(epoch)
        training.train(pairs, epoch, rng)
        seen += len(pairs[0])
        measure(seen, training.predict_average)
    return training.predict_average


SHORT, UNET = RUNS["short"], Run(DEEP)
SHORT_LENGTHS = 14_500, 26_500
# name: (the model, the run, lengths in pairs)
OURS = {
    "ours, the report's recipe": (m.Model, Run(REPORT), (30_000,)),
    "ours, Adam": (m.Model, Run(replace(DEFAULT, **ADAM, weight_decay=0)), (60_000,)),
    "ours, Muon": (m.Model, SHORT, SHORT_LENGTHS),
    "ours, U-Net, Muon": (NarrowUNet, UNET, (10_000,)),
}
# name: (the model, optimisers for a learning rate, with autocast to bfloat16 or without, the run, lengths in pairs).
# TUNED ones don't have the recipe's learning rate, but all of the command line's, and from then on the best of them.
TUNED = "torch.nn, AdamW", "torch.nn, AdamW, as short"
TORCH = {
    "torch.nn, AdamW": (m.Model, adamw, False, Run(), (60_000, 120_000)),
    "torch.nn, AdamW, as short": (m.Model, adamw, False, SHORT, (90_000,)),
    "torch.nn, Muon": (m.Model, muon, False, SHORT, SHORT_LENGTHS),
    "torch.nn, Muon, bfloat16": (m.Model, muon, True, SHORT, SHORT_LENGTHS),
    "torch.nn, U-Net, AdamW": (NarrowUNet, adamw, False, Run(replace(DEEP, lr=1e-3)), (20_000,)),
    "torch.nn, U-Net, Muon": (NarrowUNet, muon, False, UNET, (10_000,)),
    "torch.nn, U-Net, Muon, bfloat16": (NarrowUNet, muon, True, UNET, (10_000,)),
}


def trainings(learning_rates, found):
    """(name, learning rate, pairs, function) of all trainings; the function takes how many pieces to train, how to draw
    one, and the curve. What they gave so far is `found`."""
    for name, (kind, run, lengths) in OURS.items():
        for pairs in lengths:
            yield name, run.recipe.lr, pairs, partial(train_ours, kind, run)
    for name, (kind, optimizers, autocast, run, lengths) in TORCH.items():
        for pairs in lengths:
            for lr in learning_rates if name in TUNED else [run.recipe.lr]:
                yield name, lr, pairs, partial(train_torch, kind, optimizers(lr), autocast, run)
            if name in TUNED:
                learning_rates = [best_rate(found[name])[0]["lr"]]


def seconds_per_pair(pairs, rounds):
    """What a pair takes in every method's training: a dict."""
    versions, rng = {}, torch.Generator().manual_seed(0)
    for name, (kind, run, _) in OURS.items():
        versions[name] = partial(ours(kind, run).fit, lambda epoch: pairs, 1, recipe=run.recipe)
    for name, (kind, optimizers, autocast, run, _) in TORCH.items():
        training = TorchTraining(kind(), optimizers(1e-3), run, autocast=autocast)
        versions[name] = partial(training.train, pairs, 0, rng)
    return {name: seconds / len(pairs[0]) for name, seconds in in_turn(versions, rounds).items()}


def seconds_to(goal, runs):
    """When the first of the trainings' curves gets there; None if none does."""
    return min((point["seconds"] for run in runs for point in run["curve"] if point["psnr"] >= goal), default=None)


def best_rate(runs):
    """Of trainings with several learning rates, those whose rate is best on photos set aside, at the first length."""
    first = runs[0]["pairs"]
    best = max((run for run in runs if run["pairs"] == first), key=lambda run: run["held_out_psnr"])
    return [run for run in runs if run["lr"] == best["lr"]]


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("val_data", type=Path)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[3e-3], help="of AdamW (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few steps of each, no results file: does it run?")
    parser.add_argument("--retime", action="store_true", help="the seconds alone anew, for the trainings of the result")
    args = parser.parse_args(args)
    path = RESULTS / f"time-to-quality-{machine()['units']}.json"
    noisy, clean = (images[: 20 if args.quick else None] for images in read_pair(args.val_data))
    photos, held_out = split(load_photos(args.photos))
    set_aside, _, truth = PairStream(held_out).draw_with_clean(20 if args.quick else VALIDATION_PAIRS, VALIDATION_SEED)

    def draws_of(pairs):
        return fresh(photos, Run(pairs=64 if args.quick else pairs))

    per_pair = seconds_per_pair(draws_of(TIMED)(0), 1 if args.quick else ROUNDS)
    found = read_json(path)["trainings"] if args.retime else {}
    for name, runs in found.items():
        for point in (point for run in runs for point in run["curve"]):
            point["seconds"] = round(point["pairs"] * per_pair[name], 2)
    for name, lr, pairs, train in [] if args.retime else trainings(args.learning_rates, found):
        torch.manual_seed(0)
        pieces, curve = 2 if args.quick else round(pairs / PIECE), []

        def measure(seen, predict, name=name, curve=curve):
            score = round(psnr(predict(noisy), clean), 3)
            curve.append({"pairs": seen, "seconds": round(seen * per_pair[name], 2), "psnr": score})

        predict = train(pieces, draws_of(pairs // pieces), measure)
        score = round(psnr(predict(set_aside), truth), 3)
        run = {"pairs": curve[-1]["pairs"], "lr": lr, "held_out_psnr": score, "curve": curve}
        found.setdefault(name, []).append(run)
        print(f"{name}, lr {lr:g}:", curve[-1], flush=True)
    results = {
        "machine": machine(),
        "seconds per pair": per_pair,
        "trainings": found,
        "seconds to": {
            n: {goal: seconds_to(float(goal), best_rate(runs)) for goal in GOALS} for n, runs in found.items()
        },
    }
    print(results["seconds to"])
    if not args.quick:
        write_json(results, path)


if __name__ == "__main__":
    main()

"""How `Model.train` trains, in numbers and functions: `Recipe`, its schedules, and the two that the package goes by."""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from ...model import check_int
from ..fast.machine import fastest_dtype
from .optimizers import Muon

# Schedules, by which the learning rate is multiplied after the part `progress` of the training


def cosine(progress):
    """From 1 down to 0, for `progress` from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def steps(progress):
    """A fifth after a quarter of the training, as the report"""
    return 1 if progress < 0.25 else 0.2


def linear(progress):
    """From 1 down to 0, as fast in the beginning as in the end"""
    return 1 - progress


def constant(progress):
    return 1


def described(what):
    """The fields of a dataclass, functions by their names: a dict of what JSON and checkpoints can hold."""
    values = {field.name: getattr(what, field.name) for field in fields(what)}
    return {name: getattr(v, "__name__", repr(v)).lower() if callable(v) else v for name, v in values.items()}


@dataclass(frozen=True)
class Recipe:
    """How `Model.train` trains. Raises TypeError or ValueError for values out of range."""

    num_epochs: int = 8
    batch_size: int = 32
    small_batches: float = 0  # the part of the training, from its beginning on, in which batches are half as large
    optimizer: Callable = Muon  # takes the parameters, lr, weight_decay and momentum, and makes an optimiser of them
    lr: float = 0.02  # the learning rate at its highest
    momentum: float = 0.95  # of the optimiser, in [0, 1)
    schedule: Callable = cosine  # by what lr is multiplied, a function of the part of the training that is done
    warmup: float = 0.02  # the part of the training in which the learning rate rises from 0
    weight_decay: float = 0.1  # of the optimiser; this one, like lr, is Muon's
    # How much of the running average of the weights, which the model keeps, stays from step to step (less in the
    # beginning); 0 for no average.
    average: float = 0.999
    augment: bool = True  # flip and transpose the pairs at random, both images alike
    exchange: bool = True  # swap input and target at random, where both are noisy
    # Of the matrix products and the maps around them in convolutions of many channels (weights, sums of gradients and
    # all else stay float32): "float32", "bfloat16", or "auto" for what this machine multiplies faster.
    precision: str = "auto"

    def __post_init__(self):
        for field in fields(self):
            # Numbers become Python's own (numpy has others), which every checkpoint can hold.
            value, kind = getattr(self, field.name), field.type
            wanted = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
            is_bool = type(value).__name__ in ("bool", "bool_")
            if not (is_bool if kind is bool else isinstance(value, wanted) and not is_bool):
                raise TypeError(f"{field.name} must be of type {kind.__name__}, got {value!r}")
            object.__setattr__(self, field.name, value if kind is Callable else kind(value))
        for name in ("num_epochs", "batch_size"):
            check_int(name, getattr(self, name))
        # So that the products of the two stay below float32's largest number.
        if not 0 < self.lr <= 1e30:
            raise ValueError(f"lr must be positive and at most 1e30, got {self.lr}")
        if not 0 <= self.weight_decay <= 1e6:
            raise ValueError(f"weight_decay must lie in [0, 1e6], got {self.weight_decay}")
        for name in ("momentum", "warmup", "average", "small_batches"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise ValueError(f"precision must be 'float32', 'bfloat16' or 'auto', got {self.precision!r}")

    def make_optimizer(self, params):
        return self.optimizer(params, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum)

    def halved(self, batches, epoch):
        """(number, batch) of an epoch's batches; while batches are small, two halves with the number of the whole."""
        for number, batch in enumerate(batches):
            small = (epoch + number / len(batches)) / self.num_epochs < self.small_batches
            yield from ((number, part) for part in batch.chunk(2 if small else 1))

    def lr_at(self, progress):
        """The learning rate after the part `progress`, in (0, 1), of the training."""
        return self.lr * (min(1, progress / self.warmup) if self.warmup else 1) * self.schedule(progress)

    def dtype(self, device):
        """The dtype of the products on a device."""
        if self.precision == "auto":
            return fastest_dtype(device)
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


DEFAULT = Recipe()
# For weights that are good already: steps so small that they do no harm.
FINETUNE = replace(DEFAULT, num_epochs=1, lr=1e-3, weight_decay=0)

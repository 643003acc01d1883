"""What each kind of maps of others/fast brings: the time without it by that with all of them.

    python -m benchmarks.kinds [--quick]

A training step or a prediction of the networks, in float32 and in bfloat16, and the geometric mean over the layers of
`benchmarks.layers`; in one process and in turn. What a kind did falls to the one that is chosen where it doesn't fit.
The result, benchmarks/results/kinds-UNITS.json, is named by the processor's vector units. Keep the machine quiet: three
minutes.
"""

import argparse
import contextlib
import math

import torch

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.fast import convolution
from Proj_Miniproject2.others.fast.maps import Patches
from Proj_Miniproject2.others.formats.files import write_json

from .layers import LAYERS, Layer
from .speed import LARGER, RESULTS, Ours, in_turn, machine

ROUNDS = 5
# kind: what takes its place in convolution.py
KINDS = {
    "MinimalFiltering": {"MANY_CHANNELS": math.inf, "MANY_TO_ROUND": math.inf},
    "Rows": {"Rows": Patches},
    "Turned": {"Turned": lambda kind, *arguments: kind(*arguments)},
    "Shifts": {"Shifts": Patches},
}
# network, whether it is trained, shape of the batch
NETWORKS = {"the report's, training": (m.Model, True, (64, 3, 32, 32))}
NETWORKS |= {name: larger[:3] for name, larger in LARGER.items()}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@contextlib.contextmanager
def without(kind):
    before = {name: getattr(convolution, name) for name in KINDS[kind]}
    try:
        for name, value in KINDS[kind].items():
            setattr(convolution, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(convolution, name, value)


def measure(step, rounds):
    """{kind: the time without it by that with all}"""

    def step_without(kind):
        with without(kind):
            step()

    seconds = in_turn({"all": step} | {kind: lambda k=kind: step_without(k) for kind in KINDS}, rounds)
    return {kind: seconds[kind] / seconds["all"] for kind in KINDS}


def step_of(make, trains, shape, precision):
    torch.manual_seed(0)
    ours = Ours(make(), precision)
    if trains:
        inputs, targets = torch.rand(2, *shape)
        return lambda: ours.step(inputs, targets)
    images = torch.randint(256, shape, dtype=torch.uint8)
    return lambda: ours.predict(images)


def layers(rounded, rounds):
    """`measure` of all layers: geometric means."""
    found = [measure(Layer(spec, True, torch.channels_last, rounded).step, rounds) for spec in LAYERS.values()]
    return {kind: math.prod(ratios[kind] for ratios in found) ** (1 / len(found)) for kind in KINDS}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each and no results file: does it run?")
    args = parser.parse_args(args)
    rounds, results = 1 if args.quick else ROUNDS, {"machine": machine(), "time without by time with": {}}
    for precision, dtype in PRECISIONS.items():
        rows = {name: measure(step_of(*what, dtype), rounds) for name, what in NETWORKS.items()}
        rows["single layers"] = layers(dtype is not None, rounds)
        for name, ratios in rows.items():
            results["time without by time with"][f"{name}, {precision}"] = ratios
            print(f"{name}, {precision}:", {kind: round(ratio, 2) for kind, ratio in ratios.items()}, flush=True)
    if not args.quick:
        write_json(results, RESULTS / f"kinds-{results['machine']['units']}.json")


if __name__ == "__main__":
    main()

"""Speed of single layers beside torch.nn's, forward and backward, measured in one process and in turn.

    python -m benchmarks.layers [--quick] [NAME ...]

The result, benchmarks/results/layers-UNITS.json, is named by the processor's vector units: for each layer the seconds
of ours and of torch.nn in both memory formats, and the better of torch's over ours; the same in bfloat16, beside
autocast. Each is first checked to compute the same. Keep the machine quiet: two minutes.
"""

import argparse
import math

import torch
from torch import nn

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.fast.machine import fast_products
from Proj_Miniproject2.others.formats.files import write_json

from .speed import RESULTS, in_turn, machine

BATCH, ROUNDS = 32, 15
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.03}  # of the norm of a tensor

# name: (transposed, in_channels, out_channels, kernel_size, options, side of the input)
LAYERS = {
    "report: 3 → 64, 4 × 4, stride 2": (False, 3, 64, 4, {"stride": 2, "padding": 2}, 32),
    "report: 64 → 256, 4 × 4, stride 2": (False, 64, 256, 4, {"stride": 2, "padding": 2}, 17),
    "report: up 256 → 128, 5 × 5, stride 2": (True, 256, 128, 5, {"stride": 2, "padding": 2}, 9),
    "report: up 128 → 3, 4 × 4, stride 2": (True, 128, 3, 4, {"stride": 2, "padding": 2}, 17),
    "3 → 48, 3 × 3, 32²": (False, 3, 48, 3, {"padding": 1}, 32),
    "48 → 48, 3 × 3, 32²": (False, 48, 48, 3, {"padding": 1}, 32),
    "64 → 64, 3 × 3, 32²": (False, 64, 64, 3, {"padding": 1}, 32),
    "96 → 96, 3 × 3, 16²": (False, 96, 96, 3, {"padding": 1}, 16),
    "128 → 128, 3 × 3, 16²": (False, 128, 128, 3, {"padding": 1}, 16),
    "192 → 192, 3 × 3, 8²": (False, 192, 192, 3, {"padding": 1}, 8),
    "256 → 256, 3 × 3, 8²": (False, 256, 256, 3, {"padding": 1}, 8),
    "48 → 3, 3 × 3, 32²": (False, 48, 3, 3, {"padding": 1}, 32),
    "up 48 → 3, 3 × 3, 32²": (True, 48, 3, 3, {"padding": 1}, 32),
    "48 → 96, 2 × 2, stride 2": (False, 48, 96, 2, {"stride": 2}, 32),
    "up 96 → 48, 2 × 2, stride 2": (True, 96, 48, 2, {"stride": 2}, 16),
    "64 → 128, 3 × 3, stride 2": (False, 64, 128, 3, {"stride": 2, "padding": 1}, 32),
    "64 → 64, 1 × 1": (False, 64, 64, 1, {}, 32),
    "256 → 64, 1 × 1, 16²": (False, 256, 64, 1, {}, 16),
    "64 → 64, 3 × 3, depthwise": (False, 64, 64, 3, {"padding": 1, "groups": 64}, 32),
    "64 → 64, 3 × 3, 4 groups": (False, 64, 64, 3, {"padding": 1, "groups": 4}, 32),
    "64 → 64, 3 × 3, dilation 2": (False, 64, 64, 3, {"padding": 2, "dilation": 2}, 32),
    "32 → 32, 5 × 5": (False, 32, 32, 5, {"padding": 2}, 32),
    "16 → 16, 3 × 3, 64²": (False, 16, 16, 3, {"padding": 1}, 64),
    "64 → 32, 3 × 3, 32²": (False, 64, 32, 3, {"padding": 1}, 32),
}


class Layer:
    """One layer, a batch of inputs and a batch of gradients: `step()` is a forward and a backward pass."""

    def __init__(self, spec, ours, memory_format=torch.contiguous_format, rounded=False):
        transposed, c, o, size, options, side = spec
        names = ("TransposeConv2d", "ConvTranspose2d") if transposed else ("Conv2d", "Conv2d")
        draws = torch.Generator().manual_seed(0)
        reference = getattr(nn, names[1])(c, o, size, **options)
        state = {k: torch.randn(v.shape, generator=draws) for k, v in reference.state_dict().items()}
        reference.load_state_dict(state)
        self.layer = getattr(m, names[0])(c, o, size, **options) if ours else reference.to(memory_format=memory_format)
        self.ours, self.rounded = ours, rounded
        self.layer.load_state_dict(state)
        if ours and rounded:
            self.layer.precision = torch.bfloat16
        self.input = torch.randn(BATCH, c, side, side, generator=draws).to(memory_format=memory_format)
        with torch.no_grad():
            shape = reference(self.input).shape
        self.grad = torch.randn(shape, generator=draws).to(memory_format=memory_format)
        self.input.requires_grad_(not ours)

    def step(self):
        """Returns the output, the input's gradient and the weight's."""
        if self.ours:
            for _, grad in self.layer.param():
                grad.zero_()
            with fast_products(torch.device("cpu")):
                output = self.layer(self.input)
                return output, self.layer.backward(self.grad), self.layer.param()[0][1]
        self.layer.zero_grad()
        self.input.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.rounded):
            output = self.layer(self.input).float()
        output.backward(self.grad)
        return output.detach(), self.input.grad, self.layer.weight.grad


def measure(spec, rounds):
    versions = {
        "ours": Layer(spec, True, torch.channels_last),  # as it comes from our other layers
        "torch.nn": Layer(spec, False),
        "torch.nn, channels_last": Layer(spec, False, torch.channels_last),
        "ours, bfloat16": Layer(spec, True, torch.channels_last, True),
        "autocast": Layer(spec, False, torch.contiguous_format, True),
        "autocast, channels_last": Layer(spec, False, torch.channels_last, True),
    }
    reference = versions["torch.nn"].step()
    for name, dtype in (("ours", "float32"), ("ours, bfloat16", "bfloat16")):
        for ours, right in zip(versions[name].step(), reference, strict=True):
            error = ((ours - right).norm() / right.norm()).item()
            if not error <= TOLERANCE[dtype]:
                raise RuntimeError(f"{name} is off by {error:.1e} of its size")
    seconds = in_turn({name: version.step for name, version in versions.items()}, rounds)
    better, rounded = (min(seconds[name], seconds[f"{name}, channels_last"]) for name in ("torch.nn", "autocast"))
    ratios = {"ratio": better / seconds["ours"], "bfloat16 ratio": rounded / seconds["ours, bfloat16"]}
    return {"seconds": seconds} | ratios


def geometric_mean(found, ratio):
    return math.exp(sum(math.log(layer[ratio]) for layer in found.values()) / len(found))


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="layers whose names hold this, without results file")
    parser.add_argument("--quick", action="store_true", help="one round of each and no results file: does it run?")
    args = parser.parse_args(args)
    found = {}
    for name, spec in LAYERS.items():
        if not args.names or any(word in name for word in args.names):
            found[name] = measure(spec, 1 if args.quick else ROUNDS)
            print(f"{name:40} {found[name]['ratio']:.2f} {found[name]['bfloat16 ratio']:.2f}", flush=True)
    means = {f"geometric mean{of}": geometric_mean(found, f"{of[2:]} ratio".strip()) for of in ("", ", bfloat16")}
    print(f"{'geometric mean':40}", *(f"{mean:.2f}" for mean in means.values()))
    if not (args.quick or args.names):
        results = {"machine": machine(), "batch": BATCH, "layers": found} | means
        write_json(results, RESULTS / f"layers-{results['machine']['units']}.json")


if __name__ == "__main__":
    main()

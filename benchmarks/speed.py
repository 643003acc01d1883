"""Speed of the networks beside torch.nn, measured in one process and in turn.

    python -m benchmarks.speed [--quick]

Training steps (forward, loss, backward, SGD with momentum) and prediction, in several versions. All versions are first
checked to compute the same. The report's network with as many threads as torch takes, the U-Nets with one and two, in
one view and one tile. The result, benchmarks/results/speed-UNITS.json, is named by the processor's vector units,
since machines with other units are not comparable. Keep the machine quiet: about ten minutes.
"""

import argparse
import contextlib
import platform
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.api.exporting import to_onnx, to_torch
from Proj_Miniproject2.others.fast.convolution import rounding, setting
from Proj_Miniproject2.others.fast.machine import fast_products
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.networks import PhotoUNet, UNet

RESULTS = Path(__file__).with_name("results")
BATCHES = {4: 60, 16: 40, 64: 20, 256: 6}  # batch size: rounds
IMAGES = {"1000 x 32 x 32": ((1000, 3, 32, 32), 6), "1 x 512 x 512": ((1, 3, 512, 512), 12)}
# network, whether it is trained, shape of the batch: rounds
LARGER = {
    "photo U-Net": (PhotoUNet, False, (1, 3, 512, 512), 9),
    "photo U-Net, training": (PhotoUNet, True, (8, 3, 96, 96), 9),
    "U-Net": (UNet, False, (32, 3, 32, 32), 12),
    "U-Net, training": (UNet, True, (32, 3, 32, 32), 7),
}
THREADS = 1, 2
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.08}  # of the norm of a tensor


def machine():
    """What a number from this machine depends on: a dict for JSON."""
    name, flags = platform.processor() or platform.machine(), set()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() == "flags":
                flags = {flag for flag in value.split() if flag.startswith(("avx", "amx"))}
    units = {"amx": "amx_bf16", "avx512": "avx512f", "avx2": "avx2"}  # the best first
    return {
        "processor": name,
        "units": next((name for name, flag in units.items() if flag in flags), "other"),
        "flags": sorted(flags),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def wait():
    """Until a GPU, where there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turn(functions, rounds):
    """Seconds of each of several functions: the median over `rounds`, in each of which all have their turn."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            wait()
            begin = time.perf_counter()
            function()
            wait()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


@contextlib.contextmanager
def textbook():
    """The fast convolution taken away."""
    before = m.Convolution.faster
    m.Convolution.faster = lambda *arguments: None
    try:
        yield
    finally:
        m.Convolution.faster = before


class Ours:
    """A copy of a model, in the settings in which `train` and `predict` use it."""

    def __init__(self, model, precision=None, fast=True, device="cpu"):
        self.model, self.precision, self.fast = type(model)(), precision, fast
        self.model.device = torch.device(device)
        self.model.network.to(device).load_state_dict(model.network.state_dict())
        self.model.PRECISION, self.model.VIEWS = "float32", 1  # where it predicts in another one, `predict` says so
        self.optimizer = m.SGD(self.model.network.param(), lr=1e-4, momentum=0.9)

    def step(self, inputs, targets):
        """One training step; returns the gradients."""
        network, loss = self.model.network, self.model.loss
        with contextlib.nullcontext() if self.fast else textbook():
            with fast_products(self.model.device), setting(network, precision=self.precision):
                self.optimizer.zero_grad()
                loss(network(inputs), targets)
                network.backward(loss.backward())
                self.optimizer.step()
        return [grad for _, grad in network.param()]

    def predict(self, images):
        in_bfloat16 = rounding(self.model.network) if self.precision else contextlib.nullcontext()
        with contextlib.nullcontext() if self.fast else textbook(), in_bfloat16:
            return self.model.predict(images)


class Torchs:
    """The model's network in torch.nn, with autograd."""

    def __init__(self, model, memory_format=torch.contiguous_format, autocast=False, device="cpu"):
        self.network = to_torch(model.network).to(device, memory_format=memory_format)
        self.memory_format, self.autocast = memory_format, torch.autocast(device, torch.bfloat16, enabled=autocast)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-4, momentum=0.9)
        self.loss = nn.functional.mse_loss

    def backward(self, inputs, targets):
        """Write the loss's gradients."""
        with self.autocast:
            loss = self.loss(self.network(inputs.to(memory_format=self.memory_format)).float(), targets)
        loss.backward()

    def step(self, inputs, targets):
        self.optimizer.zero_grad()
        self.backward(inputs, targets)
        self.optimizer.step()
        return [parameter.grad for parameter in self.network.parameters()]

    def predict(self, images):
        with torch.inference_mode(), self.autocast:
            parts = [
                self.network(part.to(memory_format=self.memory_format).float() / 255) * 255 for part in images.split(64)
            ]
        return torch.cat(parts).float().clamp_(0, 255)


class OnnxRuntime:
    """The file that `noise2noise export` makes of a model, as ONNX Runtime predicts with it. Takes "onnxruntime"."""

    def __init__(self, model):
        import onnxruntime

        model.VIEWS, options = 1, onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(to_onnx(model), options, providers=["CPUExecutionProvider"])

    def predict(self, images):
        return torch.from_numpy(self.session.run(None, {"noisy": images.float().numpy()})[0])


# Each takes a model, and a device if not the CPU; the names stand in the results files.
VERSIONS = {
    "ours": Ours,
    "ours, textbook": partial(Ours, fast=False),
    "ours, bfloat16": partial(Ours, precision=torch.bfloat16),
    "torch.nn": Torchs,
    "torch.nn, channels_last": partial(Torchs, memory_format=torch.channels_last),
    "torch.nn, autocast to bfloat16": partial(Torchs, autocast=True),
    "torch.nn, channels_last, autocast to bfloat16": partial(Torchs, memory_format=torch.channels_last, autocast=True),
}


def check_equal(found, what):
    """RuntimeError unless all versions found what torch.nn did, to a tolerance: the median over the tensors. What comes
    to a ReLU near 0 may fall on either side of it, which changes gradients here and there, torch's own from one memory
    format to the other, by up to 1e-3."""
    for name, tensors in found.items():
        tolerance = TOLERANCE["bfloat16" if "bfloat16" in name else "float32"]
        pairs = zip(tensors, found["torch.nn"], strict=True)
        error = statistics.median(((ours - right).norm() / right.norm()).item() for ours, right in pairs)
        if not error <= tolerance:
            raise RuntimeError(f"{what}: {name} is off by {error:.1e} of its size")


def training(versions, shape, rounds):
    inputs, targets = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    check_equal({name: version.step(inputs, targets) for name, version in versions.items()}, f"training, {shape}")
    return in_turn({name: lambda v=version: v.step(inputs, targets) for name, version in versions.items()}, rounds)


def prediction(versions, shape, rounds):
    images = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    check_equal({name: [version.predict(images)] for name, version in versions.items()}, f"prediction, {shape}")
    return in_turn({name: lambda v=version: v.predict(images) for name, version in versions.items()}, rounds)


def larger(make, trains, shape, rounds):
    """As above, for a larger network, without the textbook's version, by the number of threads."""
    torch.manual_seed(0)
    model, found, threads = make(), {}, torch.get_num_threads()
    try:
        for number in THREADS:
            torch.set_num_threads(number)
            versions = {name: make(model) for name, make in VERSIONS.items() if "textbook" not in name}
            if not trains:
                versions["ONNX Runtime"] = OnnxRuntime(model)
            seconds = (training if trains else prediction)(versions, shape, rounds)
            found[str(number)] = {"seconds": seconds, "ratios": ratios(seconds)}
    finally:
        torch.set_num_threads(threads)
    return found


def ratios(seconds):
    """torch.nn's time, in its better memory format, over ours."""
    best, rounded = (
        min((s for name, s in seconds.items() if "torch" in name and ("autocast" in name) == autocast), default=None)
        for autocast in (False, True)
    )
    pairs = {
        "ours": (best, "ours"),
        "textbook": (best, "ours, textbook"),
        "bfloat16 (autocast / ours)": (rounded, "ours, bfloat16"),
        "ONNX Runtime / ours": (seconds.get("ONNX Runtime"), "ours"),
        "ONNX Runtime / ours in bfloat16": (seconds.get("ONNX Runtime"), "ours, bfloat16"),
    }
    return {name: theirs / seconds[ours] for name, (theirs, ours) in pairs.items() if theirs and ours in seconds}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each and no results file: does it run?")
    args = parser.parse_args(args)
    torch.manual_seed(0)
    model = m.Model()
    results = {"machine": machine(), "training": {}, "prediction": {}, "larger": {}}
    for batch, rounds in BATCHES.items():
        if args.quick and batch > 16:
            continue
        versions = {name: make(model) for name, make in VERSIONS.items()}
        seconds = training(versions, (batch, 3, 32, 32), 1 if args.quick else rounds)
        results["training"][str(batch)] = {"seconds": seconds, "ratios": ratios(seconds)}
        print(f"training, batch {batch}:", {name: round(r, 2) for name, r in ratios(seconds).items()}, flush=True)
    for name, (shape, rounds) in IMAGES.items():
        if args.quick and shape[0] > 1:
            continue
        versions = {name: make(model) for name, make in VERSIONS.items() if "bfloat16" not in name}
        seconds = prediction(versions, shape, 1 if args.quick else rounds)
        results["prediction"][name] = {"seconds": seconds, "ratios": ratios(seconds)}
        print(f"prediction, {name}:", {name: round(r, 2) for name, r in ratios(seconds).items()}, flush=True)
    for name, (make, trains, shape, rounds) in LARGER.items():
        label = f"{name}, {' x '.join(map(str, shape))}"
        results["larger"][label] = larger(make, trains, shape, 1 if args.quick else rounds)
        for threads, found in results["larger"][label].items():
            shown = {name: round(ratio, 2) for name, ratio in found["ratios"].items()}
            print(f"{label}, {threads} threads:", shown, flush=True)
    if not args.quick:
        write_json(results, RESULTS / f"speed-{results['machine']['units']}.json")


if __name__ == "__main__":
    main()

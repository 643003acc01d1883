"""How fast the report's network trains and denoises, against torch.nn and the textbook's unfold and fold.

    python -m benchmarks.speed [--quick] [--threads N] [--out FILE]

First it checks that all versions give the same outputs and gradients, else it ends with an error. Then it
measures them in one process and in turn (ours, the others, ours, the others, ...), so that what disturbs the
machine disturbs all alike. A ratio is the median over the rounds of (their time / our time) within a round,
with its quartiles. Peak memory is measured in a process of its own for every version (on Linux). Prints
tables, writes JSON. Takes about five minutes on two cores.

The versions:
    ours, ours bf16        Model().network; with bfloat16 matrix products
    torch, FORMAT          torch.nn, autograd and torch.optim.SGD, contiguous or channels_last
    autocast, FORMAT       the same under bfloat16 autocast
    textbook               unfold, batched matrix product, fold, with a backward pass written by hand
"""

import argparse
import contextlib
import ctypes
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from Proj_Miniproject2.model import DEFAULT, MSE, REPORT, SGD, Model, fast_products
from Proj_Miniproject2.others.train import write_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
CLEAR_REFS = Path("/proc/self/clear_refs")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
LR, MOMENTUM = 1e-3, 0.9
TURN = 0.1  # seconds: faster calls are repeated within their turn, so that cold caches count for little


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long."""

    batches: tuple = (4, 16, 64, 256)
    images: int = 1000  # of 32 x 32, for predict
    side: int = 512  # of the one larger image
    huge: int = 4096  # and of the one whose peak memory is bounded; 0 for none
    memory_batch: int = 64
    products: tuple = ((1024,) * 3, (2048,) * 3, (3072,) * 3, (5184, 1024, 256), (5184, 256, 3200))
    imports: int = 5
    pairs: int = 2000  # for the real training loop
    fits: int = 3
    seconds: float = 20  # for each table
    rounds: int = 5  # at least


QUICK = Sizes(
    batches=(4, 16), images=200, side=64, huge=0, memory_batch=16, products=((512,) * 3,),
    imports=2, pairs=200, fits=1, seconds=1, rounds=2,
)  # fmt: skip

# -----------------------------------------------------------------------------------------------------------
# The versions. Each has backward(x, target), which is zero_grad, forward, MSE and backward, and gives the
# output; an optimizer; grads(); predict(images); and settings(), the context in which a training step runs.


def reference():
    """The report's network in torch.nn, with the same weights every time.

    The biases keep every ReLU far from 0, half of the channels open and half closed. Else rounding alone
    would open some and close others, and gradients would differ by more than the precision of the products.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 64, 4, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(64, 256, 4, stride=2, padding=2),
            nn.ReLU(),
            nn.ConvTranspose2d(256, 128, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 3, 4, stride=2, padding=2),
            nn.Sigmoid(),
        )
    with torch.no_grad():
        for layer in network[::2]:
            layer.weight.mul_(0.4)
            layer.bias[::2], layer.bias[1::2] = 1, -1
        network[6].bias.zero_()
    return network


class Ours:
    def __init__(self, device, precision=None):
        self.device = device
        self.model = Model()
        self.model.device = device
        self.network = self.model.network.to(device)
        self.network.load_state_dict(reference().state_dict())
        for layer in self.model.convolutions():
            layer.precision = precision
        self.network[0].input_grad = False  # as Model.fit does
        self.loss = MSE()
        self.optimizer = SGD(self.network.param(), LR, MOMENTUM)

    def settings(self):
        return fast_products(self.device)

    def backward(self, x, target):
        self.optimizer.zero_grad()
        output = self.network(x)
        self.loss(output, target)
        self.network.backward(self.loss.backward())
        return output

    def grads(self):
        return [grad for _, grad in self.network.param()]

    def predict(self, images):
        return self.model.predict(images)


class Torch:
    def __init__(self, device, memory_format, autocast=False):
        self.device, self.memory_format, self.autocast = device, memory_format, autocast
        self.network = reference().to(device, memory_format=memory_format)
        self.optimizer = torch.optim.SGD(self.network.parameters(), LR, MOMENTUM)

    def settings(self):
        return contextlib.nullcontext()

    def cast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def backward(self, x, target):
        self.optimizer.zero_grad()
        with self.cast():
            output = self.network(x)
            loss = F.mse_loss(output, target)
        loss.backward()
        return output.detach()

    def grads(self):
        return [p.grad for p in self.network.parameters()]

    def predict(self, images, batch=None):
        """The whole batch at once, or `batch` images at a time."""
        with torch.inference_mode(), self.cast():
            if batch is not None:
                return torch.cat([self.predict(piece) for piece in images.split(batch)])
            x = (images.float() / 255).contiguous(memory_format=self.memory_format)
            return self.network(x).float() * 255


class Textbook:
    """The convolutions as the course's submissions write them: each image's columns times the weight."""

    GEOMETRY = {"stride": 2, "padding": 2}

    def __init__(self, device):
        self.params = [p.detach().to(device) for p in reference().parameters()]
        self.optimizer = torch.optim.SGD(self.params, LR, MOMENTUM)

    def settings(self):
        return contextlib.nullcontext()

    def convolve(self, x, weight, bias):
        columns = F.unfold(x, weight.shape[2:], **self.GEOMETRY)  # (N, C K K, H' W')
        y = weight.flatten(1) @ columns + bias[:, None]
        return y.unflatten(2, [n // 2 + 1 for n in x.shape[2:]]), columns  # kernels are 4 x 4

    def transpose(self, x, weight, bias):
        size = [2 * n - 6 + k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
        columns = weight.flatten(1).t() @ x.flatten(2)  # (N, O K K, H W)
        return F.fold(columns, size, weight.shape[2:], **self.GEOMETRY) + bias[:, None, None]

    def forward(self, x):
        w1, b1, w2, b2, w3, b3, w4, b4 = self.params
        x1, columns1 = self.convolve(x, w1, b1)
        x1 = x1.relu()
        x2, columns2 = self.convolve(x1, w2, b2)
        x2 = x2.relu()
        x3 = self.transpose(x2, w3, b3).relu()
        self.saved = columns1, x1, columns2, x2, x3
        return self.transpose(x3, w4, b4).sigmoid()

    def convolve_backward(self, grad, columns, i):
        grad = grad.flatten(2)
        weight_grad = (grad @ columns.mT).sum(0).view_as(self.params[i])
        self.params[i].grad, self.params[i + 1].grad = weight_grad, grad.sum((0, 2))
        return self.params[i].flatten(1).t() @ grad  # the gradient of the columns

    def transpose_backward(self, grad, x, i):
        columns = F.unfold(grad, self.params[i].shape[2:], **self.GEOMETRY)
        weight_grad = (x.flatten(2) @ columns.mT).sum(0).view_as(self.params[i])
        self.params[i].grad, self.params[i + 1].grad = weight_grad, grad.sum((0, 2, 3))
        return (self.params[i].flatten(1) @ columns).view_as(x)

    def backward(self, x, target):
        self.optimizer.zero_grad()
        output = self.forward(x)
        columns1, x1, columns2, x2, x3 = self.saved
        grad = (output - target) * (2 / output.numel()) * output * (1 - output)
        grad = self.transpose_backward(grad, x3, 6) * (x3 > 0)
        grad = self.transpose_backward(grad, x2, 4) * (x2 > 0)
        grad = self.convolve_backward(grad, columns2, 2)
        grad = F.fold(grad, x1.shape[2:], self.params[2].shape[2:], **self.GEOMETRY) * (x1 > 0)
        weight_grad = (grad.flatten(2) @ columns1.mT).sum(0)  # as all versions: no gradient of the images
        self.params[0].grad, self.params[1].grad = weight_grad.view_as(self.params[0]), grad.sum((0, 2, 3))
        return output

    def grads(self):
        return [p.grad for p in self.params]

    def predict(self, images, batch=100):
        return torch.cat([self.forward(piece.float() / 255) * 255 for piece in images.split(batch)])


def make(name, device):
    """The version of that name, freshly made."""
    kind, _, memory_format = name.partition(", ")
    if kind in ("ours", "ours bf16"):
        return Ours(device, torch.bfloat16 if kind.endswith("bf16") else None)
    if kind == "textbook":
        return Textbook(device)
    return Torch(device, FORMATS[memory_format], autocast=kind == "autocast")


def is_bf16(name):
    return name.startswith(("ours bf16", "autocast"))


THEIRS = [f"{kind}, {memory_format}" for kind in ("torch", "autocast") for memory_format in FORMATS]
VERSIONS = ["ours", "ours bf16", *THEIRS, "textbook"]

# -----------------------------------------------------------------------------------------------------------
# What they do


def random_images(n, side, device):
    generator = torch.Generator().manual_seed(n)
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator).to(device)


def random_pair(n, name, device):
    """A batch and its target, in the memory format that the version wants."""
    memory_format = FORMATS.get(name.partition(", ")[2], torch.contiguous_format)
    images = random_images(2 * n, 32, device).float() / 255
    return [t.contiguous(memory_format=memory_format) for t in images.split(n)]


def train(version, x, target, steps):
    with version.settings():
        for _ in range(steps):
            version.backward(x, target)
            version.optimizer.step()


def predictions(n):
    """The versions, and for n images the ways to cut them, by name: functions of (version, images)."""
    ways = {}
    for name in VERSIONS:
        ways[name] = lambda version, images: version.predict(images)
        if name in THEIRS and n > 100:
            ways[f"{name}, by 100"] = lambda version, images: version.predict(images, 100)
    return ways


def check(device, sizes, tolerance):
    """The largest difference of each version from torch.nn, relative to the largest value.

    SystemExit if it is more than `tolerance`, or than 5e-2 with bfloat16.
    """
    differences = {}

    def compare(name, what, found, expected):
        worst = [(a.float() - b).abs().max() / b.abs().max() for a, b in zip(found, expected, strict=True)]
        worst = float(torch.stack(worst).max())  # NaN if one is
        differences.setdefault(name, {}).setdefault(what, 0)
        differences[name][what] = max(differences[name][what], worst)
        if not worst <= (5e-2 if is_bf16(name) else tolerance):  # also where it is NaN
            sys.exit(f"{name} differs from torch.nn in its {what} by {worst:.1e} of the largest value")

    versions = {name: make(name, device) for name in VERSIONS}
    torch_nn = versions["torch, contiguous"]
    for n in (3, 16):  # few and many pixels: ours chooses another algorithm
        expected = torch_nn.backward(*random_pair(n, "torch, contiguous", device))
        expected_grads = [grad.clone() for grad in torch_nn.grads()]
        for name, version in versions.items():
            with version.settings():
                output = version.backward(*random_pair(n, name, device))
            compare(name, "outputs", [output], [expected])
            compare(name, "gradients", version.grads(), expected_grads)
    for n, side in ((min(sizes.images, 200), 32), (1, sizes.side)):
        images = random_images(n, side, device)
        expected = torch_nn.predict(images)
        for name, version in versions.items():
            compare(name, "predictions", [version.predict(images)], [expected])
    return differences


def direct_flops(side):
    """Floating-point operations for one image, with the direct algorithm: (forward, training step).

    A training step takes three times the forward pass, less the gradient of the images, which nobody needs.
    """
    half = side // 2 + 1
    quarter = half // 2 + 1
    # For every pixel of the output of a convolution, and of the input of its adjoint.
    macs = [4 * 4 * 3 * 64 * half**2, 4 * 4 * 64 * 256 * quarter**2]
    macs += [5 * 5 * 256 * 128 * quarter**2, 4 * 4 * 128 * 3 * half**2]
    return 2 * sum(macs), 2 * (3 * sum(macs) - macs[0])


# -----------------------------------------------------------------------------------------------------------
# Measuring


def summary(values):
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "quartiles": [low, high]}


def alternate(functions, device, sizes):
    """Call `functions` (by name, each takes how often to repeat) in turn, for some seconds.

    Returns the seconds of one call, by name, for every round.
    """

    def timed(function, repeats):
        start = time.perf_counter()
        function(repeats)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / repeats

    repeats = {}
    for name, function in functions.items():
        timed(function, 1)
        repeats[name] = max(1, round(TURN / timed(function, 1)))
    rounds, start = [], time.perf_counter()
    while len(rounds) < sizes.rounds or time.perf_counter() - start < sizes.seconds:
        rounds.append({name: timed(function, repeats[name]) for name, function in functions.items()})
    return rounds


def table(rounds, images, flops, best_product):
    """From the seconds of every round: for each version its speed, and how many times faster ours are."""
    rows = {}
    for name in rounds[0]:
        seconds = summary([r[name] for r in rounds])
        rows[name] = {
            "seconds": seconds,
            "images_per_second": images / seconds["median"],
            "gflops": flops * images / seconds["median"] / 1e9,
            "share_of_best_product": flops * images / seconds["median"] / 1e9 / best_product,
            "ours_faster": summary([r[name] / r["ours"] for r in rounds]),
            "ours_bf16_faster": summary([r[name] / r["ours bf16"] for r in rounds]),
        }
    kinds = {}
    for name in rows:
        kinds.setdefault(name.partition(",")[0], []).append(name)
    best = {k: min(names, key=lambda name: rows[name]["seconds"]["median"]) for k, names in kinds.items()}
    return {"rounds": len(rounds), "best": best, "versions": rows}


def show(title, result):
    print(f"\n{title} ({result['rounds']} rounds; * the best of its kind)")
    heads = ("ms", "images/s", "GFLOP/s", "share", "ours faster", "ours bf16 faster")
    widths = (9, 10, 9, 7, 20, 20)
    print(" " * 35 + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for name, row in result["versions"].items():
        ratios = [row["ours_faster"], row["ours_bf16_faster"]]
        cells = [f"{r['median']:.2f} ({r['quartiles'][0]:.2f}-{r['quartiles'][1]:.2f})" for r in ratios]
        star = " *" if name in result["best"].values() else ""
        print(
            f"{name + star:35}{1e3 * row['seconds']['median']:9.1f}"
            f"{row['images_per_second']:10.0f}{row['gflops']:9.0f}{row['share_of_best_product']:7.0%}"
            f"{cells[0]:>20}{cells[1]:>20}",
            flush=True,
        )


def products(device, sizes):
    """GFLOP/s of matrix products, by precision and size (rows, inner, columns), and the best of them."""

    def multiply(a, b, precision):
        def run(repeats):
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision(precision)
            for _ in range(repeats):
                a @ b
            torch.set_float32_matmul_precision(before)

        return run

    found = {}
    for m, k, n in sizes.products:
        a, b = (torch.rand(shape, device=device) for shape in ((m, k), (k, n)))
        kinds = {f"float32 {p}": multiply(a, b, p) for p in ("highest", "medium")}
        kinds["bfloat16"] = multiply(a.bfloat16(), b.bfloat16(), "highest")
        rounds = alternate(kinds, device, replace(sizes, seconds=sizes.seconds / 10))
        for kind in kinds:
            seconds = statistics.median(r[kind] for r in rounds)
            found.setdefault(kind, {})[f"{m}x{k}x{n}"] = 2e-9 * m * k * n / seconds
    best = {kind: max(speeds.values()) for kind, speeds in found.items()}
    with fast_products(device):  # "medium" counts only where it is float32 in truth
        exact = device.type == "cuda" or torch.get_float32_matmul_precision() == "medium"
    best_float32 = max(best["float32 highest"], best["float32 medium"] if exact else 0)
    return {"gflops": found, "best": best, "best_float32": best_float32}


def speed(device, sizes):
    """All tables of one device."""
    result = {"differences": check(device, sizes, 5e-3 if device.type == "cuda" else 1e-5)}  # tf32 has 10 bits
    print(f"\n{device}: all versions agree. Largest difference from torch.nn, relative to the largest value:")
    for name, found in result["differences"].items():
        print(f"{name:35}" + ", ".join(f"{what} {value:.0e}" for what, value in found.items()))

    result["products"] = products(device, sizes)
    best_product = result["products"]["best_float32"]
    found = ", ".join(f"{kind} {value:.0f}" for kind, value in result["products"]["best"].items())
    print(f"\nthe best matrix products, GFLOP/s: {found}")
    print("Below, GFLOP/s are those of the direct algorithm, and the share is that of the best float32 product.")
    print("Ours may exceed 100 %: minimal filtering makes fewer multiplications.")

    result["training"], result["predict"] = {}, {}
    for n in sizes.batches:
        functions = {}
        for name in VERSIONS:
            version, pair = make(name, device), random_pair(n, name, device)
            functions[name] = lambda repeats, version=version, pair=pair: train(version, *pair, repeats)
        rounds = alternate(functions, device, sizes)
        result["training"][n] = table(rounds, n, direct_flops(32)[1], best_product)
        show(f"{device}: training step, batch {n}", result["training"][n])
    for n, side in ((sizes.images, 32), (1, sizes.side)):
        images, functions = random_images(n, side, device), {}
        for name, predict in predictions(n).items():
            version = make(name.removesuffix(", by 100"), device)

            def run(repeats, predict=predict, version=version, images=images):
                for _ in range(repeats):
                    predict(version, images)

            functions[name] = run
        rounds = alternate(functions, device, sizes)
        what = f"{n} x {side} x {side}"
        result["predict"][what] = table(rounds, n, direct_flops(side)[0], best_product)
        show(f"{device}: predict, {what}", result["predict"][what])
    return result


def status_kib(field):
    """A field of Linux's /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])


def peak_memory(what, sizes):
    """Peak memory, in MiB above that before, of "TASK: VERSION" in this process; and its seconds.

    Before the measured calls there is one with a tiny image, for the code that is loaded only then, and for
    what a version holds all the time (weights, gradients, velocities).
    """
    task, _, name = what.partition(": ")
    device = torch.device("cpu")
    version = make(name.removesuffix(", by 100"), device)
    if task == "train":
        pair = random_pair(sizes.memory_batch, name, device)
        train(version, *random_pair(1, name, device), 1)

        def run():
            train(version, *pair, 4)

    else:
        tasks = {"batch": (sizes.images, 32, 3), "image": (1, sizes.side, 3), "huge": (1, sizes.huge, 1)}
        n, side, calls = tasks[task]
        images = random_images(n, side, device).float()
        predict = predictions(n)[name]
        predict(version, images[:1, :, :32, :32].contiguous())

        def run():
            for _ in range(calls):
                predict(version, images)

    ctypes.CDLL(None).malloc_trim(0)  # what is free already must not be filled unseen
    CLEAR_REFS.write_text("5")  # sets the peak, VmHWM, to what is in use now
    before, start = status_kib("VmRSS"), time.perf_counter()
    run()
    return {"peak_mib": (status_kib("VmHWM") - before) / 1024, "seconds": time.perf_counter() - start}


def child(*arguments):
    """Run Python on the arguments, in a process of its own, and read the JSON that it prints."""
    command = [sys.executable, *arguments]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(output)


def memory(sizes, options):
    """Peak memory in MiB, by task and version, each in a process of its own; nothing where there is no /proc."""
    if not CLEAR_REFS.exists():
        return {}
    result = {"train": {}, "batch": {}, "image": {}}
    titles = {
        "train": f"training steps, batch {sizes.memory_batch}",
        "batch": f"predict, {sizes.images} x 32 x 32",
        "image": f"predict, 1 x {sizes.side} x {sizes.side}",
    }
    for task, title in titles.items():
        names = list(predictions(sizes.images if task == "batch" else 1)) if task != "train" else VERSIONS
        if task != "train":
            names = [name for name in names if name == "ours" or name.startswith("torch")]
        print(f"\npeak memory, MiB above that before: {title}")
        for name in names:
            peak = child("-m", "benchmarks.speed", "--memory", f"{task}: {name}", *options)["peak_mib"]
            print(f"{name:35}{peak:9.1f}", flush=True)
            result[task][name] = peak
    if sizes.huge:
        result["huge"] = child("-m", "benchmarks.speed", "--memory", "huge: ours", *options)
        print(f"\nours, predict, 1 x {sizes.huge} x {sizes.huge}, output included but not the image itself:")
        print(f"{result['huge']['peak_mib']:.0f} MiB, in {result['huge']['seconds']:.0f} s", flush=True)
    return result


IMPORT = """
import time, torch
start = time.perf_counter()
import Proj_Miniproject2.model
print(time.perf_counter() - start)
"""


def import_seconds(sizes):
    """What `import Proj_Miniproject2.model` costs after `import torch`."""
    return statistics.median(child("-c", IMPORT) for _ in range(sizes.imports))


def recipe(device, sizes):
    """Images a second of `Model.fit`, and the minutes of whole recipes on 50,000 pairs."""
    pairs = random_images(2 * sizes.pairs, 32, torch.device("cpu")).split(sizes.pairs)
    recipes = {
        "the report's recipe, float32": REPORT,
        "the report's recipe, bfloat16": replace(REPORT, precision="bfloat16"),
        "the default recipe": DEFAULT,
    }
    speeds = {name: [] for name in recipes}
    for _ in range(sizes.fits):
        for name, found in speeds.items():
            model = Model()
            model.device = device
            model.network.to(device)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                model.fit(lambda epoch: pairs, 1, recipe=recipes[name])
            found.append(sizes.pairs / (time.perf_counter() - start))
    result = {}
    for name, found in speeds.items():
        images_per_second = statistics.median(found)
        minutes = recipes[name].num_epochs * 50_000 / images_per_second / 60
        result[name] = {"images_per_second": images_per_second, "minutes": minutes}
    return result


def goals(results):
    """The project's goals: (what, measured, "at least" or "at most", goal)."""
    cpu, found = results["cpu"], []

    def faster(what, result, ours, kind, goal):
        ratio = result["versions"][result["best"][kind]][ours]["median"]
        found.append((what, ratio, "at least", goal))

    for n, result in cpu["training"].items():
        least = 1.3 if n in (16, 64) else 1.0
        faster(f"training, batch {n}: torch / ours", result, "ours_faster", "torch", least)
        faster(f"training, batch {n}: autocast / ours bf16", result, "ours_bf16_faster", "autocast", 2.0)
    for what, result in cpu["predict"].items():
        faster(f"predict, {what}: torch / ours", result, "ours_faster", "torch", 1.3)
    for task, peaks in results["memory"].items():
        if task == "huge":
            found.append(("peak memory, huge image, MiB", peaks["peak_mib"], "at most", 1024))
            continue
        least = min(value for name, value in peaks.items() if name.startswith("torch"))
        found.append((f"peak memory, {task}: ours / least of torch", peaks["ours"] / least, "at most", 1.0))
    for name, result in results["recipe"].items():
        found.append((f"{name}, minutes", result["minutes"], "at most", 45))
    found.append(("import, milliseconds", 1e3 * results["import_seconds"], "at most", 50))
    return found


def processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute or two: to see that it runs")
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads; default: torch's choice")
    default = f"the JSON; default: {RESULTS.relative_to(ROOT)}, with --quick none"
    parser.add_argument("--out", type=Path, metavar="FILE", help=default)
    parser.add_argument("--memory", metavar="WHAT", help="only the peak memory of one thing, as 'train: ours'")
    args = parser.parse_args(argv)
    if args.threads is not None and args.threads < 1:
        parser.error(f"--threads must be at least 1, got {args.threads}")
    if args.threads:
        torch.set_num_threads(args.threads)
    sizes = QUICK if args.quick else Sizes()
    if args.memory:
        task, _, name = args.memory.partition(": ")
        if task not in ("train", "batch", "image", "huge") or name not in predictions(sizes.images):
            parser.error(f"--memory must be 'TASK: VERSION', train, batch, image or huge, got {args.memory!r}")
        print(json.dumps(peak_memory(args.memory, sizes)))
        return
    if torch.get_float32_matmul_precision() != "highest":
        sys.exit("torch's float32_matmul_precision is not its default, 'highest'")

    start, out = time.perf_counter(), args.out or (None if args.quick else RESULTS)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": platform.platform(),
    }
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    results = {"machine": machine, "sizes": asdict(sizes), "cpu": speed(torch.device("cpu"), sizes)}
    options = ["--threads", str(machine["threads"]), *(["--quick"] if args.quick else [])]
    results["memory"] = memory(sizes, options)
    results["recipe"] = recipe(torch.device("cpu"), sizes)
    results["import_seconds"] = import_seconds(sizes)
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
        torch.set_float32_matmul_precision("high")  # float32 is tf32 there, for all versions
        results["cuda"] = speed(torch.device("cuda"), sizes)
        torch.set_float32_matmul_precision("highest")
    results["goals"] = goals(results)
    print("\ngoals")
    for what, value, sense, goal in results["goals"]:
        met = value >= goal if sense == "at least" else value <= goal
        print(f"{what:55}{value:9.2f}  {sense} {goal:g}{'' if met else '  NOT MET'}")
    results["seconds"] = time.perf_counter() - start
    print(f"\nthis took {results['seconds'] / 60:.1f} minutes")
    if out:
        write_json(results, out)
        print(f"written to {out}")


if __name__ == "__main__":
    main()

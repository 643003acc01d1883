"""The package on a GPU: `benchmarks/gpu.sh` runs it, and the grader after it.

Raises RuntimeError at the first thing that is wrong. Without a GPU all runs on the CPU, but for the ratios.
"""

import tempfile
import time
from pathlib import Path

import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.fast.machine import fast_products, fastest_dtype
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.networks import NETWORKS, PhotoUNet
from Proj_Miniproject2.others.pairs.scenes import builtin_data

from .layers import LAYERS
from .speed import RESULTS, VERSIONS, in_turn, machine
from .speed import ratios as speed_ratios

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}  # of the largest value
ROUNDS = 20
# network, shape of the batch that is trained or predicted
TIMED = {
    "the report's network, a training step": (m.Model, True, (64, 3, 32, 32)),
    "the report's network, prediction": (m.Model, False, (1, 3, 512, 512)),
    "photo U-Net, a training step": (PhotoUNet, True, (8, 3, 96, 96)),
    "photo U-Net, prediction": (PhotoUNet, False, (1, 3, 512, 512)),
}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(right, what):
    if not right:
        raise RuntimeError(f"{what} is wrong on {DEVICE}")


def passes(network, x, grad):
    """Output, the input's gradient and the parameters' of a module of ours, or of torch.nn."""
    if isinstance(network, m.Module):
        with fast_products(DEVICE):
            return [network(x), network.backward(grad), *(grad for _, grad in network.param())]
    x = x.requires_grad_()
    output = network(x)
    output.backward(grad)
    return [output.detach(), x.grad, *(p.grad for p in network.parameters())]


def blocks():
    """Every block, and each layer of `benchmarks.layers`, beside torch.nn on the CPU in float64."""
    found = {
        "the simple blocks": (m.Sequential(m.ReLU(), m.NearestUpsampling(2), m.Sigmoid()), 3, 9),
        "skips": (m.Sequential(m.Skip(m.Conv2d(4, 4, 1), m.ReLU()), m.Skip(m.Conv2d(4, 2, 1), cat=True)), 4, 9),
    }
    for name, (transposed, c, o, size, options, side) in LAYERS.items():
        found[name] = ((m.TransposeConv2d if transposed else m.Conv2d)(c, o, size, **options), c, side)
    for name, (block, channels, side) in found.items():
        x = normal(4, channels, side, side)
        reference = to_torch(block).double()
        grad = normal(*reference(x).shape, seed=1)
        expected = passes(reference, x.clone(), grad)
        for dtype, tolerance in TOLERANCE.items():
            block.to(DEVICE, dtype)
            for _, old in block.param():
                old.zero_()
            for ours, right in zip(passes(block, x.to(DEVICE, dtype), grad.to(DEVICE, dtype)), expected, strict=True):
                error = (ours.cpu().double() - right).abs().max() / right.abs().max()
                check(ours.device.type == DEVICE.type and error <= tolerance, f"{name} in {dtype}, off by {error:.1e},")
    print(f"{len(found)} blocks equal torch.nn in float64 and float32")


def on(device, make=m.Model):
    model = make()
    model.device = torch.device(device)
    model.network.to(device)
    return model


class Stopped(Exception):
    pass


def checkpoints():
    """A training that goes on where it was, on the CPU, the GPU and the CPU again."""
    data = torch.randint(256, (2, 64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        for epochs, device in enumerate(("cpu", DEVICE, "cpu"), 1):

            def pairs(epoch, last=epochs):
                if epoch == last:
                    raise Stopped
                return data[0], data[1]

            model = on(device)
            try:
                losses = model.fit(pairs, 3, checkpoint=Path(folder, "checkpoint"))
            except Stopped:
                continue
        check([*losses] == [1, 2, 3], "a training that goes on")
        model.save_weights(Path(folder, "weights.pth"))
        model = on(DEVICE)
        model.load_weights(Path(folder, "weights.pth"))
        check(all(p.value.device.type == DEVICE.type for p in model.network.param()), "loading weights")
    print("a training goes on from the CPU to the GPU and back")


def training():
    """`Model.train` for an epoch and `predict`, as the course's grader does it, on the built-in data."""
    (noisy, others), _ = builtin_data(4000, 8)
    model, begin = m.Model(), time.perf_counter()
    model.train(noisy, others, num_epochs=1)
    print(f"an epoch of {len(noisy)} pairs in {time.perf_counter() - begin:.1f} s")
    check(model.predict(noisy[:8]).device == noisy.device, "the place of what predict gives")


def denoising():
    """What every shipped network makes of an image on the GPU and on the CPU, and `denoise` of a noisy picture."""
    images = torch.randint(256, (1, 3, 200, 150), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name, make in NETWORKS.items():
        here, there = on("cpu", make), on(DEVICE, make)
        found = []
        for model in (here, there):
            model.load_pretrained_model()
            model.PRECISION = "float32"
            found.append(model.predict(images).cpu())
        check((found[0] - found[1]).abs().max() < 0.05, f"{name}'s prediction")
    picture = (normal(3, 512, 512) * 25 + 128).clamp(0, 255).byte()
    begin = time.perf_counter()
    cleaned = denoise(picture)
    check(cleaned.float().std() < 0.2 * picture.float().std(), "denoise")
    print(f"{len(NETWORKS)} networks predict as on the CPU; denoise takes {time.perf_counter() - begin:.2f} s")


def ratios():
    results = {"fastest": str(fastest_dtype(DEVICE)), **machine(), "seconds": {}}
    for name, (make, trains, shape) in TIMED.items():
        model, images = make(), 255 * torch.rand(shape, device=DEVICE)
        inputs = images / 255
        versions = {what: of(model, device=DEVICE.type) for what, of in VERSIONS.items() if "textbook" not in what}
        steps = {
            which: (lambda v=version, x=inputs: v.step(x, x)) if trains else lambda v=version, x=images: v.predict(x)
            for which, version in versions.items()
        }
        for step in (*steps.values(), *steps.values()):
            step()  # `in_turn` warms up once more: the first steps on a GPU load what they need
        found = results["seconds"][name] = in_turn(steps, ROUNDS)
        print(f"{name}: torch / ours", {which: round(r, 2) for which, r in speed_ratios(found).items()}, flush=True)
    return results


def main():
    print(f"on {torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'the CPU: there is no GPU'}", flush=True)
    torch.manual_seed(0)
    for part in (blocks, checkpoints, training, denoising):
        part()
    if DEVICE.type == "cuda":
        write_json({"GPU": torch.cuda.get_device_name(), **ratios()}, RESULTS / "gpu.json")
    else:
        print("skipped: going from one device to another, ratios to torch.nn on a GPU")


if __name__ == "__main__":
    main()

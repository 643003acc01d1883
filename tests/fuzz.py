"""Blocks, networks and optimisers drawn at random against torch: for hours by hand, for seconds by the tests.

    python -m tests.fuzz [--seconds 3600] [--textbook] [--seed 7]

With the fast convolutions, or with the textbook's own. Nearly all in float64. A failure names its seed, which --seed
repeats.
"""

import argparse
import random
import time
import warnings

import pytest
import torch

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.training.optimizers import Adam, Muon

from .textbook import take_out

# Of the largest value expected. Sums of half precision round as often as they have terms.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 3e-2, torch.bfloat16: 2e-1}
SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, float("inf"), -float("inf"), float("nan")]


def close(what, ours, expected, tolerance, scale=0.0):
    """Alike where infinite or NaN, else up to `tolerance` of the largest value or `scale`."""
    assert ours.shape == expected.shape, f"{what}: shape {tuple(ours.shape)}, expected {tuple(expected.shape)}"
    ours, finite = ours.double(), expected.isfinite()
    torch.testing.assert_close(ours[~finite], expected[~finite], rtol=0, atol=0, equal_nan=True)
    ours, expected = ours[finite], expected[finite]
    if expected.numel():
        error, largest = (ours - expected).abs().max().item(), max(expected.abs().max().item(), scale)
        assert error <= tolerance * largest, f"{what}: off by {error:.1e} where values reach {largest:.1e}"


def laid_out(x, rng):
    """The same values with other strides."""
    how = rng.choice(["as it is", "channels last", "every second"])
    if how == "channels last":
        return x.movedim(-3, -1).contiguous().movedim(-1, -3)
    return torch.stack([x, x * float("nan")], -1).flatten(-2)[..., ::2] if how == "every second" else x


def compare(block, x, rng, scale=1.0, tolerance=None):
    """Forward and two backward passes, whose gradients add up; what torch refuses is to be refused, too."""
    what, tolerance = f"{block!r} of {tuple(x.shape)}, {x.dtype}", tolerance or TOLERANCE[x.dtype]
    reference, leaf = to_torch(block).double(), x.double().requires_grad_()
    try:
        expected = reference(leaf)
        if 0 in expected.shape[-2:] and 0 not in x.shape[-2:]:  # which torch lets through where there are no images
            raise RuntimeError("nothing is left of an image")
    except RuntimeError as refused:
        try:
            block(x)
        except ValueError:
            return
        raise AssertionError(f"{what}: taken, where torch says {refused}") from refused
    grad = scale * torch.randn(expected.shape, dtype=torch.float64).to(x.dtype)
    expected.backward(grad.double())
    before = x.clone(), grad.clone()
    for _ in range(2):
        close(f"{what}: forward", block(laid_out(x, rng)), expected.detach(), tolerance)
        close(f"{what}: backward", block.backward(laid_out(grad, rng)), leaf.grad, tolerance, scale * 1e-6)
    for (name, (_, ours)), theirs in zip(block.named_param().items(), reference.parameters(), strict=True):
        # A bias's is a sum of all there is, which may nearly cancel: it rounds as its terms do.
        terms = grad.double().norm().item() if name == "bias" else 0.0
        close(f"{what}: gradient of {name}", ours, 2 * theirs.grad, tolerance, terms)
    torch.testing.assert_close((x, grad), before, rtol=0, atol=0, equal_nan=True)


def ints(rng, low, high):
    return rng.randint(low, high) if rng.random() < 0.5 else (rng.randint(low, high), rng.randint(low, high))


def images(rng, channels, most, dtype=torch.float64, scale=1.0):
    """One image, or none or several, of any size up to `most`."""
    batch = rng.choice([(), (0,), (1,), (2,), (5,)])
    # torch takes images without rows, too, but only none of them.
    size = [max(batch == (0,), rng.randint(-1, most), 0) for _ in range(2)]
    return (scale * torch.randn(*batch, channels, *size, dtype=torch.float64)).to(dtype)


def convolution(rng):
    transposed, wide = rng.random() < 0.5, rng.random() < 0.3  # the wide ones go the faster way
    groups = 1 if wide else rng.randint(1, 4)
    ins, outs = (groups * (rng.randint(32, 70) if wide else rng.randint(1, 6)) for _ in range(2))
    options = dict(kernel_size=ints(rng, 1, 5), stride=ints(rng, 1, 4), padding=ints(rng, 0, rng.choice([3, 20])))
    options |= dict(dilation=1 if wide else ints(rng, 1, 4), groups=groups, bias=rng.random() < 0.7)
    if transposed:
        options["output_padding"] = ints(rng, 0, 3)
    elif options["stride"] == 1 and rng.random() < 0.3:
        options["padding"] = rng.choice(["same", "valid"])
    dtype = rng.choices(list(TOLERANCE), [8, 2, 1, 1])[0]
    scale = 10 ** rng.uniform(-100, 100) if dtype == torch.float64 else 1.0
    try:
        layer = (m.TransposeConv2d if transposed else m.Conv2d)(ins, outs, **options)
    except ValueError as error:
        assert "output_padding must be less" in str(error)
        return
    layer.to(dtype)
    if dtype == torch.float64:
        layer.weight = scale * torch.randn(layer.weight.shape, dtype=dtype)
    x = images(rng, ins, rng.choice([4, 9, 33]), dtype, 10 ** rng.uniform(-100, 100) if scale != 1 else 1.0)
    compare(layer, x, rng)


def network(rng, depth=0, keeps_size=False):
    """A block from 4 channels to 4, with others inside."""
    nested = ["sequential", "skip"] * (depth < 3)
    kind = rng.choice(["conv", "relu", "sigmoid", *nested, *([] if keeps_size else ["down", "up", "nearest"])])
    if kind in nested:
        keeps_size = keeps_size or kind == "skip"
        modules = [network(rng, depth + 1, keeps_size) for _ in range(rng.randint(0, 3))]
        return m.Skip(*modules) if kind == "skip" else m.Sequential(*modules)
    makers = {
        "conv": lambda: m.Conv2d(4, 4, 3, padding=1),
        "down": lambda: m.Conv2d(4, 4, 2, stride=2),
        "up": lambda: m.Upsampling(4, 4, 2, stride=2),
        "nearest": lambda: m.NearestUpsampling(ints(rng, 1, 2)),
    }
    return makers.get(kind, {"relu": m.ReLU, "sigmoid": m.Sigmoid}.get(kind))()


def networks(rng):
    block = m.Sequential(*(network(rng) for _ in range(rng.randint(0, 4))), m.Skip(m.Conv2d(4, 3, 1), cat=True))
    compare(block.to(torch.float64), images(rng, 4, 9), rng)


def simple(rng):
    """The blocks without weights; the activations at the ends of what float64 holds, too."""
    block = rng.choice([m.ReLU, m.Sigmoid, lambda: m.NearestUpsampling(ints(rng, 1, 4))])()
    x = images(rng, rng.randint(1, 4), 9, scale=10 ** rng.uniform(-10, 3))
    if not isinstance(block, m.NearestUpsampling):
        special = torch.tensor(SPECIAL, dtype=torch.float64)[torch.randint(len(SPECIAL), x.shape)]
        x = special.where(torch.rand(x.shape) < 0.2, x)
    compare(block, x, rng, 10 ** rng.uniform(-100, 100))


def mse(rng):
    shape, scale = [rng.randint(0, 4) for _ in range(rng.randint(0, 5))], 10 ** rng.uniform(-100, 100)
    prediction, target = scale * torch.randn(2, *shape, dtype=torch.float64)
    reduction, leaf = rng.choice(["mean", "sum"]), prediction.clone().requires_grad_()
    expected = torch.nn.functional.mse_loss(leaf, target, reduction=reduction)
    expected.backward()
    loss = m.MSE(reduction)
    close(f"{loss} of {shape}", loss(prediction, target), expected.detach(), 1e-12)
    close(f"{loss} of {shape}: backward", loss.backward(), leaf.grad, 1e-12)


def optimiser(rng):
    lr, momentum, decay = (10 ** rng.uniform(-4, 0) for _ in range(3))
    nesterov = rng.random() < 0.5
    sgd = dict(lr=lr, momentum=momentum * (nesterov or rng.random() < 0.5), nesterov=nesterov, weight_decay=decay)
    kinds = {
        m.SGD: (torch.optim.SGD, sgd if nesterov else sgd | dict(dampening=rng.random())),
        Muon: (torch.optim.Muon, dict(lr=lr, weight_decay=decay, momentum=min(momentum, 0.99))),
        Adam: (torch.optim.AdamW, dict(lr=lr, weight_decay=decay, betas=(rng.random(), rng.random()), eps=1e-8)),
    }
    kind = rng.choice(list(kinds))
    other, options = kinds[kind]
    shape = [rng.randint(1, 9) for _ in range(2 if kind is Muon else rng.randint(1, 4))]
    ours, theirs = m.Parameter(torch.randn(shape, dtype=torch.float64)), torch.empty(shape, dtype=torch.float64)
    theirs.copy_(ours.value).requires_grad_()
    mine, reference, size = kind([ours], **options), other([theirs], **options), 10 ** rng.uniform(-3, 3)
    for _ in range(rng.randint(1, 5)):
        theirs.grad = size * torch.randn(shape, dtype=torch.float64)
        ours.grad.copy_(theirs.grad)
        mine.step()
        with pytest.MonkeyPatch.context() as patch:  # torch's Muon rounds to bfloat16, ours doesn't
            patch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
            reference.step()
    close(f"{kind.__name__} {options} of {shape}", ours.value, theirs.detach(), 1e-9, 10)


CASES = [convolution, convolution, convolution, networks, simple, mse, optimiser]


def run(seed, textbook=False):
    """One case, which the seed determines; an AssertionError that names it if it fails."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    case = rng.choice(CASES)
    try:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
            if textbook:
                take_out(patch)
            case(rng)
    except Exception as error:
        options = f"--seed {seed}{' --textbook' if textbook else ''}"
        raise AssertionError(f"python -m tests.fuzz {options}: {case.__name__}: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long (%(default)s)")
    parser.add_argument("--textbook", action="store_true", help="without what the package puts into model.py")
    parser.add_argument("--seed", type=int, help="run this one alone (new ones)")
    args = parser.parse_args()
    if args.seed is not None:
        return run(args.seed, args.textbook)
    end, first, failed, n = time.monotonic() + args.seconds, random.SystemRandom().randrange(2**40), 0, 0
    while time.monotonic() < end:
        try:
            run(first + n, args.textbook)
        except AssertionError as error:
            print(error, flush=True)
            failed += 1
        n += 1
    print(f"{n} cases from seed {first} on, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What a training can be made of: optimisers, a loss, initialisations, recipes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from Proj_Miniproject2.model import SGD, Conv2d, Model, Parameter, Sequential, Skip, TransposeConv2d, Upsampling, xavier
from Proj_Miniproject2.others.fast import machine
from Proj_Miniproject2.others.training.initialisations import kaiming, uniform
from Proj_Miniproject2.others.training.losses import FaintRelativeMSE, RelativeMSE
from Proj_Miniproject2.others.training.optimizers import Adam, Muon, RowMuon
from Proj_Miniproject2.others.training.recipe import Recipe, constant, linear

from .drawn import DTYPES, SEEDS, assert_near, generator, values_of

UNIT = st.floats(0, 0.99) | st.just(0.0)


@DTYPES
@given(
    lr=st.floats(1e-4, 0.1),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999)),
    eps=st.sampled_from([1e-8, 1e-3]),
    weight_decay=UNIT,
    steps=st.integers(1, 6),
    seed=SEEDS,
)
@example(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, steps=5, seed=0)
def test_adam_equals_torchs_adamw(dtype, lr, betas, eps, weight_decay, steps, seed):
    net = Sequential(Conv2d(2, 3, 2), Upsampling(3, 1, (1, 2), bias=False)).to(dtype)
    twins = [torch.nn.Parameter(v.to(torch.float64).clone()) for v in values_of(net)]
    options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    ours, reference = Adam(net.param(), **options), torch.optim.AdamW(twins, **options)
    draws = generator(seed)
    for _ in range(steps):
        ours.zero_grad()
        for (_, grad), twin in zip(net.param(), twins, strict=True):
            g = torch.randn(twin.shape, generator=draws, dtype=torch.float64).to(dtype)
            grad.add_(g)
            twin.grad = g.to(torch.float64)
        ours.step()
        reference.step()
        for (value, grad), twin in zip(net.param(), twins, strict=True):
            assert_near(value, twin.detach(), dtype, f"{options}", scale=lr)
            assert torch.equal(grad.to(torch.float64), twin.grad)


def muon_step(matrix):
    """What five steps of a x + b x^3 + c x^5 make of the singular values of a matrix of norm 1."""
    left, s, right = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return left * s @ right


@DTYPES
@pytest.mark.parametrize("kind", [Muon, RowMuon])
@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 2),
    kernel=st.tuples(*[st.integers(1, 3)] * 2),
    lr=st.floats(1e-4, 0.1),
    momentum=st.floats(0, 0.99),
    weight_decay=UNIT,
    steps=st.integers(1, 4),
    seed=SEEDS,
)
@example(sizes=(64, 3), kernel=(4, 4), lr=0.03, momentum=0.95, weight_decay=0.0, steps=3, seed=0)
def test_muon_moves_by_the_polynomial_of_the_singular_values(
    dtype, kind, sizes, kernel, lr, momentum, weight_decay, steps, seed
):
    # matrices of one size, which are multiplied at once, and of others
    net = Sequential(Conv2d(*sizes, kernel), TransposeConv2d(*sizes, kernel), Conv2d(*sizes, 1)).to(dtype)
    expected = [v.to(torch.float64).clone() for v in values_of(net)]
    velocities = [torch.zeros_like(v) for v in expected]
    optimizer, draws, shortest = kind(net.param(), lr, weight_decay, momentum), generator(seed), 1
    for _ in range(steps):
        optimizer.zero_grad()
        for (_, grad), twin, velocity in zip(net.param(), expected, velocities, strict=True):
            grad.add_(torch.randn(grad.shape, generator=draws, dtype=torch.float64).to(dtype))
            g = grad.to(torch.float64)
            velocity.mul_(momentum).add_((1 - momentum) * g)
            matrix = (momentum * velocity + (1 - momentum) * g).reshape(len(g) if g.dim() > 1 else 1, -1)
            rows, columns = matrix.shape
            move = max(1, rows / columns) ** 0.5 * muon_step(matrix)
            if kind is RowMuon:
                lengths = move.norm(dim=1, keepdim=True)
                move, shortest = move / lengths, min(shortest, lengths.min().item())
            twin.mul_(1 - lr * weight_decay)
            twin.sub_(lr * move.view(g.shape))
        optimizer.step()
        for (value, _), twin in zip(net.param(), expected, strict=True):
            # a singular value near 0 grows up to 3.4445^5 = 485 times, and so does its rounding; a short row, too
            assert_near(value, twin, dtype, f"{sizes} {kernel}", scale=lr * 100 / shortest)


@DTYPES
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=SEEDS)
def test_muon_is_torchs_but_for_torchs_bfloat16(dtype, rows, columns, seed):
    draws = generator(seed)
    start = torch.randn(rows, columns, generator=draws, dtype=torch.float64)
    twin = torch.nn.Parameter(start.clone())
    ours = Parameter(start[:, :, None, None].to(dtype))
    optimizer, reference = Muon([ours], lr=0.1), torch.optim.Muon([twin], lr=0.1)
    for _ in range(3):
        twin.grad = torch.randn(rows, columns, generator=draws, dtype=torch.float64)
        ours.grad.copy_(twin.grad[:, :, None, None])
        optimizer.step()
        # torch rounds the matrix to bfloat16 before it multiplies; here it must not
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
            reference.step()
    # a singular value near 0 grows up to 485 times, and so does its rounding
    assert_near(ours.value[:, :, 0, 0], twin.detach(), dtype, f"{rows} x {columns}", scale=10)


@pytest.mark.parametrize("kind", [Muon, RowMuon])
def test_muon_of_a_gradient_of_zero_stays(kind):
    conv = Conv2d(2, 3, 2)
    before = [v.clone() for v in values_of(conv)]
    kind(conv.param(), lr=1.0, weight_decay=0).step()
    assert all(torch.equal(a, b) for a, b in zip(before, values_of(conv), strict=True))


@pytest.mark.parametrize("kind, floor", [(RelativeMSE, 15), (FaintRelativeMSE, 3)])
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 1000), scale=st.floats(-5, 5))
def test_relative_mse_equals_autograd(kind, floor, shape, seed, scale):
    draws = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, *shape, generator=draws, dtype=torch.float64)
    leaf = prediction.clone().requires_grad_()
    reference = ((leaf - target).square().flatten(1).mean(1) + (floor / 255) ** 2).log().mean()
    reference.backward(torch.tensor(scale, dtype=torch.float64))
    loss = kind()
    torch.testing.assert_close(loss(prediction, target), reference.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.backward(scale), leaf.grad, rtol=1e-12, atol=1e-12)


def test_initialisations_have_their_spread_in_nested_networks():
    torch.manual_seed(0)
    conv, transposed = Conv2d(64, 32, 4, stride=2), TransposeConv2d(32, 64, 4, stride=2)
    network = Sequential(Skip(conv, transposed))
    assert kaiming(network) is network
    # an output of the convolution is a sum of 64 * 16 products; one of the transposed one, of 32 * 16 / 4
    assert conv.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02) and not conv.bias.any()
    assert transposed.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    bound = (6 / (1024 + 128)) ** 0.5
    assert xavier(network) is network
    for layer in (conv, transposed):
        assert 0.99 * bound <= layer.weight.abs().max() <= bound and not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    bound = 1024**-0.5
    assert uniform(network) is network
    assert conv.weight.abs().max() <= bound and conv.bias.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_a_recipes_precision_is_a_dtype():
    cpu = torch.device("cpu")
    found = {name: Recipe(precision=name).dtype(cpu) for name in ("float32", "bfloat16", "auto")}
    assert found == {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": machine.fastest_dtype(cpu)}


def test_the_learning_rate_rises_and_falls():
    recipe = Recipe(lr=0.5, warmup=0.2, schedule=linear)
    rates = [recipe.lr_at(progress) for progress in (0.05, 0.1, 0.2, 0.6, 0.999)]
    assert rates == pytest.approx([0.25 * 0.5 * 0.95, 0.5 * 0.5 * 0.9, 0.5 * 0.8, 0.5 * 0.4, 0.5 * 0.001])
    assert replace(recipe, warmup=0, schedule=constant).lr_at(0.001) == 0.5


@pytest.mark.parametrize("average", [0, 0.6, 0.999])
def test_what_is_kept_is_the_running_average_of_the_weights(average):
    """That after each step, with a memory that grows at first; or without an average, the last weights."""
    seen = []

    class Recorder(SGD):
        def step(self):
            super().step()
            seen.append([value.clone() for value, _ in self.params])

    def recorder(params, lr, weight_decay, momentum):
        return Recorder(params, lr)

    model = Model()
    expected = [value.clone() for value, _ in model.network.param()]
    recipe = Recipe(num_epochs=2, batch_size=4, optimizer=recorder, lr=0.3, average=average, precision="float32")
    model.train(*torch.randint(256, (2, 12, 3, 8, 8), dtype=torch.uint8), recipe=recipe)
    assert len(seen) == 6
    for step, values in enumerate(seen, 1):
        keep = min(average, step / (step + 10))
        expected = [keep * mean + (1 - keep) * value for mean, value in zip(expected, values, strict=True)]
    for (value, _), mean in zip(model.network.param(), expected, strict=True):
        torch.testing.assert_close(value, mean, rtol=0, atol=1e-6)

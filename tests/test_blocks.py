"""The blocks and the optimiser against torch's own: torch.nn, autograd in float64, torch.optim."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.model import (
    MSE,
    SGD,
    Conv2d,
    Model,
    Module,
    NearestUpsampling,
    ReLU,
    Sequential,
    Sigmoid,
    TransposeConv2d,
    Upsampling,
)
from Proj_Miniproject2.others.api.exporting import to_torch

from .drawn import (
    DTYPES,
    LAYOUTS,
    SEEDS,
    TOLERANCE,
    assert_accumulates,
    assert_near,
    by_autograd,
    check_convolution,
    conv_options,
    functional,
    generator,
    ints_or_pairs,
    lay_out,
    normal,
    pair,
    run,
    transpose_options,
    values_of,
)

BOTH = pytest.mark.usefixtures("put_in")  # with the fast convolutions and with the textbook's


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


# ----------------------------------------------------------------------------------------------------------
# Convolutions, with options drawn at random


@BOTH
@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d, Upsampling])
@DTYPES
@settings(max_examples=100)
@given(data=st.data(), seed=SEEDS, x_layout=LAYOUTS, grad_layout=LAYOUTS, grad_mode=st.booleans())
def test_convolutions_equal_autograd(block, dtype, data, seed, x_layout, grad_layout, grad_mode):
    options, shape = data.draw(conv_options() if block is Conv2d else transpose_options())
    with torch.set_grad_enabled(grad_mode):
        check_convolution(block, options, shape, dtype, seed, x_layout, grad_layout)


@BOTH
@pytest.mark.parametrize(
    "channels, kernel, stride, size, read",
    [
        ((64, 64), 4, 2, 33, 32),
        ((64, 64), 3, 2, 34, 33),
        ((16, 64), 6, 3, 35, 33),
        ((64, 64), 3, (1, 2), 34, (34, 33)),
        ((3, 64), 3, 2, 34, 33),
        ((64, 32), 4, 3, 38, 37),
        ((32, 600), 7, 3, 41, 40),
    ],
)
def test_pixels_that_no_output_reads_change_nothing(channels, kernel, stride, size, read):
    """Not even infinite ones: the last rows and columns, where the stride doesn't fit the size. Their gradient is 0."""
    height, width = pair(read)
    conv, x = Conv2d(*channels, kernel, stride), normal(4, channels[0], size, size, seed=0, dtype=torch.float32)
    unread = torch.ones(size, size, dtype=torch.bool)
    unread[:height, :width] = False
    output = conv(x.masked_fill(unread, math.inf))
    grad = normal(*output.shape, seed=1, dtype=torch.float32)
    x_grad = conv.backward(grad)
    values, grads = zip(*conv.param(), strict=True)
    expected = by_autograd(lambda x, w, b: F.conv2d(x, w, b, stride), x[..., :height, :width], values, grad)
    for ours, theirs in zip((output, x_grad[..., :height, :width], *grads), expected, strict=True):
        assert_near(ours, theirs, torch.float32, "pixels that are read")
    assert not x_grad[..., unread].any()


@BOTH
@pytest.mark.parametrize(
    "block, arguments, shape, seeds",
    [
        (Conv2d, (3, 3, 3), (1, 3, 32, 32), 300),
        (Conv2d, (3, 16, 3, 2, 1), (1, 3, 32, 32), 50),
        (Conv2d, (3, 48, 2), (1, 3, 32, 32), 50),
        (Conv2d, (16, 32, 3, 1, 1), (1, 16, 16, 16), 50),
        (TransposeConv2d, (3, 3, 3), (1, 3, 32, 32), 300),
        (TransposeConv2d, (3, 16, 3, 1, 1), (1, 3, 64, 64), 300),
    ],
)
def test_small_single_images_are_torchs_at_the_course_s_own_tolerance(block, arguments, shape, seeds):
    """And those of Conv2d, which the course compares, to the last digit."""
    function = F.conv2d if block is Conv2d else F.conv_transpose2d
    for seed in range(seeds):
        torch.manual_seed(seed)
        conv, sigmoid = block(*arguments), Sigmoid()
        x = torch.randn(shape)
        expected = function(x, conv.weight, conv.bias, *arguments[3:])
        assert torch.allclose(conv.forward(x), expected)
        assert torch.allclose(Sequential(conv, sigmoid).forward(x), torch.sigmoid(expected))
        assert block is not Conv2d or torch.equal(conv(x), expected)


# ----------------------------------------------------------------------------------------------------------
# Constructors


@pytest.mark.parametrize(
    "ours, torchs",
    [
        (Conv2d, torch.nn.Conv2d),
        (TransposeConv2d, torch.nn.ConvTranspose2d),
        (Upsampling, torch.nn.ConvTranspose2d),
        (SGD, torch.optim.SGD),
    ],
    ids=lambda c: c.__name__,
)
def test_constructors_take_torchs_arguments(ours, torchs):
    def positional(cls):
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [
            (p.name, p.default)
            for p in parameters
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("device", "dtype")
        ]

    assert positional(ours) == positional(torchs)


@given(conv_options())
@settings(max_examples=20)
def test_conv_parameters_have_torchs_shapes(drawn):
    options, _ = drawn
    layer, reference = Conv2d(**options), torch.nn.Conv2d(**options)
    assert [v.shape for v in values_of(layer)] == [p.shape for p in reference.parameters()]
    assert layer.weight.shape == reference.weight.shape
    assert (layer.bias is None) == (reference.bias is None)


@given(transpose_options())
@settings(max_examples=20)
def test_transpose_parameters_have_torchs_shapes(drawn):
    options, _ = drawn
    for block in (TransposeConv2d, Upsampling):
        layer, reference = block(**options), torch.nn.ConvTranspose2d(**options)
        assert [v.shape for v in values_of(layer)] == [p.shape for p in reference.parameters()]
        assert layer.weight.shape == reference.weight.shape
        assert (layer.bias is None) == (reference.bias is None)


def test_fresh_layers_are_random_and_finite():
    for block in (Conv2d, TransposeConv2d, Upsampling):
        first, second = block(8, 6, 3), block(8, 6, 3)
        for value in values_of(first):
            assert value.dtype == torch.float32 and value.device.type == "cpu"
            assert value.isfinite().all() and value.abs().max() < 2
        assert first.weight.std() > 0 and not torch.equal(first.weight, second.weight)


# ----------------------------------------------------------------------------------------------------------
# Activations and nearest upsampling

FLOATS = st.floats(-50, 50) | st.sampled_from([0.0, -0.0, 1e4, -1e4, 1e-30, -1e-30, 88.8, -88.8, 745.0, -745.0])


@pytest.mark.parametrize("block, function", [(ReLU, torch.relu), (Sigmoid, torch.sigmoid)], ids=["ReLU", "Sigmoid"])
@DTYPES
@given(values=st.lists(FLOATS, max_size=12), seed=SEEDS, grad_mode=st.booleans())
def test_activations_equal_autograd(block, function, dtype, values, seed, grad_mode):
    x = torch.tensor(values, dtype=dtype)
    grad = normal(len(values), seed=seed).to(dtype)
    with torch.set_grad_enabled(grad_mode):
        ours = run(block(), x, grad)
    y, grad_x = by_autograd(function, x, [], grad)
    assert_near(ours[0], y, dtype, "output", scale=1e-30)  # subnormal numbers may be flushed to zero
    # s (1 - s) has few digits where s is almost 1, in torch too: relative to the steepest slope, then
    assert_near(ours[1], grad_x, dtype, "gradient", scale=0.25 * grad.abs().sum().item())


@pytest.mark.parametrize("block, function", [(ReLU, torch.relu), (Sigmoid, torch.sigmoid)], ids=["ReLU", "Sigmoid"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "transposed", "offset", "expanded"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 5, 4), (0, 3, 2, 2), (5, 4)])
def test_activations_in_any_shape_and_layout(block, function, layout, shape):
    if len(shape) < 3 and layout == "channels_last":
        shape = (1, *shape)
    x = lay_out(normal(*shape), layout)
    grad = lay_out(normal(*shape, seed=1), layout)
    for a, b in zip(run(block(), x, grad), by_autograd(function, x, [], grad), strict=True):
        assert_near(a, b, torch.float64, f"{layout} {shape}")


@DTYPES
def test_sigmoid_is_stable(dtype):
    x = torch.tensor([-math.inf, -1e4, -700, -100, 0, 100, 700, 1e4, math.inf], dtype=dtype)
    block = Sigmoid()
    y = block(x)
    torch.testing.assert_close(y, torch.sigmoid(x), rtol=TOLERANCE[dtype], atol=0)
    assert y[0] == 0 and y[1] == 0 and y[-2] == 1 and y[-1] == 1
    grad_x = block.backward(torch.ones_like(x))
    assert grad_x.isfinite().all() and grad_x[4] == 0.25
    assert grad_x[0] == grad_x[1] == grad_x[-2] == grad_x[-1] == 0


def test_small_sigmoids_keep_their_digits():
    """sigmoid(x) = exp(x) to the last digits for very negative x, and so is its derivative."""
    x = torch.linspace(-600, -40, 50, dtype=torch.float64)
    block = Sigmoid()
    torch.testing.assert_close(block(x), x.exp(), rtol=1e-12, atol=0)
    torch.testing.assert_close(block.backward(torch.ones_like(x)), x.exp(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("last", [1.0, math.inf, math.nan])
def test_relu_lets_through_what_torchs_does(last):
    x = torch.tensor([-1.0, math.nan, 1.0, 0.0, -0.0, math.inf, -math.inf, 2.0], dtype=torch.float64)
    for value in (math.inf, math.nan, 3.0):
        grad = torch.full_like(x, value)
        grad[-1] = last
        (expected,) = by_autograd(torch.relu, x, [], grad)[1:]
        block = ReLU()
        block(x)
        torch.testing.assert_close(block.backward(grad), expected, rtol=0, atol=0, equal_nan=True)


def test_relu_at_the_extremes():
    x = torch.tensor([-math.inf, -3e38, -1e-45, 0.0, 1e-45, 3e38, math.inf])
    block = ReLU()
    assert torch.equal(block(x), torch.relu(x))
    assert block.backward(torch.full_like(x, 2)).tolist() == [0, 0, 0, 0, 2, 2, 2]
    assert ReLU()(torch.tensor([math.nan, -1.0])).isnan().tolist() == [True, False]


@DTYPES
@given(
    factor=ints_or_pairs(1, 4),
    shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    seed=SEEDS,
    x_layout=LAYOUTS,
    grad_layout=LAYOUTS,
    grad_mode=st.booleans(),
)
@settings(max_examples=50)
def test_nearest_upsampling_equals_torch(dtype, factor, shape, seed, x_layout, grad_layout, grad_mode):
    reference = torch.nn.Upsample(scale_factor=factor, mode="nearest")
    x = lay_out(normal(*shape, seed=seed).to(dtype), x_layout)
    out_shape = (*shape[:2], shape[2] * pair(factor)[0], shape[3] * pair(factor)[1])
    grad = lay_out(normal(*out_shape, seed=seed + 1).to(dtype), grad_layout)
    with torch.set_grad_enabled(grad_mode):
        ours = run(NearestUpsampling(factor), x, grad)
    squares = by_autograd(reference, x**2, [], grad**2)
    for a, b, sq in zip(ours, by_autograd(reference, x, [], grad), squares, strict=True):
        assert_near(a, b, dtype, f"factor {factor} on {shape}", sq.sum().sqrt().item())


# ----------------------------------------------------------------------------------------------------------
# Loss


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(
    shape=st.lists(st.integers(1, 5), max_size=4),
    seed=SEEDS,
    transpose=st.booleans(),
    grad_mode=st.booleans(),
)
@settings(max_examples=40)
def test_mse_equals_torch(dtype, reduction, shape, seed, transpose, grad_mode):
    y, t = normal(*shape, seed=seed).to(dtype), normal(*shape, seed=seed + 1).to(dtype)
    if transpose and len(shape) > 1:
        y = y.mT.contiguous().mT
    ours, before = y.clone().requires_grad_(grad_mode), (y.clone(), t.clone())
    loss = MSE(reduction)
    with torch.set_grad_enabled(grad_mode):
        value = loss(ours, t)
        grad = loss.backward()
    assert value.shape == () and not value.requires_grad and not grad.requires_grad
    assert torch.equal(ours.detach(), before[0]) and torch.equal(t, before[1])
    reference = by_autograd(lambda y: F.mse_loss(y, t.to(torch.float64), reduction=reduction), y, [], torch.ones(()))
    for a, b, what in zip((value, grad), reference, ("loss", "gradient"), strict=True):
        assert_near(a, b, dtype, what)


def test_mse_defaults_to_the_mean():
    y, t = normal(2, 3), normal(2, 3, seed=1)
    assert MSE()(y, t).item() == pytest.approx(F.mse_loss(y, t).item(), rel=1e-14)
    assert MSE().param() == []


# ----------------------------------------------------------------------------------------------------------
# Every block alike

BLOCKS = {
    "Conv2d": (lambda: Conv2d(2, 3, (3, 2), stride=2, padding=1), (2, 2, 5, 6)),
    "Conv2d, groups": (
        lambda: Conv2d(4, 2, 2, padding="same", dilation=2, groups=2, bias=False),
        (1, 4, 4, 3),
    ),
    "TransposeConv2d": (lambda: TransposeConv2d(2, 3, (3, 2), stride=(2, 3), padding=1), (2, 2, 3, 4)),
    "Upsampling": (lambda: Upsampling(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 2, 3, 3)),
    "NearestUpsampling": (lambda: NearestUpsampling((2, 3)), (2, 2, 3, 3)),
    "ReLU": (ReLU, (2, 2, 3, 4)),
    "Sigmoid": (Sigmoid, (2, 2, 3, 4)),
    "Sequential": (
        lambda: Sequential(Conv2d(2, 4, 3, stride=2), Sigmoid(), Upsampling(4, 2, 3, stride=2), ReLU(), Sigmoid()),
        (2, 2, 5, 7),
    ),
    "Sequential, wide": (
        lambda: Sequential(
            Conv2d(3, 64, 4, 2, 2), ReLU(), Conv2d(64, 80, 4, 2, 2), ReLU(), Upsampling(80, 64, 5, 2, 2)
        ),
        (3, 3, 13, 16),
    ),
}
EVERY_BLOCK = pytest.mark.parametrize("make, shape", BLOCKS.values(), ids=BLOCKS)


@BOTH
@EVERY_BLOCK
def test_central_differences(make, shape):
    block = make().to(torch.float64)
    for seed, value in enumerate(values_of(block)):  # the same in every run: a ReLU's kink must not be near
        value.copy_(normal(*value.shape, seed=seed) * value.numel() ** -0.25)
    x = normal(*shape)
    x += 0.05 * x.sign()
    weights = normal(*block(x).shape, seed=1)  # of the outputs in the scalar sum(weights * y) that we differentiate
    _, grad_x, *_ = run(block, x, weights)

    def central_difference(t, direction, h=1e-6):
        """(f(t + h d) - f(t - h d)) / 2 h, moving t in place."""
        values = []
        for sign in (1, -1):
            t += sign * h * direction
            values.append((block(x) * weights).sum().item())
            t -= sign * h * direction
        return (values[0] - values[1]) / (2 * h)

    for t, grad in [(x, grad_x), *block.param()]:
        indices = torch.randperm(t.numel(), generator=generator(2))[:40]
        for i in indices.tolist():
            direction = torch.zeros(t.numel(), dtype=t.dtype)
            direction[i] = 1
            expected = grad.reshape(-1)[i].item()
            assert central_difference(t, direction.view(t.shape)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@BOTH
@given(data=st.data(), block=st.sampled_from([Conv2d, TransposeConv2d]), seed=SEEDS)
@settings(max_examples=60)
def test_central_differences_of_random_convolutions(data, block, seed):
    """The derivative in a random direction; f is linear in each argument, so only rounding is left."""
    options, shape = data.draw(conv_options() if block is Conv2d else transpose_options())
    layer = block(**options).to(torch.float64)
    x = normal(*shape, seed=seed)
    weights = normal(*layer(x).shape, seed=seed + 1)
    _, grad_x, *_ = run(layer, x, weights)
    for t, grad in [(x, grad_x), *layer.param()]:
        direction = normal(*t.shape, seed=seed + 2)
        start, f = t.clone(), []
        for sign in (1, -1):
            t.copy_(start + sign * direction)
            f.append((layer(x) * weights).sum().item())
        t.copy_(start)
        terms = (grad * direction).abs().sum().item()
        assert (f[0] - f[1]) / 2 == pytest.approx((grad * direction).sum().item(), rel=1e-9, abs=1e-9 * (1 + terms))


def test_central_differences_of_mse():
    for reduction in ("mean", "sum"):
        loss = MSE(reduction)
        y, t = normal(2, 3), normal(2, 3, seed=1)
        loss(y, t)
        grad = loss.backward()
        for i in range(6):
            step = torch.zeros(6, dtype=torch.float64)
            step[i] = 1e-4
            step = step.view(2, 3)
            slope = (loss(y + step, t) - loss(y - step, t)).item() / 2e-4
            assert slope == pytest.approx(grad.view(-1)[i].item(), rel=1e-7)


@BOTH
@EVERY_BLOCK
def test_backward_passes_accumulate_and_zero_grad_resets(make, shape):
    block = make().to(torch.float64)
    x1, x2 = normal(*shape), normal(*shape, seed=1)
    g1, g2 = (normal(*block(x1).shape, seed=s) for s in (2, 3))
    assert all(not grad.any() for _, grad in block.param())

    def gradients(x, g):
        for _, grad in block.param():
            grad.zero_()
        return [t.clone() for t in run(block, x, g)[2:]]

    expected = [a + b for a, b in zip(gradients(x1, g1), gradients(x2, g2), strict=True)]
    gradients(x1, g1)
    ours = run(block, x2, g2)[2:]
    for a, b in zip(ours, expected, strict=True):
        assert_near(a, b, torch.float64, "two forward and backward passes")

    gradients(x1, g1)
    assert_accumulates(block, g1)  # two backward passes of one forward pass

    if block.param():
        optimizer = SGD(block.param(), lr=1.0)
        optimizer.zero_grad()
        before = [v.clone() for v in values_of(block)]
        assert all(grad.shape == value.shape and not grad.any() for value, grad in block.param())
        optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(values_of(block), before, strict=True))


@BOTH
@EVERY_BLOCK
@pytest.mark.parametrize("grad_mode", [True, False])
def test_no_graph_is_recorded(make, shape, grad_mode):
    block = make()
    x = normal(*shape, dtype=torch.float32).requires_grad_()
    with torch.set_grad_enabled(grad_mode):
        y = block(x)
        assert y.grad_fn is None and not y.requires_grad
        grad_x = block.backward(torch.ones_like(y).requires_grad_())
        assert grad_x.grad_fn is None and not grad_x.requires_grad
        assert torch.is_grad_enabled() is grad_mode
    assert x.grad is None
    assert not any(t.requires_grad for p in block.param() for t in p)


def test_assigned_values_record_no_graph():
    conv = Conv2d(2, 3, 3)
    conv.weight = torch.ones(3, 2, 3, 3, requires_grad=True) * 2
    assert not conv.weight.requires_grad
    assert not conv(torch.ones(1, 2, 3, 3)).requires_grad


@BOTH
@EVERY_BLOCK
def test_earlier_results_are_left_alone(make, shape):
    """Buffers may be reused inside, but never one that the caller holds."""
    block = make()
    x1, x2 = normal(*shape, dtype=torch.float32), normal(*shape, dtype=torch.float32, seed=1)
    y1 = block(x1)
    g1, g2 = normal(*y1.shape, dtype=torch.float32, seed=2), normal(*y1.shape, dtype=torch.float32, seed=3)
    grad1 = block.backward(g1)
    copies = y1.clone(), grad1.clone()
    y2 = block(x2)
    grad2 = block.backward(g2)
    assert torch.equal(y1, copies[0]) and torch.equal(grad1, copies[1])
    fresh = make()
    fresh.load_state_dict(block.state_dict())
    torch.testing.assert_close(fresh(x2), y2)
    torch.testing.assert_close(fresh.backward(g2), grad2)
    y2 += 1
    grad2 += 1
    assert torch.equal(x2, normal(*shape, dtype=torch.float32, seed=1))


@BOTH
@EVERY_BLOCK
def test_sizes_may_change_from_call_to_call(make, shape):
    block = make().to(torch.float64)
    small = (*shape[:2], shape[2] + 1, shape[3] + 2)
    for s in (shape, (shape[0] + 2, *small[1:]), (0, *shape[1:]), small, shape):
        x = normal(*s)
        alone = make().to(torch.float64)
        alone.load_state_dict(block.state_dict())
        y = block(x)
        grad = normal(*y.shape, seed=1)
        torch.testing.assert_close(y, alone(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(block.backward(grad), alone.backward(grad), rtol=1e-12, atol=1e-12)


@BOTH
@EVERY_BLOCK
def test_values_changed_in_place_are_used(make, shape):
    """Nothing derived from the parameters outlives a change of theirs, however it is made."""
    block, twin = make(), make()
    x = normal(*shape, dtype=torch.float32)
    block.backward(torch.ones_like(block(x)))
    for value, _ in block.param():
        value.mul_(-0.5).add_(0.01)
    twin.load_state_dict(block.state_dict())
    y = block(x)
    torch.testing.assert_close(y, twin(x))
    torch.testing.assert_close(block.backward(torch.ones_like(y)), twin.backward(torch.ones_like(y)))


@EVERY_BLOCK
def test_backward_before_forward(make, shape):
    with pytest.raises(RuntimeError, match="forward"):
        make().backward(torch.zeros(shape))


def test_mse_of_nothing_is_torchs():
    nothing = torch.empty(0, 3)
    loss = MSE()
    assert loss(nothing, nothing).isnan() and F.mse_loss(nothing, nothing).isnan()
    assert loss.backward().shape == (0, 3)


def test_unbatched_images_take_unbatched_gradients_only():
    layer = Conv2d(2, 3, 3)
    layer(torch.zeros(2, 5, 5))
    with pytest.raises(ValueError, match=r"\(3, 3, 3\).*\(1, 3, 3, 3\)"):
        layer.backward(torch.zeros(1, 3, 3, 3))


def test_mse_backward_before_forward():
    with pytest.raises(RuntimeError, match="forward"):
        MSE().backward()


@BOTH
@EVERY_BLOCK
def test_blocks_are_modules(make, shape):
    block = make()
    assert isinstance(block, Module)
    x = normal(*shape, dtype=torch.float32)
    assert torch.equal(block(x), block.forward(x))
    assert isinstance(block.param(), list)
    for value, grad in block.param():
        assert isinstance(value, torch.Tensor) and value.shape == grad.shape and value.dtype == grad.dtype


# ----------------------------------------------------------------------------------------------------------
# Sequential


@BOTH
@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (2, 3, 21, 30), (1, 3, 3, 6), (0, 3, 32, 32), (3, 17, 16)])
@pytest.mark.parametrize("grad_mode", [True, False])
def test_report_network_equals_torch(shape, grad_mode):
    net = Model().network.to(torch.float64)
    twin = to_torch(net)
    x = normal(*shape)
    with torch.enable_grad():
        out = twin(x)
    grad = normal(*out.shape, seed=1)
    reference = by_autograd(lambda x: twin(x), x, [], grad)
    with torch.enable_grad():
        reference += torch.autograd.grad(twin(x), list(twin.parameters()), grad)
    with torch.set_grad_enabled(grad_mode):
        ours = run(net, x, grad)
    for a, b in zip(ours, reference, strict=True):
        assert_near(a, b, torch.float64, f"{tuple(b.shape)}")
    # float32: a pre-activation that rounds across zero changes a gradient, so only the output is held to 1e-5
    assert_near(net.to(torch.float32)(x.float()), reference[0], torch.float32, "float32 output")


def test_sequential_is_a_sequence():
    modules = [Conv2d(1, 2, 3), ReLU(), Upsampling(2, 1, 3)]
    net = Sequential(*modules)
    assert len(net) == 3 and list(net) == modules
    assert [net[i] for i in range(3)] == modules and net[-1] is modules[-1]
    for i in (3, -4):
        with pytest.raises(IndexError):
            net[i]
    values = [v.data_ptr() for block in modules for v in values_of(block)]
    assert [v.data_ptr() for v in values_of(net)] == values
    assert len(Sequential()) == 0 and Sequential().param() == []


@given(data=st.data(), seed=SEEDS)
@settings(max_examples=30)
def test_repr_is_the_constructor_call(data, seed):
    (conv, shape), (transpose, _) = data.draw(conv_options()), data.draw(transpose_options())
    for block, options in ((Conv2d, conv), (TransposeConv2d, transpose), (Upsampling, transpose)):
        layer = block(**options)
        again = eval(repr(layer), vars(m))
        assert type(again) is type(layer) and repr(again) == repr(layer)
        assert [v.shape for v in values_of(again)] == [v.shape for v in values_of(layer)]
        if block is Conv2d:
            again.load_state_dict(layer.state_dict())
            x = normal(*shape, seed=seed, dtype=torch.float32)
            assert torch.equal(again(x), layer(x))


def test_repr_of_networks():
    net = Model().network
    again = eval(repr(net), vars(m))
    assert repr(again) == repr(net) and isinstance(again, Sequential) and len(again) == 8
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    for block in (NearestUpsampling(2), NearestUpsampling((2, 3)), MSE(), MSE("sum"), ReLU(), Sequential()):
        assert repr(eval(repr(block), vars(m))) == repr(block)


# ----------------------------------------------------------------------------------------------------------
# Parameters, to(), state_dict()


def test_parameters_unpack_as_pairs():
    conv = Conv2d(2, 3, 3)
    weight, bias = conv.param()
    value, grad = weight
    assert value.data_ptr() == conv.weight.data_ptr() == weight.value.data_ptr()
    assert grad.data_ptr() == weight.grad.data_ptr() and not grad.any()
    assert [t.shape for t in bias] == [(3,), (3,)]
    assert Conv2d(2, 3, 3, bias=False).bias is None and len(Conv2d(2, 3, 3, bias=False).param()) == 1


@BOTH
def test_training_through_the_pairs():
    """What a caller writes who knows only the assignment: for value, gradient in net.param()."""
    net = Sequential(Conv2d(1, 4, 3, padding=1), ReLU(), Conv2d(4, 1, 3, padding=1)).to(torch.float64)
    x = normal(8, 1, 6, 6)
    loss, pairs, losses = MSE(), [tuple(p) for p in net.param()], []
    for _ in range(30):
        losses.append(loss(net(x), 0.5 * x).item())
        for _, grad in pairs:
            grad.zero_()
        net.backward(loss.backward())
        for value, grad in pairs:
            value.sub_(0.1 * grad)
    assert losses[-1] < 0.5 * losses[0]


@BOTH
@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d, Upsampling])
def test_assigning_puts_values_in_place(block):
    layer = block(3, 3, (2, 3))
    optimizer = SGD(layer.param(), lr=0.5, momentum=0.9)
    weight, bias = normal(3, 3, 2, 3, dtype=torch.float32), normal(3, dtype=torch.float32)
    pointers = layer.weight.data_ptr(), layer.bias.data_ptr()
    layer.weight, layer.bias = weight, bias
    assert (layer.weight.data_ptr(), layer.bias.data_ptr()) == pointers
    assert torch.equal(layer.weight, weight) and torch.equal(layer.bias, bias)
    for _, grad in layer.param():
        grad.fill_(2)
    optimizer.step()
    torch.testing.assert_close(layer.weight, weight - 1)
    torch.testing.assert_close(layer.bias, bias - 1)
    assert torch.equal(weight, normal(3, 3, 2, 3, dtype=torch.float32))  # the caller's own tensor is not ours

    x = normal(1, 3, 5, 5, dtype=torch.float32)
    torch.testing.assert_close(
        layer(x), functional(block if block is Conv2d else TransposeConv2d, {})(x, *values_of(layer))
    )


@pytest.mark.parametrize(
    "wrong", [(3, 2, 3, 2), (3, 2, 3), (2, 3, 3, 3), (1,), (), (3, 2, 1, 1), (1, 3, 2, 3, 3), (54,)]
)
def test_assigning_a_wrong_shape(wrong):
    conv = Conv2d(2, 3, 3)
    before = conv.weight.clone()
    with pytest.raises(ValueError, match="shape"):
        conv.weight = torch.zeros(wrong)
    assert torch.equal(conv.weight, before)
    with pytest.raises(ValueError, match="shape"):
        conv.bias = torch.zeros(1)


@BOTH
@EVERY_BLOCK
def test_to_moves_values_and_gradients(make, shape):
    block = make()
    before = [v.clone() for v in values_of(block)]
    optimizer = SGD(block.param(), lr=1.0) if before else None
    assert block.to(torch.float64) is block
    for (value, grad), old in zip(block.param(), before, strict=True):
        assert value.dtype == grad.dtype == torch.float64
        assert torch.equal(value, old.double())
    y = block(normal(*shape))
    assert y.dtype == torch.float64
    block.backward(torch.ones_like(y))
    if optimizer:  # made before the move, it still trains these parameters
        grads = [grad.clone() for _, grad in block.param()]
        optimizer.step()
        for value, old, grad in zip(values_of(block), before, grads, strict=True):
            torch.testing.assert_close(value, old.double() - grad, rtol=1e-12, atol=1e-12)
    assert block.to(torch.float32).to(torch.device("cpu")) is block
    assert block(normal(*shape, dtype=torch.float32)).dtype == torch.float32


def test_optimiser_state_moves_along():
    conv = Conv2d(2, 2, 2)
    optimizer = SGD(conv.param(), lr=0.1, momentum=0.9)
    for dtype in (torch.float32, torch.float64):
        conv.to(dtype)
        conv.backward(torch.ones_like(conv(normal(1, 2, 3, 3, dtype=dtype))))
        optimizer.step()
        assert conv.weight.dtype == dtype and conv.weight.isfinite().all()


@given(data=st.data(), seed=SEEDS)
@settings(max_examples=25)
def test_state_dict_is_torchs(data, seed):
    """Same keys, order and shapes; weights move in both directions."""
    (conv, shape), (transpose, _) = data.draw(conv_options()), data.draw(transpose_options())
    transpose["in_channels"] = transpose["groups"] * conv["out_channels"]
    conv["out_channels"] = transpose["in_channels"]
    conv["groups"] = 1
    conv["in_channels"] = shape[-3]
    ours = Sequential(Conv2d(**conv), ReLU(), TransposeConv2d(**transpose), Sigmoid()).to(torch.float64)
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(**conv), torch.nn.ReLU(), torch.nn.ConvTranspose2d(**transpose), torch.nn.Sigmoid()
    ).to(torch.float64)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [(k, v.shape) for k, v in twin.state_dict().items()]

    ours.load_state_dict(twin.state_dict())
    for a, b in zip(values_of(ours), twin.parameters(), strict=True):
        assert torch.equal(a, b.detach())
    for value in values_of(ours):
        value.mul_(2)
    twin.load_state_dict(ours.state_dict(), strict=True)
    for a, b in zip(values_of(ours), twin.parameters(), strict=True):
        assert torch.equal(a, b.detach())


def test_state_dict_holds_copies():
    net = Sequential(Conv2d(1, 2, 3), ReLU())
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias"]
    weight = net[0].weight.clone()
    for value in state.values():
        assert type(value) is torch.Tensor and not value.requires_grad
        value.fill_(7)
    assert torch.equal(net[0].weight, weight)
    net.load_state_dict(state)
    assert (net[0].weight == 7).all()
    for value in state.values():
        value.fill_(9)
    assert (net[0].weight == 7).all() and (net[0].bias == 7).all()
    assert list(net[0].state_dict()) == ["weight", "bias"] and dict(net[1].state_dict()) == {}


def test_load_state_dict_keeps_parameters_dtype_and_optimiser():
    net = Sequential(Conv2d(1, 2, 3))
    optimizer = SGD(net.param(), lr=1.0)
    net.load_state_dict({k: v.double() for k, v in net.state_dict().items()})
    assert net[0].weight.dtype == torch.float32
    before = net[0].weight.clone()
    for _, grad in net.param():
        grad.fill_(1)
    optimizer.step()
    torch.testing.assert_close(net[0].weight, before - 1)


LAST = torch.zeros(1)


REFUSED = {
    "nothing": None,
    "another shape": torch.zeros(()),
    "no tensor": "no tensor",
    "a NumPy array": np.zeros(1),
    "sparse": LAST.to_sparse(),
    "meta": LAST.to("meta"),
    "quantised": lambda: torch.quantize_per_tensor(LAST, 0.1, 0, torch.qint8),
    "mkldnn": LAST.to_mkldnn(),
    "complex": LAST + 0j,
    "bool": LAST.bool(),
    "int": LAST.long(),
    "NaN": LAST / 0,
    "too large": LAST.double() + 1e300,
}
STATES = [
    ({"0.weight": None, "0.bias": None}, r"0\.(weight|bias)"),
    ({"1.weight": torch.zeros(1)}, "1.weight"),
    ({"2.weight": torch.zeros(2, 1, 3)}, "2.weight"),
    ({"2.weight": torch.zeros(2, 1, 3, 1)}, "2.weight"),
    *[pytest.param({"2.bias": last}, "2.bias", id=name) for name, last in REFUSED.items()],
]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("changes, word", STATES)
def test_a_state_is_taken_whole_or_not_at_all(changes, word):
    net = Sequential(Conv2d(1, 2, 3), ReLU(), Upsampling(2, 1, 3))
    before = net.state_dict()
    new = {k: v + 1 for k, v in before.items()}
    wrong = {k: v() if callable(v) else v for k, v in {**new, **changes}.items() if v is not None}
    with pytest.raises((ValueError, TypeError), match=word):
        net.load_state_dict(wrong)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.load_state_dict(new)
    assert all(torch.equal(v, new[k]) for k, v in net.state_dict().items())


# ----------------------------------------------------------------------------------------------------------
# SGD

UNIT = st.floats(0, 0.99) | st.just(0.0)


@st.composite
def sgd_options(draw):
    options = dict(
        lr=draw(st.floats(1e-4, 1)),
        momentum=draw(UNIT),
        dampening=draw(UNIT),
        weight_decay=draw(UNIT),
        nesterov=draw(st.booleans()),
    )
    if options["nesterov"]:
        options.update(momentum=draw(st.floats(0.01, 0.99)), dampening=0)
    return options


@DTYPES
@given(options=sgd_options(), steps=st.integers(1, 6), seed=SEEDS, grad_mode=st.booleans())
@example(dict(lr=0.5, momentum=0.9, dampening=0.5, weight_decay=0.1, nesterov=False), 4, 0, True)
@example(dict(lr=0.5), 3, 0, False)
@example(dict(), 3, 0, False)
def test_sgd_equals_torch(dtype, options, steps, seed, grad_mode):
    net = Sequential(Conv2d(2, 3, 2), Upsampling(3, 1, (1, 2), bias=False)).to(dtype)
    twins = [torch.nn.Parameter(v.to(torch.float64).clone()) for v in values_of(net)]
    ours, reference = SGD(net.param(), **options), torch.optim.SGD(twins, **options)
    draws = generator(seed)
    for _ in range(steps):
        ours.zero_grad()
        for (_, grad), twin in zip(net.param(), twins, strict=True):
            g = torch.randn(twin.shape, generator=draws, dtype=torch.float64).to(dtype)
            grad.add_(g)
            twin.grad = g.to(torch.float64)
        with torch.set_grad_enabled(grad_mode):
            ours.step()
        reference.step()
        for (value, grad), twin in zip(net.param(), twins, strict=True):
            assert_near(value, twin.detach(), dtype, f"{options}")
            assert torch.equal(grad.to(torch.float64), twin.grad)  # a step only reads the gradients
            assert not value.requires_grad


def test_sgd_takes_any_iterable_of_parameters():
    conv = Conv2d(1, 1, 1)
    optimizer = SGD((p for p in conv.param()), lr=1.0)
    before = conv.weight.clone()
    for _ in range(2):
        for _, grad in conv.param():
            grad.fill_(1)
        optimizer.step()
    torch.testing.assert_close(conv.weight, before - 2)


def test_two_optimisers_do_not_share_hyper_parameters():
    first, second = Conv2d(1, 1, 1), Conv2d(1, 1, 1)
    a, b = SGD(first.param(), lr=1.0, momentum=0.5), SGD(second.param(), lr=2.0)
    before = first.weight.clone(), second.weight.clone()
    for layer in (first, second):
        for _, grad in layer.param():
            grad.fill_(1)
    a.step()
    b.step()
    torch.testing.assert_close(first.weight, before[0] - 1)
    torch.testing.assert_close(second.weight, before[1] - 2)


SGD_ERRORS = [
    dict(lr=-0.1),
    dict(momentum=-0.1),
    dict(weight_decay=-0.1),
    dict(nesterov=True),
    dict(nesterov=True, momentum=0),
    dict(nesterov=True, momentum=0.9, dampening=0.1),
]


@pytest.mark.parametrize("options", SGD_ERRORS, ids=str)
def test_sgd_refuses_what_torch_refuses(options):
    with pytest.raises(ValueError):
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **options)
    with pytest.raises(ValueError, match="lr|learning|momentum|weight_decay|nesterov|dampening"):
        SGD(Conv2d(1, 1, 1).param(), **options)

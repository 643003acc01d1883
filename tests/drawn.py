"""Convolutions drawn at random, in any layout in memory, and what autograd makes of them."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from Proj_Miniproject2.model import Conv2d

# Relative to the largest value of the reference tensor.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = st.sampled_from(["contiguous", "channels_last", "sliced", "transposed", "offset", "expanded"])


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def lay_out(t, layout):
    """A tensor of t's shape with the strides that the layout names (and t's values, but for "expanded")."""
    if layout == "channels_last":
        return t.movedim(-3, -1).contiguous().movedim(-1, -3)
    if layout == "sliced":  # every second row and column of a larger tensor whose rest is NaN
        larger = torch.full((*t.shape[:-2], 2 * t.shape[-2], 2 * t.shape[-1]), math.nan, dtype=t.dtype)
        larger[..., ::2, 1::2] = t
        return larger[..., ::2, 1::2]
    if layout == "transposed":
        return t.mT.contiguous().mT
    if layout == "offset":
        return torch.cat([torch.full((3,), math.nan, dtype=t.dtype), t.flatten()])[3:].view(t.shape)
    if layout == "expanded":  # strides of zero, as the gradient of a sum has them
        return t[..., :1, :1].expand(t.shape)
    return t.contiguous()


def assert_near(ours, reference, dtype, what, scale=0.0, torchs=None):
    """max |ours - reference| <= tolerance * max(max |reference|, scale), or twice the error of torch's result."""
    assert ours.shape == reference.shape, what
    assert ours.dtype == dtype, what
    if reference.numel() == 0:
        return
    error = (ours.to(torch.float64) - reference).abs().max().item()
    scale = max(reference.abs().max().item(), scale)
    bound = TOLERANCE[dtype] * scale
    if torchs is not None:
        bound = max(bound, 2 * (torchs.to(torch.float64) - reference).abs().max().item())
    assert error <= bound, f"{what}: error {error:.2e} at scale {scale:.2e}"  # NaN fails too


def by_autograd(function, x, parameters, grad, dtype=torch.float64):
    """function(x, *parameters) and, with grad the output's gradient, those of x and of every parameter."""
    with torch.enable_grad():
        leaves = [t.detach().to(dtype).clone().requires_grad_() for t in (x, *parameters)]
        y = function(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(dtype).contiguous())]


def run(block, x, grad):
    """[output, input gradient, parameter gradients], after a look that no argument changed or graph arose."""
    x_before, grad_before = x.detach().clone(), grad.detach().clone()
    y = block(x)
    grad_x = block.backward(grad)
    assert torch.equal(x.detach(), x_before) and torch.equal(grad.detach(), grad_before)
    results = [y, grad_x, *(p_grad for _, p_grad in block.param())]
    assert not any(t.requires_grad for t in results)
    return results


def assert_accumulates(block, grad):
    """A second backward pass makes the parameters' gradients twice what they are, without halves to the last digit."""
    once = [p_grad.clone() for _, p_grad in block.param()]
    block.backward(grad)
    for (_, p_grad), value in zip(block.param(), once, strict=True):
        rounding = 2**-6 if value.dtype.itemsize < 4 else 0
        torch.testing.assert_close(p_grad, 2 * value, rtol=rounding, atol=0, equal_nan=True)


def values_of(block):
    return [value for value, _ in block.param()]


def set_parameters(block, weight, bias):
    block.weight = weight
    if bias is not None:
        block.bias = bias


def ints_or_pairs(low, high):
    v = st.integers(low, high)
    return v | st.tuples(v, v)


def pair(v):
    return v if isinstance(v, tuple) else (v, v)


@st.composite
def conv_options(draw):
    """(options, input shape) of a Conv2d whose output has at least one pixel."""
    groups = draw(st.integers(1, 3))
    options = dict(
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        kernel_size=draw(ints_or_pairs(1, 4)),
        stride=draw(ints_or_pairs(1, 5)),
        padding=draw(ints_or_pairs(0, 3) | st.sampled_from(["same", "valid"])),
        dilation=draw(ints_or_pairs(1, 3)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    padding = options["padding"]
    if padding == "same":
        options["stride"] = draw(st.sampled_from([1, (1, 1)]))
    spans = [d * (k - 1) + 1 for d, k in zip(pair(options["dilation"]), pair(options["kernel_size"]), strict=True)]
    padded = [s - 1 for s in spans] if padding == "same" else [0, 0]
    if not isinstance(padding, str):
        padded = [2 * p for p in pair(padding)]
    size = [max(1, s - p) + draw(st.integers(0, 6)) for s, p in zip(spans, padded, strict=True)]
    return options, (*draw_batch(draw), options["in_channels"], *size)


@st.composite
def transpose_options(draw):
    """(options, input shape) of a TransposeConv2d whose output has at least one pixel."""
    groups = draw(st.integers(1, 3))
    kernel, stride, padding = draw(ints_or_pairs(1, 4)), draw(ints_or_pairs(1, 5)), draw(ints_or_pairs(0, 3))
    dilation = draw(ints_or_pairs(1, 3))
    limits = [max(s, d) - 1 for s, d in zip(pair(stride), pair(dilation), strict=True)]
    output_padding = draw(st.integers(0, min(limits)) | st.tuples(st.integers(0, limits[0]), st.integers(0, limits[1])))
    options = dict(
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilation,
    )
    size = []
    for k, s, p, o, d in zip(*map(pair, (kernel, stride, padding, output_padding, dilation)), strict=True):
        smallest = max(1, 1 + math.ceil((2 * p - d * (k - 1) - o) / s))  # (H - 1) s - 2 p + d (k - 1) + o + 1 >= 1
        size.append(smallest + draw(st.integers(0, 5)))
    return options, (*draw_batch(draw), options["in_channels"], *size)


def draw_batch(draw):
    """What stands before the channels: a batch of none, one or more, or nothing at all."""
    return draw(st.sampled_from([(), (0,), (1,), (2,), (5,)]))


def functional(block, options):
    """torch's function (x, weight[, bias]) for a block with these options."""
    if block is Conv2d:
        names, function = ("stride", "padding", "dilation", "groups"), F.conv2d
    else:
        names, function = ("stride", "padding", "output_padding", "groups", "dilation"), F.conv_transpose2d
    kwargs = {name: options[name] for name in names if name in options}
    return lambda x, weight, bias=None: function(x, weight, bias, **kwargs)


def check_convolution(block, options, shape, dtype, seed=0, x_layout="contiguous", grad_layout="contiguous"):
    """Output and all gradients of a block with random parameters on a random input, against autograd.

    Where sums happen to cancel there is nothing to be relative to; the scale is then the size that such a sum
    of random terms has, the root of the same sum of squares. It matters only for tensors of a few numbers. And where
    many equal numbers add up (the layout "expanded"), roundings in float32 do so too, in torch as in ours.
    """
    layer = block(**options).to(dtype)
    draws = generator(seed)
    parameters = [torch.randn(v.shape, generator=draws, dtype=torch.float64).to(dtype) for v in values_of(layer)]
    set_parameters(layer, parameters[0], parameters[1] if options.get("bias", True) else None)
    function = functional(block, options)

    x = lay_out(torch.randn(shape, generator=draws, dtype=torch.float64).to(dtype), x_layout)
    out_shape = function(x.to(torch.float64), *(p.to(torch.float64) for p in parameters)).shape
    grad = lay_out(torch.randn(out_shape, generator=draws, dtype=torch.float64).to(dtype), grad_layout)

    ours = run(layer, x, grad)
    reference = by_autograd(function, x.contiguous(), parameters, grad)
    squares = by_autograd(function, x.contiguous() ** 2, [p**2 for p in parameters], grad**2)
    torchs = by_autograd(function, x.contiguous(), parameters, grad, dtype)
    names = ["output", "input gradient", "weight gradient", "bias gradient"][: len(ours)]
    for name, a, b, sq, t in zip(names, ours, reference, squares, torchs, strict=True):
        scale = sq.max().sqrt().item() if sq.numel() else 0.0
        assert_near(a, b, dtype, f"{name} of {layer} on {tuple(shape)}", scale, t)
    assert_accumulates(layer, grad)

"""The blocks and the optimiser against torch's own: torch.nn, autograd in float64, torch.optim."""

import inspect
import math

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
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    TransposeConv2d,
    Upsampling,
)
from Proj_Miniproject2.others.fast import convolution, maps
from Proj_Miniproject2.others.training.optimizers import Adam, Muon, RowMuon

from .twins import twin as twin_of

BOTH = pytest.mark.usefixtures("put_in")  # with the fast convolutions and with the textbook's
# Relative to the largest value of the reference tensor.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = st.sampled_from(["contiguous", "channels_last", "sliced", "transposed", "offset", "expanded"])

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


# ----------------------------------------------------------------------------------------------------------
# Helpers


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


def values_of(block):
    return [value for value, _ in block.param()]


def set_parameters(block, weight, bias):
    block.weight = weight
    if bias is not None:
        block.bias = bias


# ----------------------------------------------------------------------------------------------------------
# Convolutions: options drawn at random


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


@BOTH
@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d, Upsampling])
@DTYPES
@settings(max_examples=100)
@given(data=st.data(), seed=SEEDS, x_layout=LAYOUTS, grad_layout=LAYOUTS, grad_mode=st.booleans())
def test_convolutions_equal_autograd(block, dtype, data, seed, x_layout, grad_layout, grad_mode):
    options, shape = data.draw(conv_options() if block is Conv2d else transpose_options())
    with torch.set_grad_enabled(grad_mode):
        check_convolution(block, options, shape, dtype, seed, x_layout, grad_layout)


@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
@DTYPES
@settings(max_examples=100)
@given(data=st.data(), seed=SEEDS, chunk=st.sampled_from([1, 200, 2**21]), x_layout=LAYOUTS, grad_layout=LAYOUTS)
def test_minimal_filtering_equals_autograd(block, dtype, data, seed, chunk, x_layout, grad_layout):
    """As above, by minimal filtering wherever the options allow it, and with the batch cut into pieces."""
    options, shape = data.draw(conv_options() if block is Conv2d else transpose_options())
    options.update(groups=1, dilation=1, kernel_size=data.draw(ints_or_pairs(2, 6)))
    if block is TransposeConv2d:  # what is left of the drawn sizes must still make an image
        options.update(output_padding=0, padding=0)
    elif options["padding"] != "same":
        kernel, padding = pair(options["kernel_size"]), options["padding"]
        padding = (0, 0) if padding == "valid" else pair(padding)
        missing = [max(0, k - 2 * p - n) for k, p, n in zip(kernel, padding, shape[-2:], strict=True)]
        shape = (*shape[:-2], shape[-2] + missing[0], shape[-1] + missing[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "MANY_CHANNELS", 1)
        patch.setattr(convolution, "MANY_PIXELS", 0)
        patch.setattr(convolution, "FEWER", 99)
        patch.setattr(maps.Maps, "piece", chunk)
        check_convolution(block, options, shape, dtype, seed, x_layout, grad_layout)


# ----------------------------------------------------------------------------------------------------------
# Convolutions wide enough for whatever fast path there is


@st.composite
def wide_options(draw, transposed):
    """(options, input shape) with many channels, images up to 40 x 40, a batch that 2e8 products allow."""
    channels = [(64, 96), (32, 48), (48, 32), (33, 70), (8, 40), (128, 3), (3, 64)]
    c_in, c_out = draw(st.sampled_from(channels))
    kernel = draw(st.sampled_from([(4, 4), (5, 5), (3, 3), (2, 2), (6, 6), (7, 7), (1, 1), (4, 5), (5, 3)]))
    stride, padding = draw(st.sampled_from([2, 2, 1, 3, 4, (1, 2), (3, 2)])), draw(st.integers(0, 3))
    options = dict(in_channels=c_in, out_channels=c_out, kernel_size=kernel, stride=stride, padding=padding)
    variant = draw(st.sampled_from(["plain", "plain", "plain", "groups", "dilation", "no bias"]))
    if variant == "groups" and c_in % 2 == c_out % 2 == 0:
        options["groups"] = 2
    elif variant == "dilation":
        options["dilation"] = 2
    elif variant == "no bias":
        options["bias"] = False

    size, pixels = [], 1
    for k, s in zip(kernel, pair(stride), strict=True):
        span = options.get("dilation", 1) * (k - 1) + 1
        if transposed:
            smallest = max(1, 1 + math.ceil((2 * padding + 1 - span) / s))
            size.append(draw(st.integers(smallest, max(smallest, 40 // s))))
            pixels *= size[-1]
        else:
            size.append(draw(st.integers(max(1, span - 2 * padding), 40)))
            pixels *= (size[-1] + 2 * padding - span) // s + 1
    if transposed and draw(st.booleans()):
        options["output_padding"] = min(pair(stride)) - 1
    products = pixels * math.prod(kernel) * c_in * c_out // options.get("groups", 1)
    batch = min(draw(st.sampled_from([1, 2, 3, 8, 20])), max(1, 2 * 10**8 // products))
    return options, (batch, c_in, *size)


@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
@settings(max_examples=20)
@given(data=st.data(), seed=SEEDS, x_layout=LAYOUTS, grad_layout=LAYOUTS)
def test_wide_convolutions_equal_autograd(block, data, seed, x_layout, grad_layout):
    options, shape = data.draw(wide_options(block is TransposeConv2d))
    for dtype in TOLERANCE:
        check_convolution(block, options, shape, dtype, seed, x_layout, grad_layout)


@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
@settings(max_examples=20)
@given(data=st.data(), seed=SEEDS)
def test_wide_convolutions_in_bfloat16(block, data, seed):
    """Numbers rounded to 8 bits are wrong by up to 2^-9; minimal filtering makes some 12 times that of it."""
    options, shape = data.draw(wide_options(block is TransposeConv2d))
    layer, draws = block(**options), generator(seed)
    layer.precision = torch.bfloat16
    x = torch.randn(shape, generator=draws)
    grad = torch.randn(layer(x).shape, generator=draws)
    function, parameters = functional(block, options), [v.to(torch.float64) for v in values_of(layer)]
    reference = by_autograd(function, x, parameters, grad)
    squares = by_autograd(function, x**2, [p**2 for p in parameters], grad**2)
    for ours, exact, square in zip(run(layer, x, grad), reference, squares, strict=True):
        error, scale = (ours - exact).norm(), torch.maximum(exact.norm(), square.sum().sqrt())
        assert ours.dtype == torch.float32 and error <= 0.03 * scale, f"{options} on {shape}: {error / scale:.1e}"


@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
@pytest.mark.parametrize(
    "channels, groups, rounded",
    [((3, 64), 1, False), ((64, 31), 1, False), ((32, 32), 1, True), ((64, 64), 4, False), ((64, 96), 2, True)],
)
def test_a_precision_rounds_where_there_are_many_channels(block, channels, groups, rounded):
    layer = block(*channels, 3, groups=groups)
    x = torch.randn(2, channels[0], 8, 8, generator=generator(0))
    exact = layer(x)
    layer.precision = torch.bfloat16
    assert torch.equal(layer(x), exact) != rounded


@DTYPES
@pytest.mark.parametrize(
    "block, arguments, shape",
    [
        # the network's four layers on the course's images, and on odd ones
        (Conv2d, (3, 64, (4, 4), 2, 2), (20, 3, 32, 32)),
        (Conv2d, (64, 256, (4, 4), 2, 2), (8, 64, 17, 17)),
        (Conv2d, (64, 256, (4, 4), 2, 2), (5, 64, 19, 22)),
        (TransposeConv2d, (256, 128, (5, 5), 2, 2), (8, 256, 9, 9)),
        (TransposeConv2d, (256, 128, (5, 5), 2, 2), (7, 256, 7, 12)),
        (TransposeConv2d, (128, 3, (4, 4), 2, 2), (20, 128, 17, 17)),
        # as large as the tests go, and the smallest there is
        (Conv2d, (64, 96, (4, 4), 2, 2), (20, 64, 39, 37)),
        (Conv2d, (64, 96, (5, 5), 2, 2), (5, 64, 40, 31)),
        (Conv2d, (64, 96, (5, 5), 2, 2), (20, 64, 1, 1)),
        (Conv2d, (96, 64, 3, 1, 1), (4, 96, 23, 21)),
        (Conv2d, (64, 64, (5, 5), 3, 1), (3, 64, 29, 40)),
        (TransposeConv2d, (64, 96, (4, 4), 2, 2), (20, 64, 20, 19)),
        (TransposeConv2d, (96, 64, 3, 1, 1), (4, 96, 21, 23)),
        (TransposeConv2d, (64, 64, (5, 5), 3, 1), (3, 64, 10, 13)),
        (TransposeConv2d, (64, 96, (5, 5), 2, 2, 1), (20, 64, 1, 1)),
        # a batch of none, and a single image
        (Conv2d, (64, 96, (4, 4), 2, 2), (0, 64, 17, 17)),
        (TransposeConv2d, (96, 64, (5, 5), 2, 2), (0, 96, 9, 9)),
        (Conv2d, (64, 96, (4, 4), 2, 2), (64, 50, 45)),
        (TransposeConv2d, (96, 64, (5, 5), 2, 2), (96, 23, 25)),
    ],
    ids=lambda v: "x".join(map(str, v)).replace(" ", "") if isinstance(v, tuple) else getattr(v, "__name__", None),
)
def test_wide_convolutions_at_chosen_shapes(block, arguments, shape, dtype):
    names = list(inspect.signature(block.__init__).parameters)[1:]
    check_convolution(block, dict(zip(names, arguments, strict=False)), shape, dtype)


@pytest.mark.parametrize("kernel, stride", [(3, 1), (4, 2), (5, 2)])
@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
def test_images_with_an_offset_keep_float32_accuracy(block, kernel, stride):
    """Large inputs that cancel to small outputs, as behind a ReLU: where transforms lose digits."""
    for seed in range(3):
        draws = generator(seed)
        layer = block(64, 96, kernel, stride, padding=2)
        layer.weight = torch.rand(layer.weight.shape, generator=draws) * 0.1 - 0.05
        x = torch.rand(4, 64, 27, 29, generator=draws) + 3
        grad = torch.rand(layer(x).shape, generator=draws) + 3
        ours = run(layer, x, grad)
        function = functional(block, dict(stride=stride, padding=2))
        for a, b in zip(ours, by_autograd(function, x, values_of(layer), grad), strict=True):
            assert_near(a, b, torch.float32, f"{layer}, {tuple(b.shape)}")


@BOTH
@pytest.mark.parametrize(
    "channels, kernel, stride, size, read",
    [(64, 4, 2, 33, 32), (64, 3, 2, 34, 33), (16, 6, 3, 35, 33), (64, 3, (1, 2), 34, (34, 33)), (3, 3, 2, 34, 33)],
)
def test_pixels_that_no_output_reads_change_nothing(channels, kernel, stride, size, read):
    """Not even infinite ones: the last rows and columns, where the stride doesn't fit the size. Their gradient is 0."""
    height, width = pair(read)
    conv, x = Conv2d(channels, 64, kernel, stride), normal(4, channels, size, size, seed=0, dtype=torch.float32)
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

    once = gradients(x1, g1)
    block.backward(g1)
    for (_, grad), b in zip(block.param(), once, strict=True):
        assert_near(grad, 2 * b, torch.float64, "two backward passes of one forward pass")

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
    twin = twin_of(net)
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


def test_sequentials_nest():
    inner = Sequential(Conv2d(2, 3, 3), Sigmoid())
    net = Sequential(inner, Upsampling(3, 2, 3, 2)).to(torch.float64)
    twin = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Sigmoid()),
        torch.nn.ConvTranspose2d(3, 2, 3, 2),
    ).to(torch.float64)
    net.load_state_dict(twin.state_dict())
    assert list(net.state_dict()) == list(twin.state_dict()) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    x = normal(2, 2, 5, 6)
    grad = normal(*twin(x).shape, seed=1)
    for a, b in zip(run(net, x, grad), by_autograd(lambda x: twin(x), x, [], grad), strict=False):
        assert_near(a, b, torch.float64, "nested")


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
    text = "".join(repr(net).split()).replace(",)", ")")
    assert text.startswith("Sequential(Conv2d(3,64,(4,4),stride=2,padding=2),ReLU(),Conv2d(64,256,(4,4),stride=2")
    assert text.endswith("Upsampling(128,3,(4,4),stride=2,padding=2),Sigmoid())")
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


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"2.bias": None}, "2.bias"),
        ({"0.weight": None, "0.bias": None}, r"0\.(weight|bias)"),
        ({"1.weight": torch.zeros(1)}, "1.weight"),
        ({"2.weight": torch.zeros(2, 1, 3)}, "2.weight"),
        ({"2.bias": torch.zeros(())}, "2.bias"),
        ({"2.weight": torch.zeros(2, 1, 3, 1)}, "2.weight"),
        ({"2.bias": "no tensor"}, "2.bias"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_load_state_dict_is_strict_and_all_or_nothing(changes, word):
    net = Sequential(Conv2d(1, 2, 3), ReLU(), Upsampling(2, 1, 3))
    before = net.state_dict()
    new = {k: v + 1 for k, v in before.items()}
    wrong = {k: v for k, v in {**new, **changes}.items() if v is not None}
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


def test_sgd_refuses_an_empty_list():
    with pytest.raises(ValueError, match="param"):
        SGD([])

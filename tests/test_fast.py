"""Convolutions in less time: each kind of maps against autograd, which layers take it, and what this machine does."""

import inspect
import math
import platform
import subprocess
import sys
from itertools import cycle, product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Proj_Miniproject2.model import Conv2d, Model, TransposeConv2d
from Proj_Miniproject2.others.fast import convolution, machine, maps
from Proj_Miniproject2.others.fast.minimal_filtering import TILES, MinimalFiltering
from Proj_Miniproject2.others.networks import ResNet, UNet

from .drawn import (
    DTYPES,
    LAYOUTS,
    SEEDS,
    TOLERANCE,
    assert_near,
    by_autograd,
    check_convolution,
    conv_options,
    functional,
    generator,
    ints_or_pairs,
    normal,
    pair,
    run,
    transpose_options,
    values_of,
)
from .twins import assert_equals_twin

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


@pytest.mark.parametrize("block", [Conv2d, TransposeConv2d])
@DTYPES
@settings(max_examples=100)
@given(data=st.data(), seed=SEEDS, chunk=st.sampled_from([1, 200, 2**21]), x_layout=LAYOUTS, grad_layout=LAYOUTS)
def test_minimal_filtering_equals_autograd(block, dtype, data, seed, chunk, x_layout, grad_layout):
    """As above, by minimal filtering wherever the options allow it, and with batches and images cut into parts."""
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
        patch.setattr(MinimalFiltering, "piece", chunk)
        check_convolution(block, options, shape, dtype, seed, x_layout, grad_layout)


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


# ----------------------------------------------------------------------------------------------------------
# Kinds of maps


def maps_for(layer, n, size, backward=False):
    """The maps that a layer takes for n images, on the way forward or backward."""
    makes_x = layer.x_and_y(backward, not backward)[0]
    return convolution.maps_for(layer, n, layer.geometry(size), makes_x)


def maps_of(layer, n, size, backward=False):
    """The class of the maps that a layer takes for n images, and of what is inside where they are turned."""
    found = maps_for(layer, n, (size, size), backward)
    return (type(found), type(found.maps)) if isinstance(found, maps.Turned) else (type(found),)


def test_each_kind_of_maps_has_its_layers():
    assert maps_of(Conv2d(64, 64, 3), 1, 8) == (maps.Patches,)  # a small single image
    assert maps_of(Conv2d(64, 64, 3), 1, 64) == (MinimalFiltering,)
    assert maps_of(Conv2d(64, 64, 3).to(torch.bfloat16), 1, 64) == (maps.Patches,)
    assert maps_of(Conv2d(64, 64, 1), 4, 64) == (maps.Patches,)
    for layer, ways in (
        (Conv2d(32, 32, 5), [(maps.Rows,), (maps.Turned, maps.Rows)]),
        (TransposeConv2d(32, 32, 5), [(maps.Turned, maps.Rows), (maps.Rows,)]),
        (Conv2d(32, 33, 5), [(maps.Rows,)] * 2),
        (Conv2d(64, 64, 3), [(MinimalFiltering,)] * 2),
    ):
        assert [maps_of(layer, 4, 64, backward) for backward in (False, True)] == ways
    assert maps_of(Conv2d(64, 64, 3, groups=64), 4, 64) == (maps.Shifts,)
    assert maps_of(Conv2d(48, 3, 3), 4, 64) == (maps.Turned, maps.Patches)
    assert maps_of(TransposeConv2d(48, 3, 3), 4, 64) == (maps.Patches,)
    assert maps_of(TransposeConv2d(30, 90, 5), 4, 64) == (maps.Turned, maps.Rows)


@given(height=st.integers(3, 40), width=st.integers(3, 40), kernel_size=st.sampled_from([2, 3]))
def test_tiles_of_minimal_filtering_take_the_fewest_products(height, width, kernel_size):
    layer = Conv2d(8, 8, kernel_size)
    arguments = layer.geometry((height, width)), layer.weight, torch.float32
    chosen, others = MinimalFiltering(*arguments), product(TILES, repeat=2)
    assert chosen.numel() == min(MinimalFiltering(*arguments, tile).numel() for tile in others)


@pytest.mark.parametrize("makes_x", [False, True])
def test_parts_of_an_image_take_its_tiles(makes_x):
    """Rows that alone would be covered best by tiles of 3: the weight is lifted for those of 4."""
    layer = Conv2d(8, 8, 3, padding=1)
    found = MinimalFiltering(layer.geometry((16, 16)), layer.weight, torch.float32)
    found.piece = 1
    parts = [part for part, *_ in convolution.parts(found, 1, makes_x)]
    assert len(parts) == 16 and {part.key for part in parts} == {found.key}


@pytest.mark.parametrize("transposed", [False, True])
@given(
    rows=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 6),
    padding=st.integers(0, 9),
    dilation=st.integers(1, 3),
    most=st.sampled_from([1, 500, 10**9]),
    n=st.integers(0, 5),
    makes_x=st.booleans(),
)
def test_parts_are_the_whole(transposed, rows, kernel, stride, padding, dilation, most, n, makes_x):
    """What is made is covered once, and each part meets all that it must."""
    block = TransposeConv2d if transposed else Conv2d
    layer = block(2, 3, kernel, stride, padding, dilation=dilation)
    try:
        geometry = layer.geometry((rows, rows))
    except ValueError:  # the image is too small for these options
        return
    found = maps.Patches(geometry, layer.weight, torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps.Patches, "piece", most)
        parts = list(convolution.parts(found, n, makes_x))
    (height, _), (other, _) = (geometry.x_size, geometry.y_size)[:: 1 if makes_x else -1]
    seen = torch.zeros(n, height)
    for _, made, (images, met) in parts:
        seen[made] += 1
        assert images == made[0] and len(range(n)[images]) * len(range(height)[made[1]]) == seen[made].numel()
        for i in range(height)[made[1]]:
            for k in range(kernel):
                to_y, to_x = divmod(i + padding - dilation * k, stride), (stride * i + dilation * k - padding, 0)
                j, rest = to_y if makes_x else to_x
                assert rest or not 0 <= j < other or j in range(other)[met]
    assert (seen == 1).all() and len(parts) == {1: n * height, 10**9: min(n, 1)}.get(most, len(parts))


CHANNELS = st.integers(1, 6)


KINDS = [(maps.Rows,), (maps.Shifts,), (maps.Turned, maps.Rows), (maps.Turned, maps.Patches)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(
    transposed=st.booleans(),
    channels=st.tuples(CHANNELS, CHANNELS),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    n=st.integers(2, 4),
    chunk=st.sampled_from([1, 3000, 2**23]),
)
@settings(max_examples=60)
def test_each_kind_of_maps_equals_torch(
    kind, transposed, channels, groups, kernel, stride, dilation, padding, size, n, chunk
):
    few, many = sorted(channels)
    stride, groups = {maps.Rows: ((1, stride[1]), groups), maps.Shifts: (stride, few)}.get(kind[0], ((1, 1), 1))
    if kind == (maps.Rows,):
        c, o, kernel = groups * channels[0], groups * channels[1], (kernel[0] + 1, kernel[1])
    elif kind == (maps.Shifts,):
        c = o = few
    else:
        c, o = many + few, few
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MANY_PIXELS": 0, "ROW": 99 if maps.Patches in kind else 1}.items():
            patch.setattr(convolution, name, value)
        for some in (maps.Maps, maps.Rows):
            patch.setattr(some, "piece", chunk)
        patch.setattr(convolution, "MANY_CHANNELS", 99)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        layer = TransposeConv2d(o, c, kernel, **options) if transposed else Conv2d(c, o, kernel, **options)
        try:
            layer.output_size(size)
        except ValueError:  # the image is too small for these options
            return
        assert kind[0] is maps.Rows or type(maps_for(layer, n, size)) is kind[0]
        assert_equals_twin(layer.to(torch.float64), normal(n, layer.in_channels, *size), 1e-11)


# ----------------------------------------------------------------------------------------------------------
# The machine


@pytest.fixture(params=[0.5, 0.9, 1.5])
def ratio(request, monkeypatch):
    """The time of the second of two functions that the machine measures, by that of the first."""
    lapses, now = cycle([0, 1, 0, request.param]), 0

    def clock():
        nonlocal now
        now += next(lapses)
        return now

    monkeypatch.setattr(machine.time, "perf_counter", clock)
    return request.param


def test_auto_takes_bfloat16_where_it_is_measured_to_be_much_faster(ratio):
    expected = torch.bfloat16 if ratio == 0.5 else torch.float32
    assert machine.fastest_dtype.__wrapped__(torch.device("cpu")) == expected


RESERVED = """
import resource, torch
from Proj_Miniproject2.others.fast.machine import keep_memory
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
last = keep_memory()
blocks = [torch.empty(30 * 2**20, dtype=torch.uint8) for _ in range(12)]
print(sum(block.data_ptr() < last.data_ptr() for block in blocks), peak() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_large_blocks_come_from_below_one_that_stays():
    """So what is freed is never at the heap's end, from which malloc gives it back. None takes memory unused: KiB."""
    done = subprocess.run([sys.executable, "-c", RESERVED], cwd=ROOT, capture_output=True, text=True, check=True)
    below, taken = map(int, done.stdout.split())
    assert below == 12 and taken < 2**15


def test_minimal_filtering_in_bfloat16_where_it_is_measured_to_pay(ratio, monkeypatch):
    cpu, layer = torch.device("cpu"), Conv2d(64, 64, 3)
    pays = convolution.filtering_pays.__wrapped__
    monkeypatch.setattr(convolution, "filtering_pays", lambda make, device: pays(make, cpu))
    assert maps_of(layer, 4, 64) == (MinimalFiltering,)
    layer.precision = torch.bfloat16
    assert maps_of(layer, 4, 64) == (MinimalFiltering if ratio > 1 else maps.Rows,)


@pytest.fixture
def in_bfloat16(monkeypatch):
    """On a machine that multiplies faster so."""
    monkeypatch.setattr(convolution, "fastest_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(convolution, "filtering_pays", lambda make, device: True)
    monkeypatch.setattr(UNet, "VIEWS", 1)


def rounded(model):
    return any(vars(module).get("rounded") for module in model.network.modules())


@pytest.mark.parametrize("make, expected", [(Model, False), (UNet, True), (ResNet, True)])
def test_larger_networks_predict_in_bfloat16(make, expected, in_bfloat16, monkeypatch):
    torch.manual_seed(0)
    model, images = make(), torch.rand(2, 3, 60, 68, generator=generator(0)) * 255
    found, filtered, choose = model.predict(images), set(), convolution.maps_for

    def chosen(layer, *arguments):
        maps = choose(layer, *arguments)
        if isinstance(maps, MinimalFiltering):
            filtered.add((min(layer.x_channels, layer.y_channels), maps.dtype))
        return maps

    monkeypatch.setattr(convolution, "maps_for", chosen)
    assert torch.equal(model.predict(images), found)
    dtype, channels = (torch.bfloat16, (128, 256)) if expected else (torch.float32, (64, 128))
    assert filtered == ({(c, dtype) for c in channels} if make is not ResNet else set())  # as it rounds most
    monkeypatch.setattr(convolution, "fastest_dtype", lambda device: torch.float32)
    exact = model.predict(images)
    assert not rounded(model) and torch.equal(found, exact) != expected
    assert (found - exact).norm() <= 3e-3 * exact.norm()


def test_training_rounds_as_its_recipe_says(in_bfloat16):
    model = ResNet()
    with model.running(precision=torch.float32):
        assert not rounded(model)


def test_who_predicts_at_the_same_time_or_fails_leaves_the_precision_of_others(in_bfloat16):
    torch.manual_seed(0)
    model, images = ResNet(), torch.rand(2, 3, 60, 60, generator=generator(0)) * 255
    model.BATCH_PIXELS = 1  # a piece for each image
    whole, x = model.predict(images), images[:1] / 255
    exact = model.network(x)
    pieces = model.pieces(images)
    first = next(pieces)[1]
    assert rounded(model) and torch.equal(first.clamp(0, 255), whole[:1])
    model.predict(images)  # another one comes, and is done
    with pytest.raises(ZeroDivisionError):
        model.predict(images, progress=lambda pieces: 1 / 0)
    assert torch.equal(next(pieces)[1].clamp(0, 255), whole[1:])
    pieces.close()
    assert not rounded(model) and torch.equal(model.network(x), exact)

"""Trees of modules: Skip, nested networks, U-Net and ResNet against torch; and how far an output pixel sees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Proj_Miniproject2.model import (
    SGD,
    Conv2d,
    Convolution,
    Model,
    NearestUpsampling,
    ReLU,
    Sequential,
    Sigmoid,
    Skip,
    Upsampling,
    xavier,
)
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.fast import convolution
from Proj_Miniproject2.others.fast.convolution import setting
from Proj_Miniproject2.others.formats.files import save
from Proj_Miniproject2.others.networks import (
    NETWORKS,
    VARIANTS,
    ConcatenatingUNet,
    NarrowUNet,
    PhotoUNet,
    ShallowUNet,
    UNet,
    VeryNarrowUNet,
    take_common_channels,
)

from .drawn import normal
from .textbook import take_out
from .twins import assert_equals_twin

NEAR = 255e-5
BOTH = pytest.mark.usefixtures("put_in")  # with the fast convolutions and with the textbook's


# ----------------------------------------------------------------------------------------------------------
# Skip


@st.composite
def branches(draw, channels, depth):
    """Modules that keep the shape of `channels` channels; inside, up to `depth` skips one in another."""
    modules = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "relu", "sigmoid", "up", "skip", "cat"] if depth else ["conv", "relu"]))
        if kind == "conv":
            k = draw(st.sampled_from([1, 3]))
            modules.append(Conv2d(channels, channels, k, padding=k // 2, bias=draw(st.booleans())))
        elif kind == "up":
            modules += [Conv2d(channels, 3, 2, stride=2), NearestUpsampling(2), Upsampling(3, channels, 1)]
        elif kind == "skip":
            modules.append(Skip(*draw(branches(channels, depth - 1))))
        elif kind == "cat":
            modules += [Skip(*draw(branches(channels, depth - 1)), cat=True), Conv2d(2 * channels, channels, 1)]
        else:
            modules.append(ReLU() if kind == "relu" else Sigmoid())
    return modules


@BOTH
@given(st.data(), st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from([(), (1,), (3,)]))
@settings(max_examples=60)
def test_skips_equal_torch(data, channels, cat, closes_with_relu, batch):
    modules = data.draw(branches(channels, 3)) + [ReLU()] * closes_with_relu
    network = Sequential(Skip(*modules, cat=cat)).to(torch.float64)
    height, width = (2 * data.draw(st.integers(1, 4)) for _ in range(2))
    assert_equals_twin(network, normal(*batch, channels, height, width))


def test_the_sum_of_a_skip_leaves_its_branch_alone():
    """The branch's last block keeps its output for backward: to add the input to it in place would corrupt that."""
    network, x = Skip(ReLU()), torch.tensor([[[-2.0, 3.0]]])
    assert network(x).tolist() == [[[-2.0, 6.0]]]
    assert network.backward(torch.ones_like(x)).tolist() == [[[1.0, 2.0]]]


@pytest.mark.parametrize("cat", [False, True])
def test_shapes_that_do_not_fit_are_both_named(cat):
    wrong = Conv2d(4, 4, 3) if cat else Conv2d(4, 5, 3, padding=1)
    made = r"\(2, 4, 6, 6\)" if cat else r"\(2, 5, 8, 8\)"
    with pytest.raises(ValueError, match=rf"\(2, 4, 8, 8\).*{made}"):
        Skip(wrong, cat=cat)(torch.zeros(2, 4, 8, 8))


# ----------------------------------------------------------------------------------------------------------
# Trees


def nested():
    return Sequential(Conv2d(3, 4, 3), Sequential(ReLU(), Skip(Conv2d(4, 4, 1), cat=True)), Upsampling(8, 3, 3))


def test_names_and_shapes_are_torchs():
    network = nested()
    names = ["0.weight", "0.bias", "1.1.branch.0.weight", "1.1.branch.0.bias", "2.weight", "2.bias"]
    assert list(network.state_dict()) == names == list(to_torch(network).state_dict())
    assert [type(module) for module in network.modules()] == [
        *(Sequential, Conv2d, Sequential, ReLU, Skip, Sequential, Conv2d, Upsampling)
    ]
    assert_equals_twin(network.to(torch.float64), normal(2, 3, 7, 6))


def test_repr_is_indented_and_makes_the_same_network():
    network = nested()
    assert repr(network) == (
        "Sequential(\n  Conv2d(3, 4, (3, 3)),\n  Sequential(\n    ReLU(),\n    Skip(\n      Conv2d(4, 4, (1, 1)),\n"
        "      cat=True,\n    ),\n  ),\n  Upsampling(8, 3, (3, 3)),\n)"
    )
    again = eval(repr(network))
    assert repr(again) == repr(network) and list(again.state_dict()) == list(network.state_dict())
    assert [repr(Sequential()), repr(Skip()), repr(Skip(cat=True))] == ["Sequential()", "Skip()", "Skip(cat=True)"]


def test_everything_reaches_nested_layers():
    network = nested().to(torch.float64)
    layers = [module for module in network.modules() if isinstance(module, Convolution)]
    assert all(layer.weight.dtype == torch.float64 for layer in layers)
    before = network.state_dict()
    xavier(network)
    assert all((layer.bias == 0).all() for layer in layers)
    assert not any(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    with setting(network, frozen=True, precision=torch.bfloat16):
        assert all(vars(module)["frozen"] for module in network.modules())
        assert all(layer.precision == torch.bfloat16 for layer in layers)
        network(torch.rand(2, 3, 8, 8, dtype=torch.float64))
        assert all(layer.lifted for layer in layers)
    assert not {"frozen", "precision", "lifted"} & {name for module in network.modules() for name in vars(module)}
    with setting(network, precision=torch.bfloat16):  # as in training, whose last batch is forgotten
        network(torch.rand(2, 3, 8, 8, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="before forward"):
        network.backward(torch.ones(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda r: Sequential(r, Sigmoid(), r),
        lambda r: Sequential(Sequential(r), r),
        lambda r: Sequential(Skip(Sequential(r)), Skip(Sigmoid(), r)),
        lambda r: Skip(r, r),
    ],
)
def test_a_block_used_twice_is_refused(make):
    with pytest.raises(ValueError, match=r"ReLU\(\) stands twice"):
        make(ReLU())


def test_parameters_are_equal_if_they_are_the_same():
    layer = Conv2d(2, 2, 2)
    weight, bias = layer.param()
    assert (
        weight in layer.param() and weight == layer.param()[0] and weight != bias and len({weight, bias, weight}) == 2
    )
    assert Conv2d(2, 2, 2).param()[0] not in layer.param()


@pytest.mark.parametrize("what", ["input", "weight", "output"])
def test_what_backward_needs_must_not_change(what):
    network, x = Sequential(Conv2d(3, 3, 1), ReLU()), torch.rand(1, 3, 4, 4)
    y = network(x)
    {"input": x, "weight": network[0].weight, "output": y}[what].add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        network.backward(torch.ones_like(y))
    network.backward(torch.ones_like(network(x)))  # and all is well again


def test_a_step_of_the_optimiser_ends_what_forward_kept():
    layer = Conv2d(3, 3, 1)
    y = layer(torch.rand(1, 3, 4, 4))
    layer.backward(torch.ones_like(y))
    SGD(layer.param(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        layer.backward(torch.ones_like(y))


# ----------------------------------------------------------------------------------------------------------
# The networks of the repository


@pytest.fixture(params=NETWORKS)
def model(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]()


@BOTH
@pytest.mark.parametrize("height, width", [(8, 8), (16, 24)])
def test_networks_equal_torch(model, height, width, monkeypatch):
    monkeypatch.setattr(convolution, "MANY_PIXELS", 0)  # the fast maps for small images, too
    assert_equals_twin(model.network.to(torch.float64), normal(2, 3, height, width))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 5), (33, 30), (7, 100)])
def test_networks_predict_any_size(model, height, width):
    images = torch.randint(256, (2, 3, height, width), dtype=torch.uint8)
    output = model.predict(images)
    assert output.shape == images.shape and output.dtype == torch.float32
    assert 0 <= output.min() and output.max() <= 255
    missing = [(0, model.on_grid(n) - n) for n in (height, width)]
    padded = torch.tensor(np.pad(images, [(0, 0), (0, 0), *missing], "reflect")).double() / 255
    reference = to_torch(model.network).double()
    flips = [(), (2, 3), (2,), (3,)][: getattr(model, "VIEWS", 1)]
    views = [reference(padded.flip(f)).flip(f) for f in flips]
    if type(model) is UNet:
        views += [reference(padded.mT.flip(f)).flip(f).mT for f in flips]
    whole = sum(views) / len(views)
    assert (output - 255 * whole.clamp(0, 1)[..., :height, :width]).abs().max() <= NEAR


def test_networks_have_no_seams(model):
    images = torch.randint(256, (1, 3, 203, 150), dtype=torch.uint8)
    whole = model.predict(images)
    # The last tiles are small, and take other maps than the first.
    model.SIDE = 2 * model.on_grid(model.HALO) + 24  # at most 152: height is cut for every network, width for some
    assert (model.predict(images) - whole).abs().max() <= NEAR


def test_tiles_hold_all_that_their_outputs_see(model):
    model.SIDE = 2 * model.on_grid(model.HALO) + 64
    for size in (1, 5, 63, 64, 65, 127, 130, 200, 257):
        seen = []
        for pixels, inner, outer in model.tiles(size):
            pixels, last = range(size)[pixels], pixels.stop >= size
            seen += range(size)[outer]
            assert len(pixels) <= model.SIDE
            assert pixels[inner] == range(size)[outer]
            assert pixels[0] % model.GRID == 0 and (last or len(pixels) % model.GRID == 0)
            last_cell_ends = -(-outer.stop // model.GRID) * model.GRID
            needed = range(max(0, outer.start - model.HALO), min(size, last_cell_ends + model.HALO))
            assert set(needed) <= set(pixels)
        assert seen == list(range(size))


def test_halo_is_the_true_reach(model, monkeypatch):
    """The reach of an output outside its cell of GRID x GRID pixels, found by changing single pixels.

    Weights and pixels are positive, so that nothing cancels out; no fast convolution, whose rounding reaches all of a
    tile; no Sigmoid, which would saturate.
    """
    take_out(monkeypatch)
    network = Sequential(*(module for module in model.network if not isinstance(module, Sigmoid))).to(torch.float64)
    for value, _ in network.param():
        value.abs_().div_(value.sum() ** 0.5 + 1)
    grid, middle, reach = model.GRID, 128, 0
    before = torch.zeros(1, 3, 256, 256, dtype=torch.float64)
    output = network(before)
    for pixel in range(middle, middle + grid):  # on the diagonal: rows and columns at once
        after = before.clone()
        after[..., pixel, pixel] = 1
        changed = (network(after) != output).any(1)[0].nonzero() // grid * grid  # first pixels of the changed cells
        reach = max(reach, pixel - int(changed.min()) - grid + 1, int(changed.max()) - pixel)
    assert reach == model.HALO


def test_weights_of_another_network_are_refused(model, tmp_path):
    class Other(Model):
        def build(self):
            return Sequential(Conv2d(3, 3, 1))

    save(Other().network.state_dict(), tmp_path / "other.pth")
    before = model.network.state_dict()
    with pytest.raises(ValueError, match=r"other.pth does not hold the weights of this network"):
        model.load_weights(tmp_path / "other.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_torch(variant):
    torch.manual_seed(0)
    assert_equals_twin(VARIANTS[variant]().network.to(torch.float64), normal(2, 3, 8, 12))


def test_a_widened_network_computes_the_same_and_its_new_channels_learn():
    torch.manual_seed(0)
    narrow, wide, images = NarrowUNet().network, UNet().network, torch.rand(2, 3, 16, 16)
    take_common_channels(wide, narrow.state_dict())
    torch.testing.assert_close(wide(images), narrow(images), rtol=1e-4, atol=1e-4)
    wide.backward(torch.ones(2, 3, 16, 16))
    grads = wide.named_param()["0.branch.1.branch.0.weight"].grad
    assert grads[:48, 48:].any()  # by which the old channels come to see the new ones


def test_a_network_of_other_widths_has_the_channels_that_both_have():
    class Other(NarrowUNet):
        WIDTHS = (32, 128, 100)  # narrower, wider and narrower

    def layers(network):  # weights with their outputs first
        found = [module for module in network.modules() if isinstance(module, Convolution)]
        turn = [(1, 0) if isinstance(layer, Upsampling) else (0, 1) for layer in found]
        return [(layer.weight.movedim((0, 1), axes), layer.bias) for layer, axes in zip(found, turn, strict=True)]

    torch.manual_seed(0)
    given, network = NarrowUNet().network, Other().network
    for value, _ in given.param():
        value.normal_()
    before = [(weight.clone(), bias.clone()) for weight, bias in layers(network)]
    take_common_channels(network, given.state_dict())
    for (weight, bias), (old, old_bias), (new, new_bias) in zip(layers(network), before, layers(given), strict=True):
        outputs, inputs = new.shape[:2]
        assert torch.equal(weight[:outputs, :inputs], new[: len(weight), : weight.shape[1]])
        assert not weight[:outputs, inputs:].any() and torch.equal(weight[outputs:], old[outputs:])
        assert torch.equal(bias, torch.cat([new_bias, old_bias[outputs:]])[: len(bias)])


def test_channels_are_taken_where_a_layer_sees_twice_as_many():
    class Narrow(ConcatenatingUNet):
        WIDTHS = (8, 12, 20)

    class Wide(ConcatenatingUNet):
        WIDTHS = (16, 12, 40)

    network, state = Narrow().network, Wide().network.state_dict()
    take_common_channels(network, state)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name][tuple(map(slice, value.shape))])


def with_first(state, **changes):
    """With another weight or bias of the first layer."""
    return state | {f"0.branch.0.{name}": value for name, value in changes.items()}


def with_last(state, **changes):
    *_, name = state
    return state | {name.replace("bias", kind): value for kind, value in changes.items()}


UNLIKE = {
    "other kernels": (lambda state: PhotoUNet().network.state_dict(), ValueError, r"expected a kernel .*2, 2\)"),
    "broadcastable kernels": (
        lambda state: with_first(state, weight=torch.ones(32, 3, 1, 1)),
        ValueError,
        "expected a kernel",
    ),
    "without kernels": (lambda state: {k: v.flatten() for k, v in state.items()}, ValueError, "expected a kernel"),
    "no channels": (lambda state: {k: v[:0] for k, v in state.items()}, ValueError, "expected a kernel"),
    "another depth": (lambda state: ShallowUNet().network.state_dict(), ValueError, "expected 0.branch"),
    "a name too many": (lambda state: state | {"x": torch.zeros(3)}, ValueError, "got .*, x$"),
    "complex": (lambda state: {k: v + 0j for k, v in state.items()}, TypeError, "complex64"),
    "integers": (lambda state: {k: v.int() for k, v in state.items()}, TypeError, "int32"),
    "texts": (lambda state: {k: "text" for k, v in state.items()}, TypeError, "str"),
    "on no device": (lambda state: {k: v.to("meta") for k, v in state.items()}, TypeError, "meta"),
    "not finite": (lambda state: {k: v / 0 for k, v in state.items()}, ValueError, "expected finite numbers"),
    "a broadcastable bias": (lambda state: with_first(state, bias=torch.ones(1)), ValueError, "fit each other"),
    "a layer of a width of its own": (
        lambda state: with_first(state, weight=torch.ones(40, 3, 3, 3), bias=torch.ones(40)),
        ValueError,
        "what is before",
    ),
    "expanded": (
        lambda state: with_first(state, weight=torch.ones(1, 3, 3, 3).expand(10**12, 3, 3, 3)),
        ValueError,
        "fit each other",
    ),
    "grey images": (lambda state: with_first(state, weight=torch.ones(32, 1, 3, 3)), ValueError, "what is before"),
    "four channels in the end": (
        lambda state: with_last(state, weight=torch.ones(32, 4, 3, 3), bias=torch.ones(4)),
        ValueError,
        "expected 3 channels in the end, got 4",
    ),
}


@pytest.mark.parametrize("change, error, words", UNLIKE.values(), ids=UNLIKE)
def test_weights_of_no_network_of_other_widths_are_refused(change, error, words):
    network = NarrowUNet().network
    before, state = network.state_dict(), VeryNarrowUNet().network.state_dict()
    with pytest.raises(error, match=words) as raised:
        take_common_channels(network, change(state))
    assert raised.type is error
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

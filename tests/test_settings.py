"""What is set around the framework changes nothing, and what it sets is put back: torch.autocast, autograd, precisions
of products, threads, dtypes, generators."""

import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from Proj_Miniproject2 import denoise, estimate_noise
from Proj_Miniproject2.model import (
    MSE,
    Conv2d,
    Model,
    NearestUpsampling,
    ReLU,
    Sequential,
    Sigmoid,
    Skip,
    TransposeConv2d,
    Upsampling,
    xavier,
)
from Proj_Miniproject2.others.fast import machine
from Proj_Miniproject2.others.noise import kinds
from Proj_Miniproject2.others.noise.correlation import correlation
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.noise.ranges import seen
from Proj_Miniproject2.others.training import optimizers
from Proj_Miniproject2.others.training.initialisations import INITIALISATIONS
from Proj_Miniproject2.others.training.losses import RelativeMSE
from Proj_Miniproject2.others.training.recipe import DEFAULT

from .drawn import generator, normal, run
from .test_model import BOTH, NEAR, pairs, random_images, same, values
from .textbook import take_out


@pytest.fixture(autouse=True)
def same_start_in_every_run():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    return Model()


# ----------------------------------------------------------------------------------------------------------
# torch.autocast

NETWORKS = {
    "a small image": lambda: (Conv2d(3, 4, 3), (1, 3, 8, 8)),
    "patches": lambda: (Conv2d(3, 4, 4, stride=2), (2, 3, 40, 40)),
    "rows": lambda: (Conv2d(32, 33, 5), (2, 32, 24, 24)),
    "groups": lambda: (TransposeConv2d(48, 48, 3, groups=2), (2, 48, 24, 24)),
    "shifts": lambda: (Conv2d(64, 64, 3, groups=64), (4, 64, 12, 12)),
    "turned": lambda: (Conv2d(48, 3, 3), (4, 48, 24, 24)),
    "minimal filtering": lambda: (Conv2d(64, 64, 3), (2, 64, 24, 24)),
    "all blocks": lambda: (
        Sequential(NearestUpsampling(2), Skip(Conv2d(3, 3, 3, padding=1), ReLU()), Upsampling(3, 2, 3), Sigmoid()),
        (2, 3, 16, 16),
    ),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_autocast_rounds_nothing(make, dtype, put_in):
    block, shape = make()
    block.to(dtype)
    results = []
    for enabled in (False, True):
        for _, grad in block.param():
            grad.zero_()
        with torch.autocast("cpu", torch.bfloat16, enabled):
            x = normal(*shape, dtype=dtype)
            results.append(run(block, x, normal(*block(x).shape, seed=1, dtype=dtype)))
            assert torch.is_autocast_enabled("cpu") == enabled
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(*results, strict=True))


OPTIMIZERS = {
    "sgd": optimizers.sgd,
    "adam": optimizers.adam,
    "muon": lambda params, lr, weight_decay, momentum: optimizers.Muon(params, lr, weight_decay, momentum),
    "rowmuon": lambda params, lr, weight_decay, momentum: optimizers.RowMuon(params, lr, weight_decay, momentum),
}


def trained(start, recipe=None):
    model, (noisy, target) = Model(), pairs(8)
    model.network.load_state_dict(start)
    model.train(noisy, target, num_epochs=2, recipe=recipe)
    return values(model), model.predict(noisy)


@pytest.mark.parametrize("optimizer", [None, *OPTIMIZERS.values()], ids=["textbook", *OPTIMIZERS])
def test_autocast_plays_no_part_in_training_and_predicting(optimizer, model, monkeypatch):
    recipe = optimizer and replace(DEFAULT, optimizer=optimizer)
    if not optimizer:
        take_out(monkeypatch)
    expected, images = trained(values(model), recipe)
    with torch.autocast("cpu", torch.bfloat16):
        found, again = trained(values(model), recipe)
        assert torch.is_autocast_enabled("cpu") and again.dtype == torch.float32
    assert same(found, expected) and torch.equal(again, images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(40, 40), (4, 40, 40)])
def test_autocast_plays_no_part_in_denoise(shape, dtype):
    picture = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 200).to(dtype)
    expected = denoise(picture), estimate_noise(picture)
    for others in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", others):
            assert torch.equal(denoise(picture), expected[0]) and estimate_noise(picture) == expected[1]


# ----------------------------------------------------------------------------------------------------------
# Autograd


def traced(*shape, scale=200):
    return (torch.rand(shape) * scale).requires_grad_()


def a_step(make):
    layer = xavier(Conv2d(3, 4, 3))
    for value, _ in layer.param():
        value.requires_grad_()
    optimizer = make(layer.param(), 0.1, 0.1, 0.9)
    for _ in range(2):
        optimizer.zero_grad()
        layer.backward(layer(traced(2, 3, 8, 8)).requires_grad_())
        optimizer.step()
    for initialise in INITIALISATIONS.values():
        initialise(layer)
    layer.load_state_dict({name: value.requires_grad_() for name, value in layer.state_dict().items()})
    layer.weight, layer.bias = traced(4, 3, 3, 3), traced(4)
    return list(layer.to(torch.float64).state_dict().values())


def loss_and_gradient(loss):
    return loss(traced(2, 3, 8, 8), traced(2, 3, 8, 8)), loss.backward(traced())


def training():
    model = Model()
    for value, _ in model.network.param():
        value.requires_grad_()
    model.train(traced(2, 3, 8, 8), traced(2, 3, 8, 8), num_epochs=2)
    return [model.predict(traced(2, 3, 9, 9)), *(piece for _, piece in model.pieces(traced(2, 3, 9, 9)))]


CALLS = {
    **{name: lambda make=make: a_step(make) for name, make in OPTIMIZERS.items()},
    "MSE": lambda: loss_and_gradient(MSE()),
    "RelativeMSE": lambda: loss_and_gradient(RelativeMSE()),
    "denoise": lambda: [denoise(traced(3, 20, 20), strength=1.5), denoise(traced(2, 20, 20), pages=True)],
    "as it is": lambda: [denoise(traced(20, 20), strength=0), denoise(torch.ones(20, 20).requires_grad_())],
    "psnr": lambda: psnr(traced(2, 3, 8, 8), traced(2, 3, 8, 8)),
    "correlation": lambda: correlation(traced(3, 40, 40)),
    "seen": lambda: seen(traced(3, 20, 20).double()),
    "pixel_noise": lambda: kinds.pixel_noise(traced(2, 3, 8, 8), 4, generator(0)),
    "block_mean": lambda: kinds.block_mean(traced(2, 3, 8, 8), 4),
    "gaussian_noise": lambda: kinds.gaussian_noise(traced(2, 3, 8, 8), 3, generator(0)),
    "poisson_noise": lambda: kinds.poisson_noise(traced(2, 3, 8, 8), 30, generator(0)),
    "camera_noise": lambda: kinds.camera_noise(traced(2, 3, 8, 8), *traced(2, 2, 1, 1, 1), generator(0)),
    **{
        kind.__name__: lambda kind=kind: kind(traced(2, 3, 8, 8), traced(2, 1, 1, 1), generator(0))
        for kind in (kinds.blurred_noise, kinds.coloured_noise, kinds.lined_noise, kinds.developed_noise)
    },
}


def tensors(results):
    """All tensors in tuples and lists."""
    if isinstance(results, (tuple, list)):
        return [tensor for part in results for tensor in tensors(part)]
    return [results] if isinstance(results, torch.Tensor) else []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_tensors_that_require_gradients_are_taken_without_a_graph_or_a_warning(call):
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("error")
        torch.set_warn_always(True)  # not only the first time
        try:
            results = tensors(call())
        finally:
            torch.set_warn_always(False)
    assert not any(tensor.requires_grad for tensor in results)


def test_a_training_takes_them_too(put_in):
    test_tensors_that_require_gradients_are_taken_without_a_graph_or_a_warning(training)


def test_autograd_is_told_nothing(model):
    layer, x = model.network[0], torch.rand(1, 3, 8, 8, requires_grad=True)
    layer.weight.requires_grad_()
    assert not layer(x).requires_grad and not layer.backward(torch.rand(1, 64, 5, 5)).requires_grad
    layer.param()[0][0].requires_grad_()
    assert not layer(x).requires_grad and not layer.backward(torch.rand(1, 64, 5, 5)).requires_grad
    layer.param()[0][0].requires_grad_(False)


# ----------------------------------------------------------------------------------------------------------
# What is the whole process's


@BOTH
@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_training_and_predicting_leave_the_callers_settings(grad_mode, precision):
    model, (noisy, target) = Model(), pairs(8)

    def state():
        return (
            torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_rng_state().tolist(),
            random.getstate(),
            torch.are_deterministic_algorithms_enabled(),
        )

    old = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.set_grad_enabled(grad_mode):
            before = state()
            model.train(noisy, target, num_epochs=1)
            model.predict(noisy)
            assert state() == before
            with pytest.raises((ValueError, TypeError)):
                model.train(noisy, target[:3], num_epochs=1)
            assert state() == before
    finally:
        torch.set_float32_matmul_precision(old)


def precisions():
    backends = torch.backends
    return [
        b.fp32_precision
        for b in (backends, backends.mkldnn, backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul)
    ]


@pytest.mark.parametrize("setting", ["none", "ieee", "tf32", "bf16"])
@pytest.mark.parametrize("where", [torch.backends, torch.backends.mkldnn.matmul], ids=["all", "products"])
def test_the_precision_of_products_is_put_back(model, where, setting):
    """With torch's newer settings, too, by threads that overlap, and by Ctrl-C."""
    images, before = random_images(1, 3, 8, 8), where.fp32_precision
    try:
        where.fp32_precision = setting
        expected = precisions()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(model.predict, [images] * 40))
        assert precisions() == expected
        with pytest.raises(KeyboardInterrupt), machine.fast_products(model.device):
            raise KeyboardInterrupt
        assert precisions() == expected
    finally:
        where.fp32_precision = before


@pytest.mark.parametrize("setting, other", [("tf32", "ieee"), ("ieee", "tf32"), ("ieee", "none"), ("none", "ieee")])
@pytest.mark.parametrize("own", [True, False])
def test_an_inherited_precision_is_inherited_again(model, own, setting, other):
    images, everywhere, products = random_images(1, 3, 8, 8), torch.backends, torch.backends.mkldnn.matmul
    before = everywhere.fp32_precision, products.fp32_precision
    try:
        everywhere.fp32_precision, products.fp32_precision = setting, setting if own else "none"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(model.predict, [images] * 10))
        assert precisions()[:3] == [setting] * 3
        everywhere.fp32_precision = other
        assert products.fp32_precision == (setting if own and setting != "none" else other)
    finally:
        everywhere.fp32_precision, products.fp32_precision = before


def test_the_last_to_go_puts_the_precision_of_products_back():
    """Whoever comes and goes meanwhile; but not over what somebody else has set."""
    setting = torch.backends.mkldnn.matmul
    before = precisions()
    first, second, third = (machine.at_bfloat16() for _ in range(3))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert setting.fp32_precision == "bf16"
    third.__enter__()
    second.__exit__(None, None, None)
    assert setting.fp32_precision == "bf16"
    third.__exit__(None, None, None)
    assert precisions() == before
    own = "none" if machine.inherited(setting) else setting.fp32_precision
    other = "tf32" if own == "ieee" else "ieee"
    try:
        with machine.at_bfloat16():
            setting.fp32_precision = other
        assert setting.fp32_precision == other
    finally:
        setting.fp32_precision = own
    with machine.at_bfloat16():
        pass
    assert precisions() == before


def test_a_machine_is_measured_once():
    """By threads that come at once, too: they would find different things, as each is in the others' way."""
    begun, calls = threading.Barrier(4), []
    found = machine.once(lambda what: calls.append(what) or len(calls))

    def ask(what):
        begun.wait()
        return found(what)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(ask, ["same"] * 4)] == [1] * 4
    assert found("other") == 2 and found("same") == 1


def test_products_are_fast_only_where_they_stay_exact(model, monkeypatch):
    setting, cpu = torch.backends.mkldnn.matmul, torch.device("cpu")
    before = setting.fp32_precision
    for exact in (True, False):
        monkeypatch.setattr(machine, "exact_at_bfloat16", lambda exact=exact: exact)
        with machine.fast_products(cpu):
            assert setting.fp32_precision == ("bf16" if exact else before)
        with machine.fast_products(torch.device("cuda")):
            assert setting.fp32_precision == before


def test_pieces_left_half_way_put_back_what_they_set(model):
    images, before = random_images(1, 3, 2 * model.SIDE, 8), precisions()
    whole, pieces = model.predict(images), model.pieces(images)
    place, piece = next(pieces)
    assert (piece - whole[place]).abs().max() <= NEAR
    assert any("frozen" in vars(module) for module in model.network.modules())
    pieces.close()
    assert not any("frozen" in vars(module) for module in model.network.modules()) and precisions() == before


def test_the_default_device_plays_no_part_in_denoise():
    picture = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 200
    expected = denoise(picture), estimate_noise(picture)
    torch.set_default_device("meta")  # here instead of a GPU
    try:
        found = denoise(picture), estimate_noise(picture)
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
    assert torch.equal(found[0], expected[0]) and found[1] == expected[1]


def test_the_default_dtype_and_inference_mode_play_no_part(model):
    images, (noisy, target) = random_images(1, 3, 8, 8), pairs(4)
    torch.set_default_dtype(torch.float64)
    try:
        other = Model()
        other.network.load_state_dict(values(model))
        assert (other.predict(images) - model.predict(images)).abs().max() <= NEAR
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        made_there = Model()
        made_there.predict(images)
        made_there.network.to(torch.float64).to(torch.float32)
        assert not any(tensor.is_inference() for pair in made_there.network.param() for tensor in pair)
    made_there.train(noisy, target, num_epochs=1)


def test_threads_may_share_a_model(model):
    images = [random_images(2, 3, 40, 40, seed=seed) for seed in range(8)]
    alone = [model.predict(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.predict, images))
    assert all((a - b).abs().max() <= NEAR for a, b in zip(alone, together, strict=True))
    assert not any("frozen" in vars(module) for module in model.network.modules())

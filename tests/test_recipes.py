"""What a training can be made of: a loss, initialisations, a camera's noise, sources of pairs."""

from itertools import cycle, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from Proj_Miniproject2.model import Conv2d, Sequential, Skip, TransposeConv2d, xavier
from Proj_Miniproject2.others.data.noise import camera_noise
from Proj_Miniproject2.others.data.photos import random_crops
from Proj_Miniproject2.others.data.sources import camera, clean, fixed, mixed, recoloured, shots, varied
from Proj_Miniproject2.others.fast import machine
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.training.initialisations import kaiming, uniform
from Proj_Miniproject2.others.training.losses import RelativeMSE
from Proj_Miniproject2.others.training.recipe import Recipe

from .twins import relative_mse


@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 1000), scale=st.floats(-5, 5))
def test_relative_mse_equals_autograd(shape, seed, scale):
    draws = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, *shape, generator=draws, dtype=torch.float64)
    leaf = prediction.clone().requires_grad_()
    reference = relative_mse(leaf, target)
    reference.backward(torch.tensor(scale, dtype=torch.float64))
    loss = RelativeMSE()
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


@pytest.mark.parametrize(
    "level, sigma, gain", [(100.0, 20.0, 0.0), (100.0, 0.0, 5.0), (30.0, 10.0, 2.0), (250.0, 50.0, 0.0)]
)
def test_camera_noise_has_mean_and_variance_of_its_parts(level, sigma, gain):
    clean = torch.full((2, 3, 200, 200), level)
    one = torch.ones(2, 1, 1, 1)
    noisy = camera_noise(clean, sigma * one, gain * one, torch.Generator().manual_seed(0))
    variance = sigma**2 + gain * level
    assert noisy.mean().item() == pytest.approx(level, abs=4 * (variance / noisy.numel()) ** 0.5)
    assert noisy.var().item() == pytest.approx(variance, rel=0.02)


def test_camera_pairs_are_two_draws_of_the_same_crop():
    photos = [torch.full((3, 100, 120), level, dtype=torch.uint8) for level in (0, 60, 255)]
    draw = camera(photos, Run(Recipe(), pairs=300))
    inputs, targets = draw(0)
    assert inputs.dtype == torch.uint8 and targets.dtype == torch.float32
    assert inputs.shape == targets.shape == (300, 3, 96, 96)
    means, levels = targets.mean((1, 2, 3)), torch.tensor([0.0, 60.0, 255.0])
    which = (means[:, None] - levels).abs().argmin(1)
    assert (means - levels[which]).abs().max() < 3 and set(which.tolist()) == {0, 1, 2}  # targets are not clamped
    middle = which == 1
    assert (inputs[middle].float().mean((1, 2, 3)) - 60).abs().max() < 12
    noise = [x[middle].float() - 60 for x in (inputs, targets)]
    assert abs((noise[0] * noise[1]).mean()) < 0.02 * noise[1].square().mean() + 1
    assert noise[1].flatten(1).std(1).max() > 40 and noise[1].flatten(1).std(1).min() < 12
    assert not torch.equal(draw(1)[0], inputs) and torch.equal(draw(0)[0], inputs)


def test_camera_targets_of_several_draws_have_less_of_the_same_noise():
    photos = [torch.full((3, 96, 96), level, dtype=torch.uint8) for level in (40, 200)]
    (first, one), (again, several) = (camera(photos, Run(pairs=200, source=camera, targets=n))(0) for n in (1, 9))
    assert torch.equal(first, again)
    levels = torch.where(one.mean((1, 2, 3), keepdim=True) < 120, 40.0, 200.0)
    variances = [(target - levels).square().mean((1, 2, 3)) for target in (one, several)]
    noisy = variances[0] > 1
    assert noisy.sum() > 150
    torch.testing.assert_close(variances[0][noisy] / 9, variances[1][noisy], rtol=0.1, atol=0)


@pytest.mark.parametrize("source", [fixed, clean, mixed, shots])
def test_several_targets_go_with_fresh_pairs_only(source):
    with pytest.raises(ValueError, match=f"fresh, varied, camera, people and grey, not with {source.__name__}"):
        Run(source=source, targets=2)


def test_recoloured_photos_have_their_channels_in_any_order_by_curves_that_rise():
    photo = torch.stack([torch.arange(256).byte().roll(shift).view(16, 16) for shift in (0, 60, 150)])
    orders = set()
    for seed in range(60):
        new = recoloured(photo, torch.Generator().manual_seed(seed))
        assert new.dtype == torch.uint8 and new.shape == photo.shape
        order = []
        for channel in new:
            fitting = [i for i in range(3) if (channel.flatten()[photo[i].flatten().argsort()].int().diff() >= 0).all()]
            order += fitting
            assert channel.min() == 0 and channel.max() == 255
        orders.add(tuple(order))
    assert orders == set(permutations(range(3)))


def test_every_second_varied_pair_is_of_a_photo_in_new_colours():
    colour = torch.tensor([30, 90, 160], dtype=torch.uint8)
    photos = [colour.view(3, 1, 1).expand(3, 256, 300).contiguous()]
    draw = varied(photos, Run(pairs=41, source=varied))
    inputs, targets = draw(0)
    assert inputs.shape == targets.shape == (41, 3, 32, 32) and torch.equal(inputs, targets)  # a photo without edges
    colours = inputs[:, :, 0, 0]
    assert torch.equal(inputs, colours[..., None, None].expand_as(inputs))
    assert (colours[:21] == colour).all()
    assert len(colours[21:].unique(dim=0)) == 1 and not (colours[21] == colour).all()  # one photo, once in an epoch
    assert all(torch.equal(a, b) for a, b in zip(draw(0), (inputs, targets), strict=True))
    assert not torch.equal(draw(1)[0], inputs)
    several = varied(photos, Run(pairs=41, source=varied, targets=3))(0)
    assert several[1].dtype == torch.float32 and torch.equal(several[1], several[0].float())


@pytest.mark.parametrize("ratio, expected", [(0.5, torch.bfloat16), (0.9, torch.float32)])
def test_auto_takes_bfloat16_where_it_is_measured_to_be_much_faster(ratio, expected, monkeypatch):
    lapses, now = cycle([0, 1, 0, ratio]), 0

    def clock():
        nonlocal now
        now += next(lapses)
        return now

    monkeypatch.setattr(machine.time, "perf_counter", clock)
    assert machine.fastest_dtype.__wrapped__(torch.device("cpu")) == expected


def test_a_recipes_precision_is_a_dtype():
    cpu = torch.device("cpu")
    found = {name: Recipe(precision=name).dtype(cpu) for name in ("float32", "bfloat16", "auto")}
    assert found == {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": machine.fastest_dtype(cpu)}


def test_crops_come_from_everywhere():
    photo = torch.arange(3 * 10 * 12).view(3, 10, 12).to(torch.uint8)
    crops = random_crops([photo], 400, 8, torch.Generator().manual_seed(0))
    assert {int(v) for v in crops[:, 0, 0, 0]} == {12 * i + j for i in range(3) for j in range(5)}
    first = crops[0, 0, 0, 0].item()
    assert torch.equal(crops[0], photo[:, first // 12 : first // 12 + 8, first % 12 : first % 12 + 8])

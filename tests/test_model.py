"""Model: the report's network, predict on any image, train on pairs, and the weights beside model.py."""

import _thread
import contextlib
import copy
import hashlib
import math
import os
import pickle
import random
import resource
import subprocess
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Proj_Miniproject2.model import MSE, SGD, Model, Sequential
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.fast.convolution import setting
from Proj_Miniproject2.others.formats.files import save
from Proj_Miniproject2.others.lab.runs import REPORT
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.scenes import builtin_data
from Proj_Miniproject2.others.training import by_recipe
from Proj_Miniproject2.others.training.by_recipe import augment, fingerprint
from Proj_Miniproject2.others.training.initialisations import kaiming
from Proj_Miniproject2.others.training.optimizers import adam
from Proj_Miniproject2.others.training.recipe import DEFAULT, Recipe, constant, linear

SHAPES = {
    "0.weight": (64, 3, 4, 4),
    "0.bias": (64,),
    "2.weight": (256, 64, 4, 4),
    "2.bias": (256,),
    "4.weight": (256, 128, 5, 5),
    "4.bias": (128,),
    "6.weight": (128, 3, 4, 4),
    "6.bias": (3,),
}
NEAR = 255e-5  # 1e-5 of the range of values
BOTH = pytest.mark.usefixtures("put_in")  # with what the package puts into the textbook, and without


def random_images(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def pairs(n, seed=0, size=32):
    """Two noisy versions of n smooth images, uint8."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=draws) * 255
    clean = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    noisy = (clean + 25 * torch.randn(2, *clean.shape, generator=draws)).clamp(0, 255).to(torch.uint8)
    return noisy[0], noisy[1]


def values(model):
    return model.network.state_dict()


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def error(model, noisy, target):
    return (model.predict(noisy) - target.float()).square().mean().item()


def by_torch(model, images):
    """predict for sizes that are multiples of four, by torch.nn in float64."""
    with torch.no_grad():
        return 255 * to_torch(model.network).double()(images.to(torch.float64) / 255)


@pytest.fixture(autouse=True)
def same_start_in_every_run():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    return Model()


# ----------------------------------------------------------------------------------------------------------
# The network


def test_network_is_the_reports():
    model = Model()
    assert "".join(repr(model.network).split()).replace(",)", ")") == (
        "Sequential("
        "Conv2d(3,64,(4,4),stride=2,padding=2),ReLU(),"
        "Conv2d(64,256,(4,4),stride=2,padding=2),ReLU(),"
        "Upsampling(256,128,(5,5),stride=2,padding=2),ReLU(),"
        "Upsampling(128,3,(4,4),stride=2,padding=2),Sigmoid())"
    )
    assert {k: tuple(v.shape) for k, v in values(model).items()} == SHAPES
    assert isinstance(model.network, Sequential) and isinstance(model.loss, MSE)
    assert isinstance(model.optimizer, SGD)


def test_network_starts_without_dead_layers():
    """Finite, random, and every output still depends on the input."""
    model = Model()
    for name, value in values(model).items():
        assert value.isfinite().all() and value.dtype == torch.float32, name
        if name.endswith("weight"):
            assert value.std() > 0, name
    output = model.predict(random_images(4, 3, 32, 32))
    assert output.std(dim=0).amax() > 0


def test_optimizer_trains_the_network():
    model = Model()
    before = values(model)
    for _, grad in model.network.param():
        grad.fill_(1)
    model.optimizer.step()
    assert all((values(model)[k] != v).all() for k, v in before.items())
    model.optimizer.zero_grad()
    assert not any(grad.any() for _, grad in model.network.param())


# ----------------------------------------------------------------------------------------------------------
# predict


@BOTH
@given(
    batch=st.integers(0, 3),
    height=st.integers(1, 45),
    width=st.integers(1, 45),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
    grad_mode=st.booleans(),
)
@settings(max_examples=50)
def test_predict_keeps_shape_and_range(model, batch, height, width, dtype, seed, grad_mode):
    images = random_images(batch, 3, height, width, seed=seed).to(dtype)
    copy = images.clone()
    with torch.set_grad_enabled(grad_mode):
        output = model.predict(images)
    assert output.shape == images.shape and output.dtype == torch.float32
    assert not output.requires_grad
    assert ((output >= 0) & (output <= 255)).all()  # and no NaN
    assert torch.equal(images, copy)


@BOTH
@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (1, 3, 4, 8), (2, 3, 64, 20), (1, 3, 256, 264)])
def test_predict_is_the_networks_output(model, shape):
    images = random_images(*shape)
    assert (model.predict(images) - by_torch(model, images)).abs().max() <= NEAR


def test_predict_reads_uint8_and_floats_alike(model):
    images = random_images(3, 3, 21, 34)
    expected = model.predict(images)
    for same_images in (images.float(), images.double(), images.movedim(1, -1).contiguous().movedim(-1, 1)):
        assert (model.predict(same_images) - expected).abs().max() <= NEAR
    shifted = model.predict(images.float().clamp(1, 254) + 0.5)
    assert (shifted - expected).abs().max() > NEAR  # fractions count


@BOTH
def test_predict_of_a_batch_is_that_of_its_images(model):
    images = random_images(530, 3, 14, 11)
    output = model.predict(images)
    picked = [*range(0, 530, 48), *range(420, 430), 529]
    alone = torch.cat([model.predict(images[i : i + 1]) for i in picked])
    assert (output[picked] - alone).abs().max() <= NEAR


# ----------------------------------------------------------------------------------------------------------
# train


RECIPES = {
    "default": DEFAULT,
    "report": REPORT,
    "bfloat16": replace(DEFAULT, precision="bfloat16"),
    "momentum": replace(REPORT, lr=0.1, momentum=0.9, average=0.9, schedule=constant, warmup=0.1),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_training_lowers_the_error(recipe):
    """In one epoch of some steps by much, and then further."""
    model, (noisy, target) = Model(), pairs(64)
    kaiming(model.network)  # plain SGD takes long to leave Xavier's
    recipe = replace(recipe, batch_size=8)
    before = error(model, noisy, target)
    model.train(noisy, target, num_epochs=1, recipe=recipe)
    once = error(model, noisy, target)
    model.train(noisy, target, num_epochs=3, recipe=recipe)
    assert error(model, noisy, target) < once < 0.9 * before


def test_augmentation_treats_both_images_alike():
    """All 8 symmetries of the square come; where the image is no square, only those that keep its shape."""
    images, rng, seen = torch.rand(2, 3, 4, 4), random.Random(0), set()
    for _ in range(200):
        inputs, targets = augment(images, images + 1, rng)
        assert torch.equal(targets, inputs + 1)
        symmetries = [s for k in range(4) for r in [images.rot90(k, (2, 3))] for s in (r, r.flip(3))]
        seen.add(tuple(torch.equal(inputs, s) for s in symmetries))
    assert len(seen) == 8 and all(sum(matches) == 1 for matches in seen)
    inputs, targets = augment(images[..., :3, :], images[..., :3, :], rng)
    assert inputs.shape == targets.shape == (2, 3, 3, 4)


@pytest.mark.parametrize("exchange", [False, True])
def test_inputs_and_targets_are_exchanged_where_the_recipe_says_so(exchange):
    seen = set()

    class Loss(MSE):
        def forward(self, prediction, target):
            seen.add(float(target.mean()))
            return super().forward(prediction, target)

    model = Model()
    model.loss = Loss()
    inputs, targets = torch.zeros(80, 3, 8, 8), torch.full((80, 3, 8, 8), 255.0)
    model.train(inputs, targets, num_epochs=1, recipe=replace(DEFAULT, batch_size=4, exchange=exchange))
    assert seen == ({0.0, 1.0} if exchange else {1.0})


@BOTH
def test_training_repeats_by_its_seed():
    """Same start, pairs and seed: the very same weights. Another seed: others. Floats count as uint8 does."""
    noisy, target = pairs(24)
    start, results = values(Model()), []
    for seed, dtype in [(0, torch.uint8), (0, torch.float32), (1, torch.uint8)]:
        model = Model()
        model.network.load_state_dict(start)
        torch.manual_seed(len(results))  # the global generator plays no part
        model.train(noisy.to(dtype), target.to(dtype), num_epochs=1, seed=seed)
        results.append(values(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2]) and not same(results[0], start)


@BOTH
def test_training_reads_its_inputs_only():
    noisy, target = pairs(8)
    copies = noisy.clone(), target.clone()
    Model().train(noisy, target, num_epochs=1)
    assert torch.equal(noisy, copies[0]) and torch.equal(target, copies[1])


@BOTH
@pytest.mark.parametrize("n", [1, 3, 33])
def test_any_number_of_pairs_trains(n):
    """A single step, too, is a step: no schedule starts it from a learning rate of nothing."""
    model, (noisy, target) = Model(), pairs(n)
    before = values(model)
    model.train(noisy, target, num_epochs=1)
    after = values(model)
    assert all(v.isfinite().all() for v in after.values())
    assert (after["0.weight"] - before["0.weight"]).abs().max() > 1e-6


def test_small_batches_are_halves_that_share_a_learning_rate():
    class Recorder(Model):
        def learn(self, inputs, targets):
            steps.append((len(inputs), self.optimizer.lr))
            seen.extend((255 * inputs.amax((1, 2, 3))).round().int().tolist())
            return super().learn(inputs, targets)

    steps, seen, images = [], [], torch.arange(10.0).view(-1, 1, 1, 1).expand(10, 3, 8, 8)
    recipe = replace(REPORT, num_epochs=3, batch_size=4, lr=0.9, schedule=linear, small_batches=0.5)
    Recorder().train(images, images, recipe=recipe)
    # Of three batches an epoch all of the first and two of the second begin in the first half of the training.
    whole = [2, 2], [2, 2], [1, 1], [2, 2], [2, 2], [2], [4], [4], [2]
    expected = [(n, 0.9 * (1 - (k + 0.5) / 9)) for k, parts in enumerate(whole) for n in parts]
    assert steps == [(n, pytest.approx(lr)) for n, lr in expected]
    assert all(sorted(seen[first : first + 10]) == [*range(10)] for first in (0, 10, 20))


@pytest.mark.parametrize("height, width", [(1, 1), (3, 30), (33, 18)])
def test_images_of_any_size_train(height, width, put_in):
    model, (noisy, target) = Model(), pairs(64)
    noisy, target = (
        noisy.repeat(1, 1, 2, 1)[..., :height, :width],
        target.repeat(1, 1, 2, 1)[..., :height, :width],
    )
    before = error(model, noisy, target)
    model.train(noisy, target, num_epochs=2, recipe=replace(DEFAULT, batch_size=8) if put_in else None)
    assert error(model, noisy, target) < before


@BOTH
def test_one_line_of_progress_per_epoch(capfd):
    model, (noisy, target) = Model(), pairs(8)
    model.train(noisy, target, num_epochs=3)
    out, err = capfd.readouterr()
    lines = [line for line in (out + err).splitlines() if "loss" in line]
    assert len(lines) == 3
    for epoch, line in enumerate(lines, 1):
        assert f"{epoch}/3" in line and "images/s" in line and "left" in line


@BOTH
def test_predict_after_training_is_the_networks_output():
    model, (noisy, target) = Model(), pairs(16)
    model.train(noisy, target, num_epochs=1)
    assert (model.predict(noisy) - by_torch(model, noisy)).abs().max() <= NEAR


def test_the_network_is_whole_after_training():
    """A training step may leave out what it does not need, as the images' gradient; the blocks may not."""
    model, (noisy, target) = Model(), pairs(4)
    model.train(noisy, target, num_epochs=1, recipe=replace(DEFAULT, precision="bfloat16"))
    x = noisy.float() / 255
    y = model.network(x)
    assert y.dtype == torch.float32 and (255 * y - by_torch(model, noisy)).abs().max() <= NEAR
    assert model.network.backward(torch.ones_like(y)).shape == x.shape


def test_recipes_hold_pythons_numbers():
    """NumPy's would make every checkpoint unreadable."""
    recipe = Recipe(
        lr=np.logspace(-3, -1, 3)[1], batch_size=np.int64(4), augment=np.bool_(True), momentum=Fraction(1, 2)
    )
    assert [type(v) for v in (recipe.lr, recipe.batch_size, recipe.augment, recipe.momentum)] == [
        float,
        int,
        bool,
        float,
    ]
    assert recipe == Recipe(lr=0.01, batch_size=4, momentum=0.5)


def test_a_checkpoint_can_be_read_whatever_numbers_it_was_told(tmp_path):
    """NumPy's and fractions are converted, or refused before the first step."""
    data, path = pairs(4), tmp_path / "checkpoint.pth"
    recipe = Recipe(num_epochs=np.int64(1), lr=np.logspace(-3, -1, 3)[1], augment=np.bool_(True))
    options = dict(recipe=recipe, seed=np.int64(1), about={"sigma": np.float64(2.5), "sizes": (3, 4)}, checkpoint=path)
    Model().fit(lambda epoch: data, **options)
    assert {*Model().fit(lambda epoch: data, **options | {"seed": 1})} == {1}
    for wrong in (dict(seed=math.nan), dict(seed="1"), dict(about=np.ones(2)), dict(about=math.nan)):
        with pytest.raises((TypeError, ValueError), match="seed|JSON"):
            Model().fit(lambda epoch: data, **options | wrong)


def test_the_same_weights_make_the_same_file(tmp_path):
    """In another process, too."""
    script = "from Proj_Miniproject2.others.formats.files import save; save({'a': 1}, 'theirs.pth')"
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    save({"a": 1}, tmp_path / "ours.pth")
    assert (tmp_path / "ours.pth").read_bytes() == (tmp_path / "theirs.pth").read_bytes()


@BOTH
def test_weights_are_saved_and_loaded(model, tmp_path):
    path, other = tmp_path / "weights.pth", Model()
    model.save_weights(path)
    other.load_weights(path)
    assert same(values(other), values(model)) and os.listdir(tmp_path) == ["weights.pth"]


def test_a_full_disk_is_an_oserror(model, tmp_path):
    """A limit on the size of files stands in for it."""
    path = tmp_path / "weights.pth"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            model.save_weights(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["weights.pth"]


def test_small_images_come_in_small_batches(model, monkeypatch):
    """As large as what the network sees of them, a whole cell of its grid."""
    pixels, network = [], model.network

    def forward(input):
        pixels.append(input.shape[0] * input.shape[2] * input.shape[3])
        return Sequential.forward(network, input)

    monkeypatch.setattr(network, "forward", forward)
    monkeypatch.setattr(Model, "BATCH_PIXELS", 2**10)
    for shape in ((100, 3, 1, 1), (50, 3, 5, 6)):
        model.predict(torch.zeros(shape, dtype=torch.uint8))
    assert max(pixels) == 2**10


def test_values_between_0_and_1_get_a_warning(model):
    with pytest.warns(UserWarning, match=r"from 0.0 to 1.0: the range is \[0, 255\]") as caught:
        model.predict(torch.tensor([0.0, 1.0]).expand(1, 3, 4, 2))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for quiet in (torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4).byte(), torch.full((1, 3, 4, 4), 1.5)):
            model.predict(quiet)


def test_progress_says_that_weights_are_tuned(capsys):
    model = Model()
    model.load_pretrained_model()
    model.train(*pairs(2), num_epochs=1)
    assert capsys.readouterr().out.startswith("fine-tuning, epoch 1/1: loss")
    model.train(*pairs(2), num_epochs=1, recipe=DEFAULT)
    assert capsys.readouterr().out.startswith("epoch 1/1: loss")


class Interrupting:
    """Something whose end is a Ctrl-C."""

    __del__ = staticmethod(_thread.interrupt_main)


def test_a_second_interrupt_leaves_nothing_set(model):
    with pytest.raises(KeyboardInterrupt), setting(model.network, precision=torch.float64):
        model.network.lifted = Interrupting()
        raise KeyboardInterrupt
    assert not any({"precision", "lifted"} & {*vars(module)} for module in model.network.modules())


def test_a_prediction_between_forward_and_backward_plays_no_part(model):
    images, x = random_images(1, 3, 9, 14), torch.rand(2, 3, 16, 16)
    grads = []
    for between in (lambda: None, lambda: model.predict(images)):
        model.optimizer.zero_grad()
        y = model.network(x)
        between()
        model.network.backward(y)
        grads.append([grad.clone() for _, grad in model.network.param()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_trained_models_can_be_copied_and_pickled(model):
    noisy, target = pairs(4)
    model.train(noisy, target, num_epochs=1)
    model.network(torch.rand(1, 3, 8, 8))
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same(values(copied), values(model))
        assert copied.optimizer.params[0] is copied.network.param()[0] is not model.network.param()[0]
        copied.train(noisy, target, num_epochs=1)
        assert not same(values(copied), values(model))
        with pytest.raises(RuntimeError, match="before forward"):
            copy.deepcopy(model.network).backward(torch.rand(1, 3, 8, 8))


def test_a_diverging_training_leaves_the_weights():
    model, (noisy, target) = Model(), pairs(16)
    before = values(model)
    recipe = replace(REPORT, lr=1e30, batch_size=2)
    with pytest.raises(FloatingPointError, match="lr|learning rate"):
        model.train(noisy, target, num_epochs=2, recipe=recipe)
    assert same(values(model), before)


@pytest.mark.parametrize("average", [0, 0.9])
def test_the_very_last_step_may_not_diverge(average):
    """Whose loss nobody sees any more."""
    model, before = Model(), []
    before.append(values(model))
    recipe = replace(REPORT, schedule=lambda progress: math.nan, average=average, batch_size=4)
    with pytest.raises(FloatingPointError, match="diverged"):
        model.train(*pairs(4), num_epochs=1, recipe=recipe)
    assert same(values(model), before[0])


# ----------------------------------------------------------------------------------------------------------
# Checkpoints


class Interrupt(Exception):
    pass


def about(data):
    return {"pairs": fingerprint(*data)}


def interrupted_fit(model, data, epochs, stop, **options):
    """`train`, interrupted when epoch number `stop` (from 0) is to begin."""

    def fresh_pairs(epoch):
        if epoch == stop:
            raise Interrupt
        return data

    with pytest.raises(Interrupt):
        model.fit(fresh_pairs, epochs, about=about(data), **options)


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize(
    "recipe",
    [DEFAULT, replace(DEFAULT, optimizer=adam, lr=4e-3), replace(REPORT, momentum=0.9)],
    ids=["muon", "adam", "sgd"],
)
def test_resumed_training_gives_the_same_weights(tmp_path, recipe, stop):
    data, start, path = pairs(12), values(Model()), tmp_path / "checkpoint.pth"
    recipe = replace(recipe, batch_size=4)
    whole, first, second = Model(), Model(), Model()
    for model in (whole, first):
        model.network.load_state_dict(start)
    whole.train(*data, num_epochs=3, recipe=recipe, seed=5)

    interrupted_fit(first, data, 3, stop, recipe=recipe, seed=5, checkpoint=path)
    assert same(values(first), start)
    assert os.listdir(tmp_path) == ["checkpoint.pth"]
    second.train(*data, num_epochs=3, recipe=recipe, seed=5, checkpoint=path)
    assert same(values(second), values(whole))

    other = Model()
    with pytest.raises(ValueError, match="another training, of about a dict instead of 'other photos'"):
        other.fit(lambda epoch: data, 3, recipe=recipe, seed=5, checkpoint=path, about="other photos")
    with pytest.raises(ValueError, match=r"training, of warmup [\d.]+ instead of 0.5$"):
        other.train(*data, num_epochs=3, recipe=replace(recipe, warmup=0.5), seed=5, checkpoint=path)
    changes = {
        "one byte": (data[0], data[1] + 1),
        "dtype": (data[0].float(), data[1]),
        "exchanged": data[::-1],
        "in another order": [images.flip(0) for images in data],
        "transposed": [images.mT for images in data],
        "of another shape": [images.reshape(12, 3, 16, 64) for images in data],
    }
    for changed in changes.values():
        with pytest.raises(ValueError, match="another training, of pairs 'blake2b .*' instead of 'blake2b .*'$"):
            other.train(*changed, num_epochs=3, recipe=recipe, seed=5, checkpoint=path)

    third = Model()  # what is complete is only read
    third.train(*data, num_epochs=3, recipe=recipe, seed=5, checkpoint=path)
    assert same(values(third), values(whole))
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


def test_a_fingerprint_is_a_digest_of_all_that_tensors_hold():
    x = torch.arange(24.0).view(2, 3, 4)
    alike = [x, x.clone(), x.mT.contiguous().mT, torch.cat([x, x], 2)[..., :4], x.clone().requires_grad_()]
    others = [x.mT, x.flip(0), x.view(4, 6), x.int(), x.double(), x + 2**-10, x[:0], x.to(torch.bfloat16)]
    assert len({fingerprint(tensor) for tensor in alike}) == 1
    assert len({fingerprint(tensor) for tensor in [x, *others]} | {fingerprint(x, x), fingerprint()}) == len(others) + 3
    big = torch.arange(2**23 + 13).byte()
    content = b"(2, 3, 4) torch.float32 %b(8388621,) torch.uint8 %b" % (x.numpy().tobytes(), big.numpy().tobytes())
    digest = hashlib.blake2b(content + bytes(3), digest_size=16)  # filled up to eight bytes
    assert fingerprint(x, big) == f"blake2b {digest.hexdigest()}"


def test_a_checkpoint_keeps_the_history(tmp_path, monkeypatch):
    """The losses of all epochs, the seconds of all starts, and what else was noted."""
    data, path, clock = pairs(4), tmp_path / "checkpoint.pth", count()
    monkeypatch.setattr(by_recipe.time, "perf_counter", lambda: float(next(clock)))
    whole = Model()
    start, losses = values(whole), whole.fit(lambda epoch: data, 3, about=about(data))
    assert {*losses} == {1, 2, 3}

    def fit(stop=None):
        """The history, and the epochs that were trained; interrupted as epoch `stop` begins."""
        model, history, trained = Model(), {"scores": {}, "best": 0.0}, []
        model.network.load_state_dict(start)

        def noting(epoch):
            trained.append(epoch)
            history["scores"][epoch] = history["best"] = epoch / 4
            if epoch == stop:
                raise Interrupt
            return data

        with contextlib.suppress(Interrupt):
            assert model.fit(noting, 3, checkpoint=path, about=about(data), history=history) == losses
            assert same(values(model), values(whole))
        return history, trained

    _, trained = fit(stop=1)
    assert trained == [0, 1]
    history, trained = fit()
    assert trained == [1, 2]
    assert history == {"losses": losses, "scores": {0: 0, 1: 0.25, 2: 0.5}, "best": 0.5, "seconds": history["seconds"]}
    assert history["seconds"] >= 3 and fit() == (history, [])


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    data, path = pairs(8), tmp_path / "checkpoint.pth"
    model = Model()
    model.train(*data, num_epochs=1, checkpoint=path)
    content = path.read_bytes()

    def half_written(content, file, save=torch.save):
        save({}, file)
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        save(values(model), path)
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["checkpoint.pth"]


# ----------------------------------------------------------------------------------------------------------
# Pretrained weights


def test_pretrained_weights_are_loaded(tmp_path, monkeypatch):
    stored, model = Model(), Model()
    torch.save(values(stored), tmp_path / "bestmodel.pth")
    monkeypatch.setattr(Model, "PRETRAINED", tmp_path / "bestmodel.pth")
    model.load_pretrained_model()
    assert same(values(model), values(stored))
    model.train(*pairs(8), num_epochs=1)  # the optimiser still holds the network's parameters
    assert not same(values(model), values(stored))


def test_shipped_weights_denoise():
    """The weights in the repository are of this network, and worth loading."""
    model = Model()
    model.load_pretrained_model()
    _, (noisy, clean) = builtin_data(train=1, val=20)
    assert psnr(model.predict(noisy), clean) > psnr(noisy, clean) + 2

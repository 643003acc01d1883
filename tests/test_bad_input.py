"""Bad input: each case gets one clear error that names what came, before anything has changed."""

import functools
import math
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import torch

from Proj_Miniproject2.model import (
    MSE,
    SGD,
    Conv2d,
    Model,
    NearestUpsampling,
    ReLU,
    Sequential,
    Sigmoid,
    TransposeConv2d,
    Upsampling,
)
from Proj_Miniproject2.others.formats.files import load
from Proj_Miniproject2.others.training.by_recipe import fingerprint
from Proj_Miniproject2.others.training.optimizers import Muon
from Proj_Miniproject2.others.training.recipe import Recipe

ones = torch.ones


def check(call, error, words):
    """The call raises just this error, and its message names the words (a regular expression)."""
    with pytest.raises(error, match=words) as raised:
        call()
    assert raised.type is error  # a subclass, as UnicodeDecodeError of ValueError, would be an accident
    assert len(str(raised.value)) < 1000
    assert "weights_only" not in str(raised.value)  # torch's own advice: to trust the file


# ----------------------------------------------------------------------------------------------------------
# Constructors

CONV = {
    "no channels": (dict(in_channels=0), ValueError, "in_channels.*0"),
    "negative channels": (dict(out_channels=-3), ValueError, "out_channels.*-3"),
    "fractional channels": (dict(in_channels=2.0), TypeError, r"in_channels.*2\.0"),
    "no groups": (dict(groups=0), ValueError, "groups.*0"),
    "groups not dividing in_channels": (dict(in_channels=3, groups=2), ValueError, "groups"),
    "groups not dividing out_channels": (dict(out_channels=3, groups=2), ValueError, "groups"),
    "kernel of none": (dict(kernel_size=0), ValueError, "kernel_size.*0"),
    "kernel of a negative size": (dict(kernel_size=(3, -1)), ValueError, "kernel_size.*-1"),
    "fractional kernel": (dict(kernel_size=3.0), TypeError, r"kernel_size.*3\.0"),
    "fractional kernel in a pair": (dict(kernel_size=(3, 2.5)), TypeError, r"kernel_size.*2\.5"),
    "kernel as text": (dict(kernel_size="3"), TypeError, "kernel_size.*3"),
    "kernel missing": (dict(kernel_size=None), TypeError, "kernel_size.*None"),
    "kernel in three dimensions": (dict(kernel_size=(3, 3, 3)), TypeError, "kernel_size.*3, 3, 3"),
    "stride of none": (dict(stride=0), ValueError, "stride.*0"),
    "fractional stride": (dict(stride=1.5), TypeError, r"stride.*1\.5"),
    "dilation of none": (dict(dilation=0), ValueError, "dilation.*0"),
    "negative padding": (dict(padding=-1), ValueError, "padding.*-1"),
    "fractional padding": (dict(padding=(0, 0.5)), TypeError, r"padding.*0\.5"),
    "other padding mode": (dict(padding_mode="reflect"), ValueError, "padding_mode.*reflect"),
}
ONLY_CONV = {
    "unknown padding": (dict(padding="full"), ValueError, "padding.*full"),
    "same padding with a stride": (dict(padding="same", stride=2), ValueError, "same"),
}
ONLY_TRANSPOSE = {
    "padding as text": (dict(padding="same"), TypeError, "padding.*same"),
    "negative output padding": (dict(output_padding=-1), ValueError, "output_padding.*-1"),
    "output padding of a stride": (dict(output_padding=2, stride=2), ValueError, "output_padding.*2"),
    "output padding, one side": (dict(output_padding=(0, 1)), ValueError, "output_padding.*1"),
}
CONSTRUCTORS = [
    pytest.param(block, *case, id=f"{block.__name__}: {name}")
    for block, cases in [
        (Conv2d, CONV | ONLY_CONV),
        (TransposeConv2d, CONV | ONLY_TRANSPOSE),
        (Upsampling, CONV | ONLY_TRANSPOSE),
    ]
    for name, case in cases.items()
]


@pytest.mark.parametrize("block, changes, error, words", CONSTRUCTORS)
def test_convolution_options(block, changes, error, words):
    options = dict(in_channels=4, out_channels=4, kernel_size=3)
    block(**options)
    check(lambda: block(**{**options, **changes}), error, words)


OTHERS = {
    "NearestUpsampling by 0": (lambda: NearestUpsampling(0), ValueError, "scale_factor.*0"),
    "NearestUpsampling by -1": (lambda: NearestUpsampling((2, -1)), ValueError, "scale_factor.*-1"),
    "NearestUpsampling by 1.5": (lambda: NearestUpsampling(1.5), TypeError, r"scale_factor.*1\.5"),
    "NearestUpsampling by text": (lambda: NearestUpsampling("2"), TypeError, "scale_factor.*2"),
    "Sequential of a function": (lambda: Sequential(ReLU(), abs), TypeError, "abs|function"),
    "Sequential of a class": (lambda: Sequential(ReLU), TypeError, "type|ReLU"),
    "Sequential of a list": (lambda: Sequential([ReLU()]), TypeError, "list"),
    "MSE, unknown reduction": (lambda: MSE("median"), ValueError, "reduction.*median"),
    "SGD, negative lr": (lambda: SGD(Conv2d(1, 1, 1).param(), lr=-1), ValueError, "lr.*-1"),
    "SGD, lr is NaN": (lambda: SGD(Conv2d(1, 1, 1).param(), lr=math.nan), ValueError, "lr.*nan"),
    "Muon, negative lr": (lambda: Muon(Conv2d(1, 1, 1).param(), lr=-1), ValueError, "lr.*-1"),
    "Muon, negative decay": (lambda: Muon(Conv2d(1, 1, 1).param(), weight_decay=-1), ValueError, "weight_decay.*-1"),
    "Muon, momentum of 1": (lambda: Muon(Conv2d(1, 1, 1).param(), momentum=1), ValueError, "momentum.*1"),
    "SGD without parameters": (lambda: SGD([]), ValueError, "param"),
    "SGD of tensors": (lambda: SGD([ones(3)]), TypeError, "Tensor"),
    "SGD of a module": (lambda: SGD(Conv2d(1, 1, 1)), TypeError, "Conv2d"),
}


@pytest.mark.parametrize("call, error, words", OTHERS.values(), ids=OTHERS)
def test_other_constructors(call, error, words):
    check(call, error, words)


# ----------------------------------------------------------------------------------------------------------
# forward and backward

INPUTS = {
    "rank 2": (ones(4, 8), ValueError, r"\(4, 8\)"),
    "rank 5": (ones(1, 1, 4, 8, 8), ValueError, r"\(1, 1, 4, 8, 8\)"),
    "scalar": (ones(()), ValueError, r"\(\)"),
    "too few channels": (ones(2, 3, 8, 8), ValueError, r"4.*\b3\b"),
    "too many channels, no batch": (ones(5, 8, 8), ValueError, r"4.*\b5\b"),
    "channels last": (ones(2, 8, 8, 4), ValueError, r"4.*\b8\b"),
    "uint8": (ones(2, 4, 8, 8, dtype=torch.uint8), TypeError, "float32.*uint8"),
    "another float": (ones(2, 4, 8, 8, dtype=torch.float64), TypeError, "float32.*float64"),
    "complex": (ones(2, 4, 8, 8, dtype=torch.complex64), TypeError, "float32.*complex64"),
    "another device": (ones(2, 4, 8, 8, device="meta"), ValueError, "cpu.*meta"),
    "no tensor": ([[1.0]], TypeError, "list"),
    "nothing": (None, TypeError, "None"),
}
CONVOLUTIONS = {
    "Conv2d": lambda: Conv2d(4, 6, 3),
    "TransposeConv2d": lambda: TransposeConv2d(4, 6, 3),
    "Sequential": lambda: Sequential(Conv2d(4, 6, 3), ReLU()),
}


@pytest.mark.parametrize("x, error, words", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_inputs(make, x, error, words):
    check(lambda: make()(x), error, words)


GRADIENTS = {
    "too small": (ones(2, 6, 5, 6), ValueError, r"\(2, 6, 5, 6\)"),
    "broadcastable": (ones(1, 6, 1, 1), ValueError, r"\(1, 6, 1, 1\)"),
    "without the batch": (ones(6, 6, 6), ValueError, r"\(6, 6, 6\)"),
    "scalar": (ones(()), ValueError, r"\(\)"),
    "another float": (ones(2, 6, 6, 6, dtype=torch.float64), TypeError, "float32.*float64"),
    "integers": (ones(2, 6, 6, 6, dtype=torch.int64), TypeError, "int64"),
    "another device": (ones(2, 6, 6, 6, device="meta"), ValueError, "cpu.*meta"),
    "no tensor": (1.0, TypeError, "float"),
}
BLOCKS = {
    "Conv2d": (lambda: Conv2d(4, 6, 3), (2, 4, 8, 8)),
    "TransposeConv2d": (lambda: TransposeConv2d(4, 6, 3), (2, 4, 4, 4)),
    "NearestUpsampling": (lambda: NearestUpsampling(2), (2, 6, 3, 3)),
    "ReLU": (ReLU, (2, 6, 6, 6)),
    "Sigmoid": (Sigmoid, (2, 6, 6, 6)),
    "Sequential": (lambda: Sequential(Sigmoid(), Conv2d(4, 6, 3)), (2, 4, 8, 8)),
}


@pytest.mark.parametrize("grad, error, words", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("make, shape", BLOCKS.values(), ids=BLOCKS)
def test_gradients(make, shape, grad, error, words):
    block = make()
    assert block(ones(shape)).shape == (2, 6, 6, 6)
    check(lambda: block.backward(grad), error, words)
    assert not any(g.any() for _, g in block.param())


SMALL = {
    "kernel larger than the image": (lambda: Conv2d(1, 1, 3)(ones(1, 1, 2, 9)), r"at least \(3, 3\), got \(2, 9\)"),
    "kernel wider than the padded image": (
        lambda: Conv2d(1, 1, (1, 6), padding=1)(ones(1, 1, 9, 3)),
        r"at least \(1, 6\), got \(11, 5\)",
    ),
    "dilated kernel larger than the image": (
        lambda: Conv2d(1, 1, 3, dilation=4)(ones(1, 8, 9)),
        r"at least \(9, 9\), got \(8, 9\)",
    ),
    "image without rows": (lambda: Conv2d(1, 1, 1)(ones(1, 1, 0, 4)), r"got \(0, 4\)"),
    "nothing but padding": (lambda: Conv2d(64, 64, 3, padding=20)(ones(1, 64, 0, 4)), r"got \(40, 44\)"),
    "nothing but padding, few channels": (lambda: Conv2d(3, 3, 3, padding=20)(ones(1, 3, 0, 4)), r"got \(40, 44\)"),
    "image without columns": (lambda: TransposeConv2d(1, 1, 3)(ones(1, 1, 4, 0)), r"from one of \(4, 0\)"),
    "padding that eats the output": (
        lambda: TransposeConv2d(1, 1, 3, padding=2)(ones(1, 1, 2, 9)),
        r"\(0, 7\) from one of \(2, 9\)",
    ),
}


@pytest.mark.parametrize("call, words", SMALL.values(), ids=SMALL)
def test_images_too_small(call, words):
    check(call, ValueError, words)


BLOCK_INPUTS = {
    "ReLU of a list": (lambda: ReLU()([1.0]), TypeError, "list"),
    "Sigmoid of a number": (lambda: Sigmoid()(1.0), TypeError, "float"),
    "Sigmoid of integers": (lambda: Sigmoid()(ones(3, dtype=torch.int64)), TypeError, "int64"),
    "NearestUpsampling of rank 2": (lambda: NearestUpsampling(2)(ones(3, 3)), ValueError, r"\(3, 3\)"),
    "NearestUpsampling of no rows": (lambda: NearestUpsampling(2)(ones(1, 3, 0, 4)), ValueError, r"\(1, 3, 0, 4\)"),
    "NearestUpsampling of a list": (lambda: NearestUpsampling(2)([1.0]), TypeError, "list"),
    "MSE of two shapes": (lambda: MSE()(ones(2, 3), ones(2, 4)), ValueError, r"\(2, 3\).*\(2, 4\)"),
    "MSE that would broadcast": (lambda: MSE()(ones(2, 3), ones(3)), ValueError, r"\(2, 3\).*\(3,\)"),
    "MSE of two dtypes": (lambda: MSE()(ones(2), ones(2).double()), TypeError, "float32.*float64"),
    "MSE of integers": (lambda: MSE()(*[ones(2, dtype=torch.uint8)] * 2), TypeError, "uint8"),
    "MSE of two devices": (lambda: MSE()(ones(2), ones(2, device="meta")), ValueError, "cpu.*meta"),
    "MSE without a target": (lambda: MSE()(ones(2), None), TypeError, "None"),
    "to the device meta": (lambda: Conv2d(1, 1, 1).to("meta"), TypeError, "meta"),
    "to float8": (lambda: Conv2d(1, 1, 1).to(torch.float8_e4m3fn), TypeError, "float8"),
    "ReLU of a sparse tensor": (lambda: ReLU()(ones(3, 3).to_sparse()), TypeError, "sparse"),
    "to integers, as a tensor": (lambda: Conv2d(1, 1, 1).to(ones(1).int()), TypeError, "int32"),
    "to integers": (lambda: Conv2d(1, 1, 1).to(torch.int64), TypeError, "int64"),
    "weight from a list": (lambda: setattr(Conv2d(1, 1, 1), "weight", [1.0]), TypeError, "list"),
    "weight from None": (lambda: setattr(Conv2d(1, 1, 1), "weight", None), TypeError, "None"),
    "bias of a layer without": (
        lambda: setattr(Conv2d(1, 1, 1, bias=False), "bias", ones(1)),
        ValueError,
        "bias",
    ),
}


@pytest.mark.parametrize("call, error, words", BLOCK_INPUTS.values(), ids=BLOCK_INPUTS)
def test_inputs_of_other_blocks(call, error, words):
    check(call, error, words)


# ----------------------------------------------------------------------------------------------------------
# Model


@pytest.fixture(scope="module")
def model():
    return Model()


@pytest.fixture(autouse=True)
def model_stays_as_it_was(request):
    """After every case here the model's weights are what they were."""
    model = request.getfixturevalue("model") if "model" in request.fixturenames else None
    before = model.network.state_dict() if model else {}
    yield
    assert all(torch.equal(v, before[k]) for k, v in (model.network.state_dict() if model else {}).items())


def images(*shape, value=128.0, dtype=torch.float32):
    return torch.full(shape, value, dtype=dtype)


def one_pixel(value):
    """Good images but for one number."""
    x = images(4, 3, 32, 32)
    x[2, 1, 30, 7] = value
    return x


IMAGES = {
    "rank 3": (images(3, 32, 32), ValueError, r"\(3, 32, 32\)"),
    "rank 5": (images(1, 4, 3, 32, 32), ValueError, r"\(1, 4, 3, 32, 32\)"),
    "one channel": (images(4, 1, 32, 32), ValueError, r"\(4, 1, 32, 32\)"),
    "four channels": (images(4, 4, 32, 32), ValueError, r"\(4, 4, 32, 32\)"),
    "channels last": (images(4, 32, 32, 3), ValueError, r"\(4, 32, 32, 3\)"),
    "int64": (images(4, 3, 32, 32).long(), TypeError, "uint8.*int64"),
    "bool": (images(4, 3, 32, 32).bool(), TypeError, "uint8.*bool"),
    "complex": (images(4, 3, 32, 32) + 0j, TypeError, "uint8.*complex64"),
    "no storage": (torch.empty(4, 3, 32, 32, device="meta"), TypeError, "meta"),
    "list": ([[0.0]], TypeError, "list"),
    "None": (None, TypeError, "None"),
    "NaN": (one_pixel(math.nan), ValueError, r"\[0, 255\].*nan|(?i:nan).*\[0, 255\]"),
    "infinity": (one_pixel(math.inf), ValueError, r"\[0, 255\].*inf"),
    "negative": (one_pixel(-1.0), ValueError, r"\[0, 255\].*-1"),
    "above 255": (one_pixel(255.5), ValueError, r"\[0, 255\].*255\.5"),
}
ODD_TENSORS = {
    "sparse": (images(1, 3, 8, 8).to_sparse(), TypeError, "dense.*sparse"),
    "float8": (images(1, 3, 8, 8).to(torch.float8_e4m3fn), TypeError, "float8"),
    "nested": (torch.nested.nested_tensor([images(3, 8, 8)]), TypeError, "dense.*nested"),
    "mkldnn": (images(1, 3, 8, 8).to_mkldnn(), TypeError, "dense.*mkldnn"),
}
NO_PIXELS = {
    "no rows": (images(4, 3, 0, 32), ValueError, r"\(4, 3, 0, 32\)"),
    "no columns": (images(4, 3, 32, 0), ValueError, r"\(4, 3, 32, 0\)"),
}


ALL_IMAGES = IMAGES | NO_PIXELS | ODD_TENSORS


@pytest.mark.parametrize("x, error, words", ALL_IMAGES.values(), ids=ALL_IMAGES)
def test_predict(model, x, error, words):
    check(lambda: model.predict(x), error, words)


@pytest.mark.parametrize("x, error, words", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("place", ["train_input", "train_target"])
def test_train_images(model, capfd, place, x, error, words):
    arguments = {"train_input": images(4, 3, 32, 32), "train_target": images(4, 3, 32, 32), place: x}
    check(lambda: model.train(**arguments, num_epochs=1), error, words)
    assert capfd.readouterr() == ("", "")  # no work was begun


GOOD = images(4, 3, 32, 32)
TRAIN = {
    "unequal numbers": ((GOOD, GOOD[:3]), {}, ValueError, r"\(4, 3, 32, 32\).*\(3, 3, 32, 32\)"),
    "unequal heights": ((GOOD, GOOD[:, :, :28]), {}, ValueError, r"\(4, 3, 32, 32\).*\(4, 3, 28, 32\)"),
    "unequal widths": ((GOOD[..., :28], GOOD), {}, ValueError, r"\(4, 3, 32, 28\).*\(4, 3, 32, 32\)"),
    "zero pairs": ((GOOD[:0], GOOD[:0]), {}, ValueError, "pair|image|\\(0, 3, 32, 32\\)"),
    "zero epochs": ((GOOD, GOOD), dict(num_epochs=0), ValueError, "num_epochs.*0"),
    "negative epochs": ((GOOD, GOOD), dict(num_epochs=-2), ValueError, "num_epochs.*-2"),
    "fractional epochs": ((GOOD, GOOD), dict(num_epochs=1.5), TypeError, r"num_epochs.*1\.5"),
    "epochs as text": ((GOOD, GOOD), dict(num_epochs="1"), TypeError, "num_epochs.*1"),
}


@pytest.mark.parametrize("arguments, options, error, words", TRAIN.values(), ids=TRAIN)
def test_train(model, capfd, arguments, options, error, words):
    check(lambda: model.train(*arguments, **{"num_epochs": 1, **options}), error, words)
    assert capfd.readouterr() == ("", "")


RECIPES = {
    "lr of zero": (dict(lr=0), ValueError, "lr.*0"),
    "negative lr": (dict(lr=-0.1), ValueError, r"lr.*-0\.1"),
    "lr is NaN": (dict(lr=math.nan), ValueError, "lr.*nan"),
    "lr beyond float32": (dict(lr=1e308), ValueError, "lr.*1e.308"),
    "weight decay beyond float32": (dict(weight_decay=1e308), ValueError, "weight_decay.*1e.308"),
    "augment as a tensor": (dict(augment=ones(2)), TypeError, "augment.*tensor"),
    "infinite lr": (dict(lr=math.inf), ValueError, "lr.*inf"),
    "zero epochs": (dict(num_epochs=0), ValueError, "num_epochs.*0"),
    "batches of none": (dict(batch_size=0), ValueError, "batch_size.*0"),
    "fractional batches": (dict(batch_size=2.5), TypeError, r"batch_size.*2\.5"),
    "optimizer by name": (dict(optimizer="rmsprop"), TypeError, "optimizer.*rmsprop"),
    "schedule by name": (dict(schedule="linear"), TypeError, "schedule.*linear"),
    "lr as text": (dict(lr="0.1"), TypeError, "lr.*0\\.1"),
    "augment as text": (dict(augment="no"), TypeError, "augment.*no"),
    "infinite weight decay": (dict(weight_decay=math.inf), ValueError, "weight_decay.*inf"),
    "unknown precision": (dict(precision="int8"), ValueError, "precision.*int8"),
    "momentum of 1": (dict(momentum=1), ValueError, "momentum.*1"),
    "negative warm-up": (dict(warmup=-0.1), ValueError, r"warmup.*-0\.1"),
    "all batches small": (dict(small_batches=1), ValueError, "small_batches.*1"),
    "average of 1": (dict(average=1), ValueError, "average.*1"),
    "negative weight decay": (dict(weight_decay=-1), ValueError, "weight_decay.*-1"),
}


@pytest.mark.parametrize("options, error, words", RECIPES.values(), ids=RECIPES)
def test_recipes(model, capfd, options, error, words):
    check(lambda: model.train(GOOD, GOOD, recipe=Recipe(**options)), error, words)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("recipe", ["report", {"lr": 0.1}], ids=str)
def test_recipes_are_recipes(model, recipe):
    check(lambda: model.train(GOOD, GOOD, recipe=recipe), TypeError, "recipe.*Recipe")


def test_checkpoint_in_no_folder(model, tmp_path, capfd):
    """Found out before an epoch is spent."""
    path = tmp_path / "nowhere" / "checkpoint.pth"
    check(lambda: model.train(GOOD, GOOD, 1, checkpoint=path), FileNotFoundError, "nowhere")
    assert capfd.readouterr() == ("", "")


def nested(levels, make):
    """What becomes 2^levels things if it is written out."""
    part = make()
    for _ in range(levels):
        part = make(part, part)
    return part


PARTS = {
    "of endless lists": nested(60, lambda *parts: [*parts]),
    "of endless dicts": nested(60, lambda *parts: OrderedDict(enumerate(parts))),
    "that is deep": functools.reduce(lambda part, _: [part], range(300), []),
    "of tensors": [ones(2, 2), {"average": ones(2)}],
    "that is a tensor": ones(3, 3),
    "that is a number": 5.0,
}
CHECKPOINTS = {
    "empty": lambda path, good: path.write_bytes(b""),
    "text": lambda path, good: path.write_text("nothing\n"),
    "cut in the middle": lambda path, good: path.write_bytes(good[: len(good) // 2]),
    "weights alone": lambda path, good: torch.save(Model().network.state_dict(), path),
    "a tensor": lambda path, good: torch.save(ones(3), path),
    "other weights": lambda path, good: changed_checkpoint(path, good, network={}),
    "epochs as text": lambda path, good: changed_checkpoint(path, good, epochs="1"),
    "epochs below none": lambda path, good: changed_checkpoint(path, good, epochs=-5),
    "a velocity of another shape": lambda path, good: changed_state(path, good, velocity=ones(7)),
    "a velocity of NaN": lambda path, good: changed_state(path, good, velocity=ones(3) * math.nan),
    "a velocity that is none": lambda path, good: changed_state(path, good, velocity=3.0),
    "no velocity": lambda path, good: changed_state(path, good, without="velocity"),
    "an average of another shape": lambda path, good: changed_state(path, good, average=ones(7)),
    "no average": lambda path, good: changed_state(path, good, without="average"),
    "states with endless names": lambda path, good: changed_state(path, good, **{"name" * 500_000: 3}),
    **{
        f"{name} {kind}": lambda path, good, name=name, part=part: changed_checkpoint(path, good, **{name: part})
        for name in ("recipe", "seed", "about", "epochs", "history", "state", "network")
        for kind, part in PARTS.items()
    },
    "history without losses": lambda path, good: changed_checkpoint(path, good, history={"seconds": 1.0}),
    "history with texts": lambda path, good: changed_checkpoint(
        path, good, history={"seconds": 1.0, "losses": {1: "low"}}
    ),
}


def changed_checkpoint(path, good, without=None, **changes):
    path.write_bytes(good)
    content = {**torch.load(path, weights_only=True), **changes}
    torch.save({k: v for k, v in content.items() if k != without}, path)


def changed_state(path, good, without=None, **changes):
    """With the last parameter's state changed"""
    path.write_bytes(good)
    *others, last = torch.load(path, weights_only=True)["state"]
    last = {k: v for k, v in {**last, **changes}.items() if k != without}
    changed_checkpoint(path, good, state=[*others, last])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a checkpoint after the first of two epochs."""
    path = tmp_path_factory.mktemp("good") / "checkpoint.pth"

    def pairs(epoch):
        if epoch:
            raise KeyboardInterrupt
        return GOOD, GOOD

    with pytest.raises(KeyboardInterrupt):
        Model().fit(pairs, 2, checkpoint=path, about={"pairs": fingerprint(GOOD, GOOD)})
    return path.read_bytes()


@pytest.mark.parametrize("write", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_broken_checkpoints(model, tmp_path, checkpoint, write):
    path = tmp_path / "checkpoint.pth"
    write(path, checkpoint)
    content = path.read_bytes()
    check(lambda: model.train(GOOD, GOOD, 2, checkpoint=path), ValueError, "checkpoint.pth")
    assert path.read_bytes() == content  # it may be somebody's only copy of something


def test_checkpoints_with_a_part_missing(model, tmp_path, checkpoint):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(checkpoint)
    for part in torch.load(path, weights_only=True):
        changed_checkpoint(path, checkpoint, without=part)
        check(lambda: model.train(GOOD, GOOD, 2, checkpoint=path), ValueError, "checkpoint.pth")


OTHER_TRAININGS = {"seed": dict(seed=1), "epochs": dict(num_epochs=3), "recipe": dict(recipe=Recipe(lr=0.1))}


@pytest.mark.parametrize("options", OTHER_TRAININGS.values(), ids=OTHER_TRAININGS)
def test_checkpoints_of_another_training(model, tmp_path, checkpoint, options):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(checkpoint)
    options = {"num_epochs": 2, **options}
    check(lambda: model.train(GOOD, GOOD, **options, checkpoint=path), ValueError, "checkpoint.pth")
    assert path.read_bytes() == checkpoint


# ----------------------------------------------------------------------------------------------------------
# Weight files

MARKER = "executed"


class Malicious:
    """Whoever unpickles this without care writes a file into the working directory."""

    def __reduce__(self):
        return open, (MARKER, "w")


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


def truncated(path, state, keep):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def some_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def written_anew(path, state, compression=zipfile.ZIP_STORED, pickled=None):
    """As torch.save, but compressed or with another pickle."""
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, pickled if pickled and name.endswith("data.pkl") else content)


def of_tuples(levels):
    """A pickled dict with a key that takes 2^levels steps to hash: each tuple holds the one before, twice."""
    twice = b"".join(b"h%c\x86q%cq%c" % (i, i + 1, i + 1) for i in range(levels))
    return b"\x80\x02}X\x01\x00\x00\x00aq\x00" + twice + b"K\x01s."


FILES = {
    "missing": (lambda path, state: None, FileNotFoundError),
    "a folder": (lambda path, state: path.mkdir(), FileNotFoundError),
    "empty": (lambda path, state: path.write_bytes(b""), ValueError),
    "cut near the start": (lambda path, state: truncated(path, state, 0.001), ValueError),
    "cut in the middle": (lambda path, state: truncated(path, state, 0.5), ValueError),
    "cut near the end": (lambda path, state: truncated(path, state, 0.9999), ValueError),
    "text": (lambda path, state: path.write_text("no weights at all\n"), ValueError),
    "a Git LFS pointer": (
        lambda path, state: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        ValueError,
    ),
    "noise": (lambda path, state: path.write_bytes(bytes(range(256)) * 40), ValueError),
    "a zip": (lambda path, state: some_zip(path), ValueError),
    "compressed, of any size": (lambda path, state: written_anew(path, state, zipfile.ZIP_DEFLATED), ValueError),
    "an endless key": (lambda path, state: written_anew(path, {}, pickled=of_tuples(60)), ValueError),
    "written before there were sums": (
        lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False),
        ValueError,
    ),
    "a pickled list": (lambda path, state: path.write_bytes(pickle.dumps([1, 2])), ValueError),
    "code to execute": (lambda path, state: torch.save({**state, "x": Malicious()}, path), ValueError),
    "pickled code": (lambda path, state: path.write_bytes(pickle.dumps(Malicious())), ValueError),
    "a list": (lambda path, state: torch.save(list(state.values()), path), ValueError),
    "a tensor": (lambda path, state: torch.save(state["0.weight"], path), ValueError),
    "None": (lambda path, state: torch.save(None, path), ValueError),
    "nothing in it": (lambda path, state: torch.save({}, path), ValueError),
    "a whole torch module": (lambda path, state: torch.save(torch.nn.Conv2d(3, 3, 3), path), ValueError),
    "nested states": (lambda path, state: torch.save({"state_dict": state}, path), ValueError),
    "a key too few": (lambda path, state: torch.save(without(state, "6.bias"), path), ValueError),
    "a key too many": (lambda path, state: torch.save({**state, "8.bias": ones(3)}, path), ValueError),
    "keys renamed": (
        lambda path, state: torch.save({f"net.{k}": v for k, v in state.items()}, path),
        ValueError,
    ),
    "numbers as keys": (lambda path, state: torch.save(dict(enumerate(state.values())), path), ValueError),
    "a wrong shape": (
        lambda path, state: torch.save({**state, "6.weight": ones(128, 3, 5, 5)}, path),
        ValueError,
    ),
    "a broadcastable shape": (lambda path, state: torch.save({**state, "6.bias": ones(1)}, path), ValueError),
    "endless keys": (
        lambda path, state: torch.save({f"{k} " * 100_000: v for k, v in state.items()}, path),
        ValueError,
    ),
    "a number for a tensor": (lambda path, state: torch.save({**state, "6.bias": 0.0}, path), ValueError),
}


@pytest.mark.parametrize("write, error", FILES.values(), ids=FILES)
def test_weight_files(model, tmp_path, monkeypatch, write, error):
    path = tmp_path / "bestmodel.pth"
    write(path, {k: v + 1 for k, v in model.network.state_dict().items()})
    monkeypatch.setattr(Model, "PRETRAINED", path)
    monkeypatch.chdir(tmp_path)
    check(model.load_pretrained_model, error, "bestmodel.pth")
    assert not (tmp_path / MARKER).exists()


def test_pickles_that_hold_the_same_tuple_twice_are_what_they_seem(tmp_path):
    """What the case of an endless key relies on: with fewer levels torch reads it."""
    written_anew(tmp_path / "file", {}, pickled=of_tuples(3))
    ((key, value),) = torch.load(tmp_path / "file", weights_only=True).items()
    pair = ("a", "a")
    assert value == 1 and key == ((pair, pair), (pair, pair))


def test_one_flipped_bit_is_noticed(tmp_path):
    """Anywhere in the file, unless nothing changes by it."""
    path, good = tmp_path / "weights.pth", {"w": torch.randn(4, 4), "b": torch.randn(3)}
    torch.save(good, path)
    content, refused = path.read_bytes(), 0
    folders = [i + 38 for i in range(len(content)) if content[i : i + 4] == b"PK\1\2"]  # marked so by the fifth bit
    bits = [8 * i + 4 for i in folders] + random.Random(0).sample(range(8 * len(content)), 200)
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = load(path, "cpu")
        except ValueError as error:
            refused += "is damaged" in str(error)
        else:
            assert found.keys() == good.keys() and all(torch.equal(found[name], good[name]) for name in good)
    assert refused > 100


def test_a_flipped_bit_in_the_shipped_weights_is_noticed(model, tmp_path):
    path, content = tmp_path / "bestmodel.pth", bytearray(Model.PRETRAINED.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)
    check(lambda: model.load_weights(path), ValueError, "bestmodel.pth.*is damaged")

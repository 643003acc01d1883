"""The course's grader: `python test.py [-p PROJECT_FOLDER] [-d DATA_FOLDER]`.

Runs the course's six checks, which stand first, and further compares the backward pass of every block with torch's
autograd: two totals. Works on any submission of the class, whatever its package's name, way of importing and
conventions, of which there is a table below; where one is unknown it says "can't tell". It runs the submission's code,
in a process of its own, so point it only at code that you would run yourself. The exit status is 0 when no check fails,
1 when one does, 2 on bad arguments or a missing package.
"""

import argparse
import contextlib
import functools
import importlib
import inspect
import multiprocessing
import os
import re
import sys
import unittest
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F

from Proj_Miniproject2.others.networks import NETWORKS
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.scenes import builtin_data

# What is graded, for `main` to set: `package`, a path; `module`, its model.py, or `error`, why it can't be imported;
# `train_pairs`, two noisy versions of the same images, and `val_pairs`, (noisy, clean), uint8 (N, 3, H, W); `drawn`,
# whether these are the built-in scenes.
graded = SimpleNamespace()


class Check(unittest.TestCase):
    longMessage = False  # a failure says what we say, and no more

    def setUp(self):
        torch.manual_seed(0)  # the submission draws its first weights from torch's own generator
        if not graded.module and self._testMethodName != "test_1_structure":
            self.fail(f"model.py can't be imported: {graded.error}")


class Course(Check):
    """The course's six checks."""

    def test_1_structure(self):
        """1. The folder holds __init__.py and model.py, and should hold a report and bestmodel.pth"""
        for name in ("__init__.py", "model.py"):
            with self.subTest(name):
                self.assertTrue((graded.package / name).is_file(), f"{graded.package} holds no {name}")
        if not (graded.package / "bestmodel.pth").is_file():
            print(f"warning: {graded.package} holds no bestmodel.pth")
        look_for_report([*graded.package.iterdir(), *graded.package.parent.iterdir()])

    def test_2_instantiation(self):
        """2. Model() needs no argument"""
        make("Model")

    def test_3_predict(self):
        """3. predict keeps the shape and the range of a 512 x 512 image"""
        predict(make("Model"), torch.rand(1, 3, 512, 512) * 255)

    def test_4_pretrained(self):
        """4. The pretrained model predicts the validation images"""
        val_psnr(pretrained(), "pretrained")

    def test_5_training(self):
        """5. After one more epoch of training the PSNR beats the noisy input's"""
        model, noisy = pretrained(), psnr(*graded.val_pairs)
        with attempt("train"):
            model.train(*graded.train_pairs, num_epochs=1)
        value = val_psnr(model, "after one epoch")
        if graded.drawn and not value > noisy:  # real ones fell there, and stayed as they were on the course's data
            cannot_tell(f"drawn scenes are not what it was trained on (PSNR {value:.2f} dB): see -d")
        self.assertGreater(value, noisy, f"PSNR {value:.2f} dB does not beat the noisy input's {noisy:.2f} dB")

    def test_6_forward(self):
        """6. Conv2d, Sigmoid and Sequential against torch, by conv.weight and conv.bias"""
        for name in ("Conv2d", "Sigmoid", "Sequential"):
            self.assertTrue(hasattr(graded.module, name), f"model.py has no {name}")
        x = torch.randn(1, 3, 32, 32)

        def conv_and_expected():
            conv = make("Conv2d", 3, 3, 3)
            with attempt("torch's conv2d with conv.weight and conv.bias"):
                return conv, F.conv2d(x, conv.weight.cpu(), conv.bias.cpu())

        with self.subTest("Conv2d"):
            conv, expected = conv_and_expected()
            assert_close("Conv2d.forward", forward("Conv2d", conv, x), expected)
        with self.subTest("Sigmoid"):
            assert_close("Sigmoid.forward", forward("Sigmoid", make("Sigmoid"), x), x.sigmoid())
        with self.subTest("Sequential"):
            conv, expected = conv_and_expected()
            sequential = make("Sequential", conv, make("Sigmoid"))
            assert_close("Sequential.forward", forward("Sequential", sequential, x), expected.sigmoid())


class Further(Check):
    """What we check further: forward and backward of every block against autograd, by `BLOCKS`."""

    def check(self, name):
        if (instead := INSTEAD.get(name)) and not find(name) and find(instead):
            self.skipTest(f"model.py has {instead} instead of {name}")
        meaning = meaning_of(name)
        for x_shape, args, kwargs in meaning.cases:
            what, x = call(name, args, kwargs), torch.randn(x_shape)
            with self.subTest(what, x=x_shape):
                made = make(name, *args, **kwargs)
                check_block(what, made, *meant(name, made, x, args, kwargs, meaning), x)

    def test_7_conv2d(self):
        """7. Conv2d, forward and backward, against autograd"""
        self.check("Conv2d")

    def test_7_transpose_conv2d(self):
        """7. TransposeConv2d, forward and backward, against autograd"""
        self.check("TransposeConv2d")

    def test_7_nearest_upsampling(self):
        """7. NearestUpsampling, forward and backward, against autograd"""
        self.check("NearestUpsampling")

    def test_7_upsampling(self):
        """7. Upsampling, forward and backward, against autograd"""
        self.check("Upsampling")

    def test_7_activations(self):
        """7. ReLU and Sigmoid, forward and backward, against autograd"""
        self.check("ReLU")
        self.check("Sigmoid")

    def test_7_sequential(self):
        """7. Sequential(Conv2d, ReLU, Conv2d, Sigmoid), forward and backward, against autograd"""
        x, sizes, options = torch.randn(4, 3, 12, 12), [(3, 4, 3), (4, 2, 3)], [{"stride": 2, "padding": 1}, {}]
        first, second = (make("Conv2d", *args, **kwargs) for args, kwargs in zip(sizes, options, strict=True))
        sequential = make("Sequential", first, make("ReLU"), second, make("Sigmoid"))
        values, before = meant("Conv2d", first, x, sizes[0], options[0], CONVOLUTION)
        others, after = meant("Conv2d", second, torch.randn(4, 4, 6, 6), sizes[1], options[1], CONVOLUTION)

        def reference(x, *leaves):
            return after(before(x, *leaves[: len(values)]).relu(), *leaves[len(values) :]).sigmoid()

        check_block("Sequential", sequential, values + others, reference, x)

    def test_7_mse(self):
        """7. MSE, forward and backward, against autograd"""
        for shape in ((1, 3, 32, 32), (4, 2, 7, 5)):
            with self.subTest(shape=shape):
                mse, prediction, target = make("MSE"), torch.randn(shape), torch.randn(shape)
                with torch.enable_grad():
                    leaf = prediction.clone().requires_grad_()
                    expected = F.mse_loss(leaf, target)
                    (gradient,) = torch.autograd.grad(expected, leaf)
                loss = plain_forward("MSE", mse, prediction, target)
                assert_close("MSE.forward", torch.as_tensor(loss), expected)
                with attempt("MSE.backward", loss):
                    # the gradient of the loss itself is 1, for those who ask for it
                    actual = mse.backward(*[] if accepts(mse.backward, [], {}) else [torch.ones(())])
                if actual is None:
                    cannot_tell("MSE.backward returns nothing: it may keep its gradient")
                assert_close("MSE.backward after forward(prediction, target)", actual, gradient)

    def test_7_sgd(self):
        """7. A step of SGD"""
        self.assertTrue(find("SGD"), "model.py has no SGD")
        if not accepts(find("SGD"), [None, 0.1], {}):
            cannot_tell(f"SGD takes {inspect.signature(find('SGD'))}, not (parameters, learning rate)")
        failures = []
        for form, optimized in SGD_OF.items():  # one of them must work
            for late in (False, True):
                try:
                    return check_sgd(form, optimized, late)
                except self.failureException as error:
                    failures.append(str(error))
        self.fail("SGD works in no form: " + "; ".join(failures))


# ---------------------------------------------------------------------------------------------------------------
# The conventions of the class

PACKAGES = "Proj_Miniproject2", "Miniproject_2"
OTHER_NAMES = {  # what else a block is called
    "Conv2d": ("Convolution", "Conv2D", "Conv"),
    "TransposeConv2d": ("ConvTranspose2d", "TransposedConv2d", "TransposeConv2D", "ConvTranspose", "TransposeConv"),
    "NearestUpsampling": ("Upsample", "NearestUpsample", "UpsamplingNearest2d"),
    "Upsampling": ("UpSampling", "Upsampling2d"),
    "ReLU": ("Relu", "RELU"),
    "MSE": ("MSELoss", "LossMSE", "MSEloss"),
    "SGD": ("Sgd", "StochasticGradientDescent"),
}
INSTEAD = {"TransposeConv2d": "NearestUpsampling", "NearestUpsampling": "TransposeConv2d"}  # one of them is asked for
SGD_OF = {  # what SGD is given
    "SGD(network.param(), 0.1)": lambda network, conv: network.param(),
    "SGD(network, 0.1)": lambda network, conv: network,
    "SGD([conv], 0.1)": lambda network, conv: [conv],
}


class Meaning(NamedTuple):
    """What a block of some arguments computes."""

    arguments: str
    function: callable  # of its arguments: torch's function of x, weight and bias, or of x
    cases: list  # (N, C, H, W) of the input; the block's positional arguments; its keyword arguments
    transposed: bool | None = None  # of a convolution


def convolution(function):
    """By options, torch's convolution of (x, weight, bias) for a bias of any shape, or none."""
    return lambda *_, **options: lambda x, weight, *bias: function(x, weight, *[b.flatten() for b in bias], **options)


def nearest(scale_factor):
    return lambda x: F.interpolate(x, scale_factor=scale_factor, mode="nearest")


STRIDED, SCALED = "(in, out, kernel, stride=, padding=)", "(in, out, kernel, scale_factor=, padding=)"
CONVOLUTIONS = [
    ((1, 3, 32, 32), (3, 3, 3), {}),
    ((4, 3, 12, 12), (3, 6, 4), {"stride": 2, "padding": 2}),
    ((2, 1, 9, 9), (1, 4, 1), {}),
    ((3, 2, 10, 10), (2, 3, 3), {"stride": 2}),  # the last row and column are never read
    ((2, 3, 11, 7), (3, 2, 3), {"stride": 2, "padding": 1}),
]
TRANSPOSEDS = [
    ((1, 3, 8, 8), (3, 3, 3), {}),
    ((4, 4, 6, 6), (4, 2, 4), {"stride": 2, "padding": 1}),
    ((2, 6, 5, 5), (6, 3, 5), {"stride": 2, "padding": 2}),
    ((3, 1, 7, 4), (1, 4, 2), {"stride": 3}),
]
CONVOLUTION = Meaning(STRIDED, convolution(F.conv2d), CONVOLUTIONS, transposed=False)
TRANSPOSED = Meaning(STRIDED, convolution(F.conv_transpose2d), TRANSPOSEDS, transposed=True)
UPSAMPLED = Meaning(
    SCALED,
    convolution(lambda x, *values, scale_factor, padding: F.conv2d(nearest(scale_factor)(x), *values, padding=padding)),
    [((2, 3, 6, 6), (3, 4, 3), {"scale_factor": 2, "padding": 1})],
    transposed=False,
)
NEAREST = Meaning("(scale_factor)", nearest, [((1, 3, 8, 8), (2,), {}), ((4, 2, 5, 7), (3,), {})])
ANY_SHAPES = [((1, 3, 32, 32), (), {}), ((4, 2, 7, 5), (), {})]
BLOCKS = {  # what each may mean; the first whose arguments it takes is meant
    "Conv2d": [CONVOLUTION],
    "TransposeConv2d": [TRANSPOSED],
    "NearestUpsampling": [NEAREST],
    "Upsampling": [TRANSPOSED, UPSAMPLED, NEAREST],
    "ReLU": [Meaning("()", lambda: torch.relu, ANY_SHAPES)],
    "Sigmoid": [Meaning("()", lambda: torch.sigmoid, ANY_SHAPES)],
}
SIZES = 2, 3, 5  # all unlike, so that the shapes of a convolution's parameters tell what is what
OPEN = "NearestUpsampling", "Upsampling"  # whose arguments the course leaves open: others are no fault


def meaning_of(name):
    """Which of BLOCKS the submission's block is."""
    found = find(name) or fail(f"model.py has no {name}")
    for meaning in BLOCKS[name]:
        if name not in OPEN or all(accepts(found, args, kwargs) for _, args, kwargs in meaning.cases):
            return meaning
    known = " or ".join(meaning.arguments for meaning in BLOCKS[name])
    cannot_tell(f"{name} takes {inspect.signature(found)}, not {known}")


def readings(weight, args, transposed):
    """How the weight of a layer (in, out, kernel) may be meant: functions to torch's layout, none where unknown."""
    ins, outs, kernel = args
    shape = torch.Size([ins, outs, kernel, kernel] if transposed else [outs, ins, kernel, kernel])
    if not transposed:
        return [lambda w: w.reshape(shape)] if len(weight) == shape[0] and weight.numel() == shape.numel() else []
    turns = [lambda w: w, lambda w: w.transpose(0, 1)] if weight.dim() == 4 else []
    layouts = [turn for turn in turns if turn(weight).shape == shape]
    return layouts + [lambda w, turn=turn: turn(w).flip(2, 3) for turn in layouts]


def tensor_of(value):
    """The tensor that a parameter or gradient is, or that an object of theirs holds; None where there is none."""
    held = [value, *(getattr(value, name, None) for name in ("data", "value", "tensor"))]
    return next((tensor for tensor in held if isinstance(tensor, torch.Tensor)), None)


def is_own(output):
    """Whether an output is more than a tensor: of a type of the submission's own, or with attributes of its own."""
    return tensor_of(output) is not None and (type(output) is not torch.Tensor or bool(vars(output)))


def parameters(block):
    """The tensors (weight, bias) of a block: its attributes, or else the first of each pair of `param()`."""
    values = [tensor_of(getattr(block, name, None)) for name in ("weight", "bias")]
    if values[0] is None:
        values = [tensor_of(pair[0]) for pair in block.param()]
    return sorted((value for value in values if value is not None), key=torch.Tensor.dim, reverse=True)


def accepts(function, args, kwargs):
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------
# How the submission is asked

TOLERANCE = 1e-4  # of the largest value expected: float32, whatever the order of the sums
REPORT_PAGES = 3


def fail(why):
    raise AssertionError(why)


def cannot_tell(why):
    raise unittest.SkipTest(f"can't tell: {why}")


@contextlib.contextmanager
def attempt(what, output=None):
    """Whatever is raised inside is a failure that names the culprit. But the backward pass may ask for more than a
    plain tensor, if that is what the forward pass gave as its `output`."""
    try:
        yield
    except Exception as error:
        if is_own(output):
            cannot_tell(f"{what} doesn't take a plain tensor, as forward gives none: {error}")
        fail(f"{what} raised {type(error).__name__}: {error}")


def find(name):
    """The submission's class of that or another name; None if there is none."""
    names = [own for own in (name, *OTHER_NAMES.get(name, ())) if hasattr(graded.module, own)]
    return getattr(graded.module, names[0]) if names else None


def make(name, *args, **kwargs):
    """One of the submission's blocks, or its Model, newly made."""
    found = find(name) or fail(f"model.py has no {name}")
    with attempt(call(name, args, kwargs)):
        return found(*args, **kwargs)


def call(name, args, kwargs):
    """The call as one would write it: `Conv2d(3, 6, 4, stride=2)`."""
    return f"{name}({', '.join([repr(a) for a in args] + [f'{k}={v!r}' for k, v in kwargs.items()])})"


def forward(what, block, *inputs):
    with attempt(f"{what}.forward"):
        return block.forward(*[tensor.clone() for tensor in inputs])


def plain_forward(what, block, *inputs):
    """As `forward`, to be followed by `backward`, to which we can give none but tensors."""
    output = forward(what, block, *inputs)
    if is_own(output) and not isinstance(output, torch.Tensor):
        cannot_tell(f"{what}.forward gives {type(output).__name__}, a type of its own")
    return output


def numbers(what, value):
    """A tensor of the submission's, in float64 on the CPU. It fails if it is none, or none of real numbers."""
    if not isinstance(value, torch.Tensor):
        fail(f"{what} is {type(value).__name__}, not a tensor")
    if value.is_complex():
        fail(f"{what} is of {value.dtype}, not of real numbers")
    return value.detach().cpu().double()


def assert_close(what, actual, expected):
    actual = actual[0] if isinstance(actual, tuple) and len(actual) == 1 else actual
    actual, expected = numbers(what, actual), expected.detach().cpu()
    if actual.squeeze().shape != expected.squeeze().shape:
        fail(f"{what} has the shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
    largest = expected.abs().max().item()
    error = (actual.reshape(expected.shape) - expected).abs().max().item()
    if not error <= TOLERANCE * largest:  # also where it is NaN
        fail(f"{what} is wrong: largest error {error:.2g} where values reach {largest:.2g}")


def predict(model, images):
    """The model's images, checked for shape and range, float64 on the CPU."""
    with attempt("predict"):
        output = model.predict(images.clone())
    output = numbers("what predict gives", output)
    if output.shape != images.shape:
        fail(f"predict gives the shape {tuple(output.shape)} for {tuple(images.shape)}")
    low, high = map(float, output.aminmax())
    if not (0 <= low and high <= 255):
        fail(f"predict gives values in [{low}, {high}], outside [0, 255]")
    if high <= 1:
        print(f"warning: predict's values lie in [{low:.3g}, {high:.3g}]: [0, 1] instead of [0, 255]?")
    return output


def val_psnr(model, when):
    noisy, clean = graded.val_pairs
    value = psnr(torch.cat([predict(model, images) for images in noisy.split(100)]), clean)
    print(f"[PSNR {when}: {value:.2f} dB; noisy input: {psnr(noisy, clean):.2f} dB]")
    return value


def pretrained():
    model = make("Model")
    with attempt("load_pretrained_model"):
        model.load_pretrained_model()
    return model


def look_for_report(files):
    reports = [file for file in files if "report" in file.name.lower() and file.suffix.lower() == ".pdf"]
    if not reports:
        print(f"warning: neither {graded.package} nor the folder above holds a report.pdf")
    for report in reports:
        pages = pdf_pages(report.read_bytes())
        if pages is None:
            print(f"[the pages of {report.name} can't be counted; at most {REPORT_PAGES} are asked for]")
        elif pages > REPORT_PAGES:
            print(f"warning: {report.name} has {pages} pages, at most {REPORT_PAGES} are asked for")


def pdf_pages(data):
    """The number of pages of a PDF, by the /Count of its page tree's root; None where this can't be told."""
    objects = re.findall(rb"\bobj\b(.*?)\bendobj\b", data, re.DOTALL)
    for stream in [part for part in objects if re.search(rb"/Type\s*/ObjStm\b", part)]:  # which holds more objects
        head, _, body = stream.partition(b"stream")
        try:
            count, first = (int(re.search(rb"/%b\s+(\d+)" % key, head)[1]) for key in (b"N", b"First"))
            text = zlib.decompressobj().decompress(body.lstrip(b"\r\n"))
            offsets = [first + int(offset) for offset in text[:first].split()[1 : 2 * count : 2]]
        except (TypeError, ValueError, zlib.error):
            return None
        objects += [text[begin:end] for begin, end in zip(offsets, [*offsets[1:], len(text)], strict=True)]
    roots = [part for part in objects if re.search(rb"/Type\s*/Pages\b", part) and b"/Parent" not in part]
    counts = {int(count) for part in roots for count in re.findall(rb"/Count\s+(\d+)", part)}
    return counts.pop() if len(counts) == 1 and b"/Encrypt" not in data else None


def gradient_of(what, block, value):
    """The gradient that `param()` pairs with a value."""
    with attempt(f"{what}.param()"):
        pairs = list(block.param())
    if any(isinstance(pair, torch.Tensor) for pair in pairs):
        fail(f"{what}.param() lists tensors, expected pairs (tensor, gradient)")
    with attempt(f"unpacking {what}.param() into pairs (tensor, gradient)"):
        pairs = [(tensor_of(v), g) for v, g in pairs]
    matches = [g for v, g in pairs if v is not None and torch.equal(v.cpu().flatten(), value.cpu().flatten())]
    if not matches:
        fail(f"{what}.param() lacks the parameter of shape {tuple(value.shape)}")
    if tensor_of(matches[0]) is None:
        fail(f"{what}.param(): the gradient of shape {tuple(value.shape)} is {type(matches[0]).__name__}")
    return tensor_of(matches[0])


def check_block(what, block, values, reference, x):
    """Forward and backward against autograd, and that the parameters' gradients add up over two passes. reference: the
    block's forward in torch's functions, of x and its parameters, the `values`."""
    leaves = [tensor.detach().cpu().clone().requires_grad_() for tensor in (x, *values)]
    with torch.enable_grad():
        expected = reference(*leaves)
        gradient = torch.randn(expected.shape)
        expected_x, *expected_values = torch.autograd.grad(expected, leaves, gradient)

    for times in (1, 2):
        output = plain_forward(what, block, x)
        assert_close(f"{what}.forward", output, expected)
        with attempt(f"{what}.backward", output):
            actual = block.backward(gradient.clone())
        assert_close(f"{what}.backward: the gradient of the input", actual, expected_x)
        for value, expected_value in zip(values, expected_values, strict=True):
            which = f"{what}.backward: the gradient of the parameter of shape {tuple(value.shape)}"
            which += ", which must add up over two passes," * (times == 2)
            assert_close(which, gradient_of(what, block, value), times * expected_value)


def meant(name, made, x, args, kwargs, meaning):
    """A block's parameters, and torch's function of x and them, the weight read as the submission means it."""
    what, function = call(name, args, kwargs), meaning.function(*args, **kwargs)
    if meaning.transposed is None:
        return [], function
    with attempt(f"the parameters of {what}"):
        values, others = parameters(made), parameters(make(name, *SIZES, **kwargs))
    known = others and readings(others[0], SIZES, meaning.transposed)
    if not known or any(bias.numel() != SIZES[1] for bias in others[1:]):
        cannot_tell(f"{call(name, SIZES, kwargs)} has parameters of shapes {[tuple(v.shape) for v in others]}")
    ways = readings(values[0], args, meaning.transposed)

    def read(turn):
        return lambda x, weight, *bias: function(x, turn(weight), *bias)

    if len(ways) > 1:
        output = numbers(f"{what}.forward", plain_forward(what, made, x))
        for turn in ways:
            expected = read(turn)(x, *[value.detach().cpu() for value in values])
            if output.shape == expected.shape and torch.allclose(output, expected.double(), 1e-3, 1e-3):
                return values, read(turn)
    return values, read(ways[0])


def check_sgd(form, optimized, late):
    """late: whether the optimiser is made after the backward pass, for those whose gradients are None before."""
    conv = make("Conv2d", 3, 4, 3)
    network = make("Sequential", conv)

    def optimizer_of():
        with attempt(form):
            return find("SGD")(optimized(network, conv), 0.1)

    optimizer = None if late else optimizer_of()
    output = plain_forward("Sequential", network, torch.randn(2, 3, 8, 8))
    with attempt("Sequential.backward", output):
        network.backward(torch.randn(output.shape))
        before = [value.clone() for value in parameters(conv)]
    gradients = [gradient_of("Conv2d", conv, value).clone() for value in before]
    optimizer = optimizer_of() if late else optimizer
    if not accepts(optimizer.step, [], {}):
        cannot_tell("SGD.step asks for arguments")
    with attempt(f"{form}.step()"):
        optimizer.step()
    for value, old, gradient in zip(parameters(conv), before, gradients, strict=True):
        what = f"{form}.step(): the parameter of shape {tuple(value.shape)}, expected value - lr * gradient,"
        assert_close(what, value, old - 0.1 * gradient)


# ---------------------------------------------------------------------------------------------------------------
# The command

PAIRS, IMAGES = 2000, 200  # built-in data: enough to tell a network that learns, few enough for two slow cores


def find_package(folder):
    """The package that a project folder holds or is. Raises ValueError where there is none."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}")
    inside = sorted(
        path for name in PACKAGES for path in folder.glob(f"Proj_*/{name}") if (path / "model.py").is_file()
    )
    if len(inside) > 1:
        raise ValueError(f"{folder} holds several projects, name one: {', '.join(str(p) for p in inside)}")
    for package in (*(folder / name for name in PACKAGES), folder, *inside):
        if (package / "model.py").is_file():
            if "." in package.name:
                raise ValueError(f"cannot import a package whose folder name has a dot: {package}")
            if package.name in sys.stdlib_module_names or package.name in {*sys.modules} - {*PACKAGES}:
                raise ValueError(f"cannot import a package that is named as a module of Python or torch: {package}")
            return package
    raise ValueError(f"{folder} holds none of " + ", ".join([f"{name}/model.py" for name in PACKAGES] + ["model.py"]))


def load_pairs(path):
    """A file of the course: two uint8 tensors (N, 3, H, W). Raises ValueError on anything else."""
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        pairs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen different ones, over many lines
        raise ValueError(f"cannot read {path} ({type(error).__name__})") from error
    whole = isinstance(pairs, (tuple, list)) and len(pairs) == 2
    if not whole or not all(isinstance(t, torch.Tensor) and t.dtype == torch.uint8 for t in pairs):
        raise ValueError(f"{path}: expected a pair of uint8 tensors")
    shapes = [tuple(t.shape) for t in pairs]
    if shapes[0] != shapes[1] or len(shapes[0]) != 4 or shapes[0][1] != 3 or 0 in shapes[0]:
        raise ValueError(f"{path}: expected two tensors of one shape (N, 3, H, W), got {shapes[0]} and {shapes[1]}")
    return tuple(pairs)


def main(argv=None):
    """Grade; the exit status."""
    parser = argparse.ArgumentParser(
        description="Grade a submission of the denoising project. This runs the submission's code.",
        epilog="Old submissions that pickled whole objects as their weights need torch's environment "
        "variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1.",
    )
    project = f"the package ({' or '.join(PACKAGES)}) or the folder that holds it; default: test.py's folder"
    parser.add_argument("-p", "--project-path", metavar="PROJECT_FOLDER", type=Path, help=project)
    data = "the folder with the course's train_data.pkl and val_data.pkl; "
    data += f"default: {PAIRS} training pairs and {IMAGES} validation images of drawn scenes"
    parser.add_argument("-d", "--data-path", metavar="DATA_FOLDER", type=Path, help=data)
    network = "grade one of this repository's larger networks, with its weights, in place of Model"
    parser.add_argument("--network", choices=sorted(set(NETWORKS) - {"report"}), help=network)
    args = parser.parse_args(argv)
    try:
        graded.package = find_package(args.project_path or Path(__file__).parent)
        files = [args.data_path / name for name in ("train_data.pkl", "val_data.pkl")] if args.data_path else []
        graded.drawn, pairs = not files, [load_pairs(file) for file in files]
    except ValueError as error:
        parser.error(str(error))
    graded.train_pairs, graded.val_pairs = pairs or builtin_data(train=PAIRS, val=IMAGES, seed=0)

    # Submissions import absolutely, relatively or `from others`. The package of that name beside test.py may
    # have been loaded for the data above.
    name = graded.package.name
    for module in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
        del sys.modules[module]
    sys.path.insert(0, str(graded.package.parent))
    sys.path.append(str(graded.package))
    print(f"grading {graded.package} on {len(graded.train_pairs[0])} pairs and {len(graded.val_pairs[0])} images")
    try:
        with torch.no_grad(), loading_on_cpu():  # the first also undoes what is set for the whole process
            graded.module = importlib.import_module(f"{name}.model")
            if args.network:
                graded.module.Model = importlib.import_module(f"{name}.others.networks").NETWORKS[args.network]
    except (Exception, SystemExit) as error:  # the latter could end the grader with status 0
        if isinstance(error, ModuleNotFoundError) and not (error.name or name).startswith((name, "others")):
            print(f"can't grade: the submission needs the package {error.name}, which is not installed")
            return 2
        graded.module, graded.error = None, f"it raised {type(error).__name__}: {error}"
    tests = [test for case in (Course, Further) for test in unittest.defaultTestLoader.loadTestsFromTestCase(case)]
    with torch.no_grad(), loading_on_cpu():
        result = unittest.TextTestRunner(sys.stdout, verbosity=2).run(unittest.TestSuite(tests))
    print_totals([test.id() for test in tests], result)
    return 0 if result.wasSuccessful() else 1


def loading_on_cpu():
    """Without a GPU, weights that were saved on one are loaded to the CPU, where nothing else is asked for."""
    load = torch.load

    @functools.wraps(load)
    def on_cpu(file, map_location="cpu", *args, **kwargs):
        return load(file, map_location or "cpu", *args, **kwargs)

    return mock.patch.object(torch, "load", load if torch.cuda.is_available() else on_cpu)


def print_totals(names, result):
    """What the course checks, and what we check further: how many of the checks passed, failed, and so on."""
    failed = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
    skipped = {getattr(test, "test_case", test).id(): why for test, why in result.skipped}

    def verdict(name):
        if name in failed or name not in skipped:
            return "failed" if name in failed else "passed"
        return "can't tell" if skipped[name].startswith("can't tell") else "not asked for"

    for title, numbers in (("the course's checks, 1 to 6", "123456"), ("what we check further, 7", "7")):
        verdicts = [verdict(name) for name in names if name.split("test_")[-1][0] in numbers]
        known = {v: verdicts.count(v) for v in ("passed", "failed", "can't tell", "not asked for")}
        print(f"{title}: " + ", ".join(f"{n} {v}" for v, n in known.items() if n))


def report(sender):
    """In a process of its own: grade, and send the exit status. Threads that the submission left running end, too."""
    sys.stdout.reconfigure(line_buffering=True)
    try:
        status = main()
    except SystemExit as error:  # argparse's
        status = error.code
    sender.send(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=report, args=(sender,))
    process.start()
    process.join()
    if not receiver.poll():
        ended = f"with status {process.exitcode}, before all checks were made"
        sys.exit(f"\nFAILED: the submission ended the process, {ended}")
    sys.exit(receiver.recv())

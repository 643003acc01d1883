"""The course's grader: `python test.py [-p PROJECT_FOLDER] [-d DATA_FOLDER]`.

Runs the course's six checks, and further compares the backward pass of every block with torch's autograd: two
totals. Works on any submission of the class, whatever its package's name, way of importing and conventions; where
one is unknown it says "can't tell". It runs the submission's code, in a process of its own, so point it only at code
that you would run yourself. The exit status is 0 when no check fails, 1 when one does, 2 on bad arguments or a missing
package.
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

import torch
import torch.nn.functional as F

from Proj_Miniproject2.others.networks import NETWORKS
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.scenes import builtin_data

PACKAGES = "Proj_Miniproject2", "Miniproject_2"
# what else the class called a block
OTHER_NAMES = {
    "Conv2d": ("Convolution", "Conv2D", "Conv"),
    "TransposeConv2d": ("ConvTranspose2d", "TransposedConv2d", "TransposeConv2D", "ConvTranspose", "TransposeConv"),
    "NearestUpsampling": ("Upsample", "NearestUpsample", "UpsamplingNearest2d"),
    "Upsampling": ("UpSampling", "Upsampling2d"),
    "ReLU": ("Relu", "RELU"),
    "MSE": ("MSELoss", "LossMSE", "MSEloss"),
    "SGD": ("Sgd", "StochasticGradientDescent"),
}
# built-in data: enough to tell a network that learns, few enough for two slow cores
PAIRS, IMAGES = 2000, 200
REPORT_PAGES = 3
TOLERANCE = 1e-4  # of the largest value expected: float32, whatever the order of the sums

# (N, C, H, W) of the input; the block's positional arguments; its keyword arguments
CONVOLUTIONS = [
    ((1, 3, 32, 32), (3, 3, 3), {}),
    ((4, 3, 12, 12), (3, 6, 4), {"stride": 2, "padding": 2}),
    ((2, 1, 9, 9), (1, 4, 1), {}),
    ((3, 2, 10, 10), (2, 3, 3), {"stride": 2}),  # the last row and column are never read
    ((2, 3, 11, 7), (3, 2, 3), {"stride": 2, "padding": 1}),
]
TRANSPOSED = [
    ((1, 3, 8, 8), (3, 3, 3), {}),
    ((4, 4, 6, 6), (4, 2, 4), {"stride": 2, "padding": 1}),
    ((2, 6, 5, 5), (6, 3, 5), {"stride": 2, "padding": 2}),
    ((3, 1, 7, 4), (1, 4, 2), {"stride": 3}),
]


def call(name, args, kwargs):
    """The call as one would write it: `Conv2d(3, 6, 4, stride=2)`."""
    return f"{name}({', '.join([repr(a) for a in args] + [f'{k}={v!r}' for k, v in kwargs.items()])})"


def warn(message):
    print(f"warning: {message}")


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


def readings(weight, args, transposed):
    """How the weight of a layer (in, out, kernel) may be meant: functions to torch's layout, none where unknown."""
    ins, outs, kernel = args
    shape = torch.Size([ins, outs, kernel, kernel] if transposed else [outs, ins, kernel, kernel])
    if not transposed:
        return [lambda w: w.reshape(shape)] if len(weight) == shape[0] and weight.numel() == shape.numel() else []
    turns = [lambda w: w, lambda w: w.transpose(0, 1)] if weight.dim() == 4 else []
    layouts = [turn for turn in turns if turn(weight).shape == shape]
    return layouts + [lambda w, turn=turn: turn(w).flip(2, 3) for turn in layouts]


def accepts(function, args, kwargs):
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def with_bias(function, **kwargs):
    """torch's convolution of (x, weight, bias) for a bias of any shape, or none."""
    return lambda x, weight, *bias: function(x, weight, *[b.flatten() for b in bias], **kwargs)


def nearest(scale_factor):
    return lambda x: F.interpolate(x, scale_factor=scale_factor, mode="nearest")


class Check(unittest.TestCase):
    package: Path
    drawn: bool  # whether the data are the built-in scenes
    network: str | None = None  # a larger network of this repository, graded in place of the submission's Model
    train_pairs: tuple  # two noisy versions of the same images, uint8 (N, 3, H, W)
    val_pairs: tuple  # (noisy, clean)
    longMessage = False  # a failure says what we say, and no more


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


class Folder(Check):
    def test_1_structure(self):
        """1. The folder holds __init__.py and model.py, and should hold a report and bestmodel.pth"""
        for name in ("__init__.py", "model.py"):
            with self.subTest(name):
                self.assertTrue((self.package / name).is_file(), f"{self.package} holds no {name}")
        if not (self.package / "bestmodel.pth").is_file():
            warn(f"{self.package} holds no bestmodel.pth")
        files = [*self.package.iterdir(), *self.package.parent.iterdir()]
        reports = [file for file in files if "report" in file.name.lower() and file.suffix.lower() == ".pdf"]
        if not reports:
            warn(f"neither {self.package} nor the folder above holds a report.pdf")
        for report in reports:
            pages = pdf_pages(report.read_bytes())
            if pages is None:
                print(f"[the pages of {report.name} can't be counted; at most {REPORT_PAGES} are asked for]")
            elif pages > REPORT_PAGES:
                warn(f"{report.name} has {pages} pages, at most {REPORT_PAGES} are asked for")


class Submission(Check):
    @classmethod
    def setUpClass(cls):
        try:
            cls.module = importlib.import_module(f"{cls.package.name}.model")
            if cls.network:
                networks = importlib.import_module(f"{cls.package.name}.others.networks")
                cls.module.Model = networks.NETWORKS[cls.network]
        except SystemExit as error:  # else the submission could end the grader with status 0
            raise ImportError(f"{cls.package / 'model.py'} exits when imported") from error

    def setUp(self):
        torch.manual_seed(0)  # the submission draws its first weights from torch's own generator

    @contextlib.contextmanager
    def attempt(self, what, output=None):
        """Whatever is raised inside is a failure that names the culprit. But the backward pass may ask for more than a
        plain tensor, if that is what the forward pass gave as its `output`."""
        try:
            yield
        except Exception as error:
            if is_own(output):
                self.cannot_tell(f"{what} doesn't take a plain tensor, as forward gives none: {error}")
            self.fail(f"{what} raised {type(error).__name__}: {error}")

    def forward(self, what, block, *inputs):
        with self.attempt(f"{what}.forward"):
            return block.forward(*[tensor.clone() for tensor in inputs])

    def plain_forward(self, what, block, *inputs):
        """As `forward`, to be followed by `backward`, to which we can give none but tensors."""
        output = self.forward(what, block, *inputs)
        if is_own(output) and not isinstance(output, torch.Tensor):
            self.cannot_tell(f"{what}.forward gives {type(output).__name__}, a type of its own")
        return output

    def find(self, name):
        """The submission's class of that or another name; None if there is none."""
        names = [name, *OTHER_NAMES.get(name, ())]
        return next((getattr(self.module, name) for name in names if hasattr(self.module, name)), None)

    def block(self, name, *args, **kwargs):
        self.assertTrue(self.find(name), f"model.py has no {name}")
        with self.attempt(call(name, args, kwargs)):
            return self.find(name)(*args, **kwargs)

    def cannot_tell(self, why):
        self.skipTest(f"can't tell: {why}")

    def numbers(self, what, value):
        """A tensor of the submission's, in float64 on the CPU. It fails if it is none, or none of real numbers."""
        self.assertIsInstance(value, torch.Tensor, f"{what} is {type(value).__name__}, not a tensor")
        self.assertFalse(value.is_complex(), f"{what} is of {value.dtype}, not of real numbers")
        return value.detach().cpu().double()

    def assert_close(self, what, actual, expected):
        if isinstance(actual, tuple) and len(actual) == 1:
            (actual,) = actual
        actual, expected = self.numbers(what, actual), expected.detach().cpu()
        shapes = tuple(actual.shape), tuple(expected.shape)
        same = actual.squeeze().shape == expected.squeeze().shape
        self.assertTrue(same, f"{what} has the shape {shapes[0]}, expected {shapes[1]}")
        largest = expected.abs().max().item()
        error = (actual.reshape(expected.shape) - expected).abs().max().item()
        message = f"{what} is wrong: largest error {error:.2g} where values reach {largest:.2g}"
        self.assertLessEqual(error, TOLERANCE * largest, message)

    # 2 to 5: the model

    def predict(self, model, images):
        """The model's images, checked for shape and range, float64 on the CPU."""
        with self.attempt("predict"):
            output = model.predict(images.clone())
        output = self.numbers("what predict gives", output)
        shapes = tuple(output.shape), tuple(images.shape)
        self.assertEqual(*shapes, f"predict gives the shape {shapes[0]} for {shapes[1]}")
        low, high = output.min().item(), output.max().item()
        self.assertTrue(0 <= low and high <= 255, f"predict gives values in [{low}, {high}], outside [0, 255]")
        if high <= 1:
            warn(f"predict's values lie in [{low:.3g}, {high:.3g}]: [0, 1] instead of [0, 255]?")
        return output

    def val_psnr(self, model, when):
        noisy, clean = self.val_pairs
        value = psnr(torch.cat([self.predict(model, images) for images in noisy.split(100)]), clean)
        print(f"[PSNR {when}: {value:.2f} dB; noisy input: {psnr(noisy, clean):.2f} dB]")
        return value

    def pretrained(self):
        model = self.block("Model")
        with self.attempt("load_pretrained_model"):
            model.load_pretrained_model()
        return model

    def test_2_instantiation(self):
        """2. Model() needs no argument"""
        self.block("Model")

    def test_3_predict(self):
        """3. predict keeps the shape and the range of a 512 x 512 image"""
        self.predict(self.block("Model"), torch.rand(1, 3, 512, 512) * 255)

    def test_4_pretrained(self):
        """4. The pretrained model predicts the validation images"""
        self.val_psnr(self.pretrained(), "pretrained")

    def test_5_training(self):
        """5. After one more epoch of training the PSNR beats the noisy input's"""
        model = self.pretrained()
        with self.attempt("train"):
            model.train(*self.train_pairs, num_epochs=1)
        value, noisy = self.val_psnr(model, "after one epoch"), psnr(*self.val_pairs)
        if self.drawn and not value > noisy:  # real ones have fallen there and stayed as they were on the course's data
            self.cannot_tell(f"drawn scenes are not what it was trained on (PSNR {value:.2f} dB): see -d")
        self.assertGreater(value, noisy, f"PSNR {value:.2f} dB does not beat the noisy input's {noisy:.2f} dB")

    # 6: the forward passes as the course grades them

    def test_6_forward(self):
        """6. Conv2d, Sigmoid and Sequential against torch, by conv.weight and conv.bias"""
        x = torch.randn(1, 3, 32, 32)
        for name in ("Conv2d", "Sigmoid", "Sequential"):
            self.assertTrue(hasattr(self.module, name), f"model.py has no {name}")

        def conv_and_expected():
            conv = self.block("Conv2d", 3, 3, 3)
            with self.attempt("torch's conv2d with conv.weight and conv.bias"):
                return conv, F.conv2d(x, conv.weight.cpu(), conv.bias.cpu())

        with self.subTest("Conv2d"):
            conv, expected = conv_and_expected()
            self.assert_close("Conv2d.forward", self.forward("Conv2d", conv, x), expected)
        with self.subTest("Sigmoid"):
            sigmoid = self.block("Sigmoid")
            self.assert_close("Sigmoid.forward", self.forward("Sigmoid", sigmoid, x), x.sigmoid())
        with self.subTest("Sequential"):
            conv, expected = conv_and_expected()
            block = self.block("Sequential", conv, self.block("Sigmoid"))
            self.assert_close("Sequential.forward", self.forward("Sequential", block, x), expected.sigmoid())

    # 7: the backward passes

    def gradient_of(self, what, block, value):
        """The gradient that `param()` pairs with a value."""
        with self.attempt(f"{what}.param()"):
            pairs = list(block.param())
        if any(isinstance(pair, torch.Tensor) for pair in pairs):
            self.fail(f"{what}.param() lists tensors, expected pairs (tensor, gradient)")
        with self.attempt(f"unpacking {what}.param() into pairs (tensor, gradient)"):
            pairs = [(tensor_of(v), g) for v, g in pairs]
        matches = [g for v, g in pairs if v is not None and torch.equal(v.cpu().flatten(), value.cpu().flatten())]
        self.assertTrue(matches, f"{what}.param() lacks the parameter of shape {tuple(value.shape)}")
        gradient = tensor_of(matches[0])
        kind = type(matches[0]).__name__
        self.assertIsNotNone(gradient, f"{what}.param(): the gradient of shape {tuple(value.shape)} is {kind}")
        return gradient

    def check_block(self, what, block, values, x, reference):
        """Forward and backward against autograd, and that the parameters' gradients add up over two passes.

        values: the block's parameters; reference(x, *values): forward in torch's functions.
        """
        leaves = [tensor.detach().cpu().clone().requires_grad_() for tensor in (x, *values)]
        with torch.enable_grad():
            expected = reference(*leaves)
            gradient = torch.randn(expected.shape)
            expected_x, *expected_values = torch.autograd.grad(expected, leaves, gradient)

        for times in (1, 2):
            output = self.plain_forward(what, block, x)
            self.assert_close(f"{what}.forward", output, expected)
            with self.attempt(f"{what}.backward", output):
                actual = block.backward(gradient.clone())
            self.assert_close(f"{what}.backward: the gradient of the input", actual, expected_x)
            for value, expected_value in zip(values, expected_values, strict=True):
                which = f"{what}.backward: the gradient of the parameter of shape {tuple(value.shape)}"
                if times == 2:
                    which += ", which must add up over two passes,"
                self.assert_close(which, self.gradient_of(what, block, value), times * expected_value)

    def check_layer(self, name, x_shape, args, kwargs, function, transposed=None):
        """A block without parameters, or a convolution, `transposed` or not, by torch's function of x and those."""
        what, x = call(name, args, kwargs), torch.randn(x_shape)
        with self.subTest(what, x=x_shape):
            block = self.block(name, *args, **kwargs)
            values, reference = ([], function)
            if transposed is not None:
                self.check_layout(name, kwargs, transposed)
                values, reference = self.meant(what, block, x, args, function, transposed)
            self.check_block(what, block, values, x, reference)

    def check_layout(self, name, kwargs, transposed):
        """Go on only where a convolution's parameters, by one of which all sizes differ, are of shapes that we know."""
        args = 2, 3, 5
        block, what = self.block(name, *args, **kwargs), call(name, args, kwargs)
        with self.attempt(f"the parameters of {what}"):
            values = parameters(block)
        if not values or not readings(values[0], args, transposed) or any(bias.numel() != 3 for bias in values[1:]):
            self.cannot_tell(f"{what} has parameters of shapes {[tuple(v.shape) for v in values]}")

    def meant(self, what, block, x, args, function, transposed):
        """The parameters of a convolution, and `function` with its weight read as the submission means it."""
        with self.attempt(f"the parameters of {what}"):
            values = parameters(block)
        ways = readings(values[0], args, transposed)

        def read(turn):
            return lambda x, weight, *bias: function(x, turn(weight), *bias)

        if len(ways) > 1:
            output = self.numbers(f"{what}.forward", self.plain_forward(what, block, x))
            for turn in ways:
                expected = read(turn)(x, *[value.detach().cpu() for value in values])
                if output.shape == expected.shape and torch.allclose(output, expected.double(), 1e-3, 1e-3):
                    return values, read(turn)
        return values, read(ways[0])

    def skip_for(self, name, other):
        """The course asks for one of the two upsamplings."""
        if not self.find(name) and self.find(other):
            self.skipTest(f"model.py has {other} instead of {name}")

    def test_7_conv2d(self):
        """7. Conv2d, forward and backward, against autograd"""
        for x_shape, args, kwargs in CONVOLUTIONS:
            self.check_layer("Conv2d", x_shape, args, kwargs, with_bias(F.conv2d, **kwargs), transposed=False)

    def test_7_transpose_conv2d(self):
        """7. TransposeConv2d, forward and backward, against autograd"""
        self.skip_for("TransposeConv2d", "NearestUpsampling")
        for x_shape, args, kwargs in TRANSPOSED:
            function = with_bias(F.conv_transpose2d, **kwargs)
            self.check_layer("TransposeConv2d", x_shape, args, kwargs, function, transposed=True)

    def test_7_nearest_upsampling(self):
        """7. NearestUpsampling, forward and backward, against autograd"""
        self.skip_for("NearestUpsampling", "TransposeConv2d")
        found = self.find("NearestUpsampling")
        if found and not accepts(found, (2,), {}):
            self.cannot_tell(f"{found.__name__} takes {inspect.signature(found)}, not (scale_factor)")
        for x_shape, scale_factor in [((1, 3, 8, 8), 2), ((4, 2, 5, 7), 3)]:
            self.check_layer("NearestUpsampling", x_shape, (scale_factor,), {}, nearest(scale_factor))

    def test_7_upsampling(self):
        """7. Upsampling, forward and backward, against autograd"""
        self.assertTrue(self.find("Upsampling"), "model.py has no Upsampling")
        # The class gave this name to three blocks: the first whose arguments it takes is the one meant.
        transposed = [(*case, with_bias(F.conv_transpose2d, **case[-1]), True) for case in TRANSPOSED]
        kwargs = {"scale_factor": 2, "padding": 1}
        convolved = ((2, 3, 6, 6), (3, 4, 3), kwargs, lambda x, *values: conv(nearest(2)(x), *values), False)
        conv = with_bias(F.conv2d, padding=1)
        for cases in (transposed, [convolved], [((2, 3, 6, 6), (2,), {}, nearest(2))]):
            if all(accepts(self.find("Upsampling"), args, kwargs) for _, args, kwargs, *_ in cases):
                for case in cases:
                    self.check_layer("Upsampling", *case)
                return
        self.cannot_tell(
            "Upsampling takes none of (in, out, kernel, stride=, padding=), (in, out, kernel, scale_factor=, "
            "padding=), (scale_factor)"
        )

    def test_7_activations(self):
        """7. ReLU and Sigmoid, forward and backward, against autograd"""
        for name, function in (("ReLU", torch.relu), ("Sigmoid", torch.sigmoid)):
            for x_shape in ((1, 3, 32, 32), (4, 2, 7, 5)):
                self.check_layer(name, x_shape, (), {}, function)

    def test_7_sequential(self):
        """7. Sequential(Conv2d, ReLU, Conv2d, Sigmoid), forward and backward, against autograd"""
        first = self.block("Conv2d", 3, 4, 3, stride=2, padding=1)
        second = self.block("Conv2d", 4, 2, 3)
        block = self.block("Sequential", first, self.block("ReLU"), second, self.block("Sigmoid"))
        self.check_layout("Conv2d", {}, False)
        x, strided = torch.randn(4, 3, 12, 12), with_bias(F.conv2d, stride=2, padding=1)
        values, before = self.meant("Conv2d", first, x, (3, 4, 3), strided, False)
        others, after = self.meant("Conv2d", second, x, (4, 2, 3), with_bias(F.conv2d), False)

        def reference(x, *leaves):
            return after(before(x, *leaves[: len(values)]).relu(), *leaves[len(values) :]).sigmoid()

        self.check_block("Sequential", block, values + others, x, reference)

    def test_7_mse(self):
        """7. MSE, forward and backward, against autograd"""
        for shape in ((1, 3, 32, 32), (4, 2, 7, 5)):
            with self.subTest(shape=shape):
                mse = self.block("MSE")
                prediction, target = torch.randn(shape), torch.randn(shape)
                with torch.enable_grad():
                    leaf = prediction.clone().requires_grad_()
                    expected = F.mse_loss(leaf, target)
                    (gradient,) = torch.autograd.grad(expected, leaf)
                loss = self.plain_forward("MSE", mse, prediction, target)
                self.assert_close("MSE.forward", torch.as_tensor(loss), expected)
                with self.attempt("MSE.backward", loss):
                    # the gradient of the loss itself is 1, for those who ask for it
                    actual = mse.backward(*[] if accepts(mse.backward, [], {}) else [torch.ones(())])
                if actual is None:
                    self.cannot_tell("MSE.backward returns nothing: it may keep its gradient")
                self.assert_close("MSE.backward after forward(prediction, target)", actual, gradient)

    def check_sgd(self, form, optimized, late):
        """late: whether the optimiser is made after the backward pass, for those whose gradients are None before."""
        conv = self.block("Conv2d", 3, 4, 3)
        network = self.block("Sequential", conv)

        def make():
            with self.attempt(form):
                return self.find("SGD")(optimized(network, conv), 0.1)

        optimizer = None if late else make()
        output = self.plain_forward("Sequential", network, torch.randn(2, 3, 8, 8))
        with self.attempt("Sequential.backward", output):
            network.backward(torch.randn(output.shape))
            before = [value.clone() for value in parameters(conv)]
        gradients = [self.gradient_of("Conv2d", conv, value).clone() for value in before]
        optimizer = make() if late else optimizer
        if not accepts(optimizer.step, [], {}):
            self.cannot_tell("SGD.step asks for arguments")
        with self.attempt(f"{form}.step()"):
            optimizer.step()
        for value, old, gradient in zip(parameters(conv), before, gradients, strict=True):
            what = f"{form}.step(): the parameter of shape {tuple(value.shape)}, expected value - lr * gradient,"
            self.assert_close(what, value, old - 0.1 * gradient)

    def test_7_sgd(self):
        """7. A step of SGD"""
        self.assertTrue(self.find("SGD"), "model.py has no SGD")
        if not accepts(self.find("SGD"), [None, 0.1], {}):
            self.cannot_tell(f"SGD takes {inspect.signature(self.find('SGD'))}, not (parameters, learning rate)")
        # The class gave SGD the parameters, the network or its layers: one of them must work.
        failures = []
        for form, optimized in (
            ("SGD(network.param(), 0.1)", lambda network, conv: network.param()),
            ("SGD(network, 0.1)", lambda network, conv: network),
            ("SGD([conv], 0.1)", lambda network, conv: [conv]),
        ):
            for late in (False, True):
                try:
                    return self.check_sgd(form, optimized, late)
                except self.failureException as error:
                    failures.append(str(error))
        self.fail("SGD works in no form: " + "; ".join(failures))


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
    parser.add_argument(
        "-p",
        "--project-path",
        metavar="PROJECT_FOLDER",
        type=Path,
        default=Path(__file__).parent,
        help=f"the package ({' or '.join(PACKAGES)}) or the folder that holds it; default: test.py's folder",
    )
    parser.add_argument(
        "-d",
        "--data-path",
        metavar="DATA_FOLDER",
        type=Path,
        help="the folder with the course's train_data.pkl and val_data.pkl; "
        f"default: {PAIRS} training pairs and {IMAGES} validation images of drawn scenes",
    )
    parser.add_argument(
        "--network",
        choices=sorted(set(NETWORKS) - {"report"}),
        help="grade one of this repository's larger networks, with its weights, in place of Model",
    )
    args = parser.parse_args(argv)
    Check.network, Check.drawn = args.network, not args.data_path
    try:
        Check.package = find_package(args.project_path)
        if args.data_path:
            Check.train_pairs = load_pairs(args.data_path / "train_data.pkl")
            Check.val_pairs = load_pairs(args.data_path / "val_data.pkl")
    except ValueError as error:
        parser.error(str(error))
    if not args.data_path:
        Check.train_pairs, Check.val_pairs = builtin_data(train=PAIRS, val=IMAGES, seed=0)

    # Submissions import absolutely, relatively or `from others`. The package of that name beside test.py may
    # have been loaded for the data above.
    name = Check.package.name
    for module in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
        del sys.modules[module]
    sys.path.insert(0, str(Check.package.parent))
    sys.path.append(str(Check.package))

    print(f"grading {Check.package} on {len(Check.train_pairs[0])} pairs and {len(Check.val_pairs[0])} images")
    try:
        with torch.no_grad():  # which also undoes what the submission sets for the whole process
            importlib.import_module(f"{name}.model")
    except ModuleNotFoundError as error:
        if not (error.name or name).startswith((name, "others")):
            print(f"can't grade: the submission needs the package {error.name}, which is not installed")
            return 2
    except (Exception, SystemExit):  # told by the checks, which import it again
        pass
    tests = [test for case in (Folder, Submission) for test in unittest.defaultTestLoader.loadTestsFromTestCase(case)]
    names = [test.id() for test in tests]
    with torch.no_grad(), loading_on_cpu():
        result = unittest.TextTestRunner(sys.stdout, verbosity=2).run(unittest.TestSuite(tests))
    print_totals(names, result)
    return 0 if result.wasSuccessful() else 1


@contextlib.contextmanager
def loading_on_cpu():
    """Without a GPU, weights that were saved on one are loaded to the CPU, where nothing else is asked for."""
    load = torch.load

    @functools.wraps(load)
    def on_cpu(file, map_location="cpu", *args, **kwargs):
        return load(file, map_location or "cpu", *args, **kwargs)

    try:
        torch.load = load if torch.cuda.is_available() else on_cpu
        yield
    finally:
        torch.load = load


def print_totals(names, result):
    """What the course checks, and what we check further: how many of the checks passed, failed, and so on."""
    failed = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
    skipped = {getattr(test, "test_case", test).id(): why for test, why in result.skipped}
    for title, numbers in (("the course's checks, 1 to 6", "123456"), ("what we check further, 7", "7")):
        verdicts = {"passed": 0, "failed": 0, "can't tell": 0, "not asked for": 0}
        for name in names:
            if name.split("test_")[-1][0] in numbers:
                not_run = ".Submission." in name and any("setUpClass" in test for test in failed)
                if name in failed or not_run:
                    verdict = "failed"
                elif name in skipped:
                    verdict = "can't tell" if skipped[name].startswith("can't tell") else "not asked for"
                else:
                    verdict = "passed"
                verdicts[verdict] += 1
        print(f"{title}: " + ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items() if n))


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
        ended = f"the submission ended the process, with status {process.exitcode}, before all checks were made"
        sys.exit(f"\nFAILED: {ended}")
    sys.exit(receiver.recv())

"""The grader on fake submissions of the class: good ones in each style of importing, and broken ones."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent

# Blocks that leave their derivatives to autograd, as an independent good submission. {Names} are filled in.
BLOCKS = """
import torch
import torch.nn.functional as F


class Block:
    def __init__(self, function, *values):
        self.function, self.pairs = function, [[v, torch.zeros_like(v)] for v in values]
        if values:
            self.weight, self.bias = values

    def forward(self, *inputs):
        self.leaves = [t.detach().clone().requires_grad_() for t in (*inputs, *(v for v, _ in self.pairs))]
        with torch.enable_grad():
            self.output = self.function(*self.leaves)
        return self.output.detach()

    def backward(self, *gradient):
        first, *rest = torch.autograd.grad(self.output, self.leaves, *gradient, allow_unused=True)
        for pair, new in zip(self.pairs, rest):
            pair[1]{add}new
        return first

    def param(self):
        return {pairs}


class Conv2d(Block):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size) / 9
        bias = torch.randn(out_channels) / 9
        super().__init__(lambda x, w, b: F.conv2d(x, w, b, stride, padding), weight, bias)


class TransposeConv2d(Block):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        weight = torch.randn(in_channels, out_channels, kernel_size, kernel_size) / 9
        bias = torch.randn(out_channels) / 9
        super().__init__(lambda x, w, b: F.conv_transpose2d(x, w, b, stride, padding), weight, bias)


Upsampling = {Upsampling}


class ReLU(Block):
    def __init__(self):
        super().__init__(torch.relu)


class Sigmoid(Block):
    def __init__(self):
        super().__init__(torch.sigmoid)
{sigmoid_backward}

class MSE(Block):
    def __init__(self):
        super().__init__({mse})
{mse_backward}

class Sequential:
    def __init__(self, *blocks):
        self.blocks = blocks

    def forward(self, x):
        for block in self.blocks:
            x = block.forward(x)
        return x

    def backward(self, gradient):
        for block in reversed(self.blocks):
            gradient = block.backward(gradient)
        return gradient

    def param(self):
        return [(value, gradient) for block in self.blocks for value, gradient in block.param()]


{more}


class SGD:
    def __init__(self, {sgd_argument}, lr):
        self.pairs, self.lr = {sgd_pairs}, lr

    def step(self):
        for value, gradient in self.pairs:
            value -= {rate} * gradient
"""

# Denoises by a blur, whose strength is its only weight.
MODEL = """
from pathlib import Path

import torch

torch.set_grad_enabled(False)
{import_blocks}


class Model:
    def __init__(self):
        self.blur = 0.0

    def load_pretrained_model(self):
        self.blur = torch.load(Path(__file__).parent / "bestmodel.pth", weights_only=True)

    def train(self, train_input, train_target, num_epochs):
        assert train_input.dtype == torch.uint8 and num_epochs == 1

    def predict(self, test_input):
        x = test_input.float()
        smooth = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return {predict}
"""

GOOD = {
    "import_blocks": "from .others.blocks import *\nfrom .others.blocks import F",
    "predict": "x + self.blur * (smooth - x)",
    "add": " += ",
    "pairs": "self.pairs",
    "Upsampling": "TransposeConv2d",
    "sigmoid_backward": "",
    "mse": "lambda x, y: (x - y).square().mean()",
    "mse_backward": "",
    "more": "",
    "sgd_argument": "params",
    "sgd_pairs": "params",
    "rate": "self.lr",
}
IMPORTS = {
    "relative": GOOD["import_blocks"],
    "absolute": "from Miniproject_2.others.blocks import *\nfrom Miniproject_2.others.blocks import F",
    "path": "from others.blocks import *\nfrom others.blocks import F",
}


def fill(template, parts):
    for name, text in parts.items():
        template = template.replace("{" + name + "}", text)
    return template


@pytest.fixture
def submission(tmp_path):
    """Makes a submission, good but for the faults given; its project folder."""

    def make(**faults):
        package = tmp_path / "Proj_1_2_3" / "Miniproject_2"
        (package / "others").mkdir(parents=True)
        parts = GOOD | faults
        (package / "__init__.py").touch()
        (package / "others" / "__init__.py").touch()
        (package / "others" / "blocks.py").write_text(fill(BLOCKS, parts))
        (package / "model.py").write_text(fill(MODEL, parts))
        torch.save(0.9, package / "bestmodel.pth")
        (package / "Report_2.pdf").touch()
        return package.parent

    return make


@pytest.fixture
def grade(monkeypatch, capsys):
    """Runs the grader in this process; its exit status and what it printed."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    spec = importlib.util.spec_from_file_location("grader", ROOT / "test.py")
    grader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grader)

    def run(*arguments):
        try:
            status = grader.main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        return status, "".join(capsys.readouterr())

    run.module = grader
    threads = torch.get_num_threads()
    dtype = torch.get_default_dtype()
    torch.set_num_threads(1)  # on images so small, threads cost more than they give
    yield run
    assert torch.is_grad_enabled()  # whatever the submission switched off
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    for name in [name for name in sys.modules if name.startswith("Miniproject_2")]:
        del sys.modules[name]


@pytest.mark.parametrize("style", IMPORTS)
def test_good_submission_passes_from_any_folder(style, submission, grade_apart, tmp_path):
    thread = "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()"
    project = submission(import_blocks=IMPORTS[style] + thread)  # which is left running
    folder = project / "Miniproject_2" if style == "absolute" else project  # both may be given
    run = grade_apart(folder, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("[PSNR ") == 2
    assert "warning" not in run.stdout and "skipped 'model.py has TransposeConv2d" in run.stdout
    assert "the course's checks, 1 to 6: 6 passed\n" in run.stdout
    assert "what we check further, 7: 7 passed, 1 not asked for" in run.stdout


def test_ending_the_process_is_a_failure(submission, grade_apart, tmp_path):
    run = grade_apart(submission(predict="__import__('os')._exit(0)"), tmp_path)
    assert run.returncode == 1 and "checks, 1 to 6" not in run.stdout
    assert run.stdout.splitlines()[-1].startswith("3. predict keeps")
    assert run.stderr == "\nFAILED: the submission ended the process, with status 0, before all checks were made\n"


# Blocks whose forward gives more than a tensor, for which backward asks, too.
WITH_GRAPH = """
class OwnTensor(torch.Tensor):
    pass


class Own:
    def __init__(self, data):
        self.data = data


def with_graph(forward, backward):
    def new_forward(self, *inputs):
        output = {type}(forward(self, *[input.data for input in inputs]))
        output.graph = self
        return output

    def new_backward(self, *gradient):
        assert all(g.graph for g in gradient)
        return backward(self, *gradient)

    return new_forward, new_backward


Block.forward, Block.backward = with_graph(Block.forward, Block.backward)
"""

# what is broken -> how, the numbers and names of the checks that fail, and what they say
FAULTS = {
    "no accumulation": (
        {"add": "[:] = "},
        {"7_conv2d", "7_transpose_conv2d", "7_upsampling", "7_sequential"},
        "which must add up over two passes, is wrong",
    ),
    "sigmoid": (
        {"sigmoid_backward": "\n    def backward(self, gradient):\n        return gradient * self.output\n"},
        {"7_activations", "7_sequential"},
        "Sigmoid().backward: the gradient of the input is wrong",
    ),
    "tensors, not pairs": (
        {"pairs": "[value for value, gradient in self.pairs]"},
        {"7_conv2d", "7_transpose_conv2d", "7_upsampling", "7_sequential", "7_sgd"},
        "Conv2d(3, 3, 3).param() lists tensors, expected pairs (tensor, gradient)",
    ),
    "block missing": (
        {"more": "del TransposeConv2d"},
        {"7_transpose_conv2d", "7_nearest_upsampling"},
        "model.py has no TransposeConv2d",
    ),
    "sum for mean": ({"mse": "lambda x, y: (x - y).square().sum()"}, {"7_mse"}, "MSE.forward is wrong"),
    "gradient of the target": (
        {"mse": "lambda x, y: (2 * x.detach() - x - y).square().mean()"},
        {"7_mse"},
        "MSE.backward after forward(prediction, target) is wrong",
    ),
    "learning rate": ({"rate": "2 * self.lr"}, {"7_sgd"}, "SGD(network.param(), 0.1).step(): the parameter"),
    "transposed by half": (
        {
            "more": "class TransposeConv2d(TransposeConv2d):\n"
            "    def forward(self, x):\n"
            "        return super().forward(x) / 2"
        },
        {"7_transpose_conv2d"},
        "TransposeConv2d(3, 3, 3).forward is wrong",
    ),
    "no gradient": ({"pairs": "[(value, None) for value, _ in self.pairs]"}, None, "is NoneType"),
    "late gradient": ({"sgd_pairs": "[(v, None) for v, _ in params]"}, {"7_sgd"}, "SGD works in no form"),
    "range [0, 1]": ({"predict": "smooth / 255"}, {"5_training"}, "instead of [0, 255]?"),
    "range": ({"predict": "x + 10"}, {"3_predict", "4_pretrained", "5_training"}, "outside [0, 255]"),
    "not a number": ({"predict": "x / 0"}, {"3_predict", "4_pretrained", "5_training"}, "outside [0, 255]"),
    "shape": (
        {"predict": "smooth[..., 1:]"},
        {"3_predict", "4_pretrained", "5_training"},
        "predict gives the shape (1, 3, 512, 511)",
    ),
    "complex": (
        {"predict": "x + 0j"},
        {"3_predict", "4_pretrained", "5_training"},
        "what predict gives is of torch.complex64, not of real numbers",
    ),
    "complex gradient": (
        {"sigmoid_backward": "\n    def backward(self, gradient):\n        return super().backward(gradient) + 0j\n"},
        {"7_activations", "7_sequential"},
        "Sigmoid().backward: the gradient of the input is of torch.complex64, not of real numbers",
    ),
    "forward gives an object": (
        {"more": "Conv2d.forward = lambda self, x: self"},
        {"6_forward", "7_conv2d", "7_sequential", "7_sgd"},
        "Conv2d.forward is Conv2d, not a tensor",
    ),
    "objects as outputs": (
        {"more": WITH_GRAPH.format(type="Own")},
        {"6_forward"},
        "can't tell: Conv2d(3, 3, 3).forward gives Own, a type of its own",
    ),
    "no denoising": ({"predict": "x"}, {"5_training"}, "does not beat the noisy input's"),
}


def failed(printed):
    """The checks that the grader reports as failed."""
    lines = [line for line in printed.splitlines() if line.startswith(("FAIL:", "ERROR:"))]
    return {line.split()[1].removeprefix("test_") for line in lines}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(name, submission, data, grade):
    faults, checks, message = FAULTS[name]
    status, printed = grade("-p", submission(**faults), "-d", data)
    assert status == 1
    assert failed(printed) == checks or checks is None
    assert message in printed
    further = len([check for check in failed(printed) if check[0] == "7"])
    assert f"{further} failed" in printed.splitlines()[-1] or not further


# a transposed convolution whose weight means another thing
TRANSPOSED = """
class TransposeConv2d(Block):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        weight = torch.randn({shape}, kernel_size, kernel_size) / 9
        bias = torch.randn(out_channels) / 9
        super().__init__(lambda x, w, b: F.conv_transpose2d(x, w{turn}, b, stride, padding), weight, bias)


Upsampling = TransposeConv2d
"""

# other shapes that the class gave to the blocks
VARIANTS = {
    "SGD of a network": {"sgd_argument": "network", "sgd_pairs": "network.param()"},
    "MSE.backward asks for a gradient": {
        "mse_backward": "\n    def backward(self, gradient):\n        return super().backward(gradient)\n"
    },
    "bias of shape (C, 1, 1)": {
        "more": "class Conv2d(Conv2d):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "        self.pairs[1] = [tensor.view(-1, 1, 1) for tensor in self.pairs[1]]\n"
        "        function, self.bias = self.function, self.bias.view(-1, 1, 1)\n"
        "        self.function = lambda x, w, b: function(x, w, b.flatten())\n"
    },
    "transposed, kernels turned round": {
        "more": TRANSPOSED.format(turn=".flip(2, 3)", shape="in_channels, out_channels")
    },
    "transposed, as a convolution": {
        "more": TRANSPOSED.format(turn=".transpose(0, 1)", shape="out_channels, in_channels")
    },
    "transposed, both": {
        "more": TRANSPOSED.format(turn=".flip(2, 3).transpose(0, 1)", shape="out_channels, in_channels")
    },
    "activations with parameters": {"more": "ReLU.weight = ReLU.bias = Sigmoid.weight = Sigmoid.bias = torch.ones(3)"},
    "gradients of None": {
        "pairs": "[(value, gradient if gradient.any() else None) for value, gradient in self.pairs]",
        "sgd_pairs": "list(params)",
    },
    "parameters are objects": {
        "more": "class Parameter:\n"
        "    def __init__(self, data):\n"
        "        self.data = data\n\n\n"
        "class Conv2d(Conv2d):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "        self.weight, self.bias = Parameter(self.weight), Parameter(self.bias)\n\n"
        "    def param(self):\n"
        "        return [(Parameter(value), gradient) for value, gradient in self.pairs]\n",
        "sgd_pairs": "[(value.data, gradient) for value, gradient in params]",
    },
    "other names": {
        "more": "MSELoss, ConvTranspose2d, Relu = MSE, TransposeConv2d, ReLU\ndel MSE, TransposeConv2d, ReLU"
    },
    "Upsample": {
        "more": "Upsample = lambda factor: Block(lambda x: F.interpolate(x, scale_factor=factor))\ndel TransposeConv2d"
    },
    "Upsampling by a factor": {"Upsampling": "lambda factor: Block(lambda x: F.interpolate(x, scale_factor=factor))"},
    "Upsampling, then convolution": {
        "Upsampling": "lambda i, o, k, scale_factor, padding: Block(\n"
        "    lambda x, w, b: F.conv2d(F.interpolate(x, scale_factor=scale_factor), w, b, padding=padding),\n"
        "    torch.randn(o, i, k, k) / 9, torch.randn(o) / 9)"
    },
    "float64 by default": {"import_blocks": GOOD["import_blocks"] + "\ntorch.set_default_dtype(torch.float64)"},
    "float64 by default, later": {"predict": f"(torch.set_default_dtype(torch.float64), {GOOD['predict']})[1]"},
    "tensors of a type of its own": {
        "more": "class Own(torch.Tensor):\n    pass\n\n\n"
        "Block.forward = lambda self, *inputs, forward=Block.forward: forward(self, *inputs).as_subclass(Own)"
    },
    "NearestUpsampling": {
        "more": "NearestUpsampling = lambda factor: Block(lambda x: F.interpolate(x, scale_factor=factor))\n"
        "del TransposeConv2d"
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_is_accepted(name, submission, data, grade):
    status, printed = grade("-p", submission(**VARIANTS[name]), "-d", data)
    # the course's own check hands conv.bias to torch, which wants it of shape (C,)
    expected = {"6_forward"} if name.startswith(("bias", "parameters")) else set()
    assert (status, failed(printed)) == (len(expected), expected), printed
    assert "can't tell" not in printed


NO_GRAPH = "Conv2d(3, 3, 3).backward doesn't take a plain tensor, as forward gives none: 'Tensor' object has no"
UNKNOWN = {
    "tensors with attributes": ({"more": WITH_GRAPH.format(type="torch.clone")}, NO_GRAPH),
    "tensors of its own": ({"more": WITH_GRAPH.format(type="OwnTensor")}, NO_GRAPH),
    "MSE.backward keeps its gradient": (
        {"mse_backward": "\n    def backward(self):\n        self.gradient = super().backward()\n"},
        "MSE.backward returns nothing: it may keep its gradient",
    ),
    "Upsample of channels": (
        {
            "more": "class Upsample:\n    def __init__(self, in_channels, out_channels, kernel, factor=2): ...\n\n\n"
            "del TransposeConv2d"
        },
        "NearestUpsampling takes (in_channels, out_channels, kernel, factor=2), not (scale_factor)",
    ),
    "SGD of four": ({"sgd_argument": "params, network, data"}, "SGD takes (params, network, data, lr)"),
    "Upsampling of five": (
        {"Upsampling": "lambda a, b, c, d, e: None"},
        "Upsampling takes (a, b, c, d, e), not",
    ),
    "weight of another shape": (
        {
            "more": TRANSPOSED.format(
                turn=".permute(2, 3, 0, 1)", shape="kernel_size, kernel_size, in_channels, out_channels"
            ).replace(", kernel_size, kernel_size) / 9", ") / 9")
        },
        "TransposeConv2d(2, 3, 5) has parameters of shapes [(5, 5, 2, 3), (3,)]",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_conventions_are_no_fault(name, submission, data, grade):
    faults, message = UNKNOWN[name]
    status, printed = grade("-p", submission(**faults), "-d", data)
    assert (status, failed(printed)) == (0, set()), printed
    assert message in printed and "can't tell" in printed.splitlines()[-1]


def test_drawn_scenes_fail_no_training(submission, grade, monkeypatch):
    """A network trained on photos may lose on them. No output at all is a fault as anywhere."""
    monkeypatch.setattr(grade.module, "PAIRS", 20)
    monkeypatch.setattr(grade.module, "IMAGES", 10)
    status, printed = grade("-p", submission(predict="x"))
    assert (status, failed(printed)) == (0, set()) and "1 can't tell" in printed.splitlines()[-2]


def test_weights_of_a_gpu_are_loaded(submission, data, grade, monkeypatch):
    project = submission()
    path = project / "Miniproject_2" / "bestmodel.pth"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(torch.tensor(0.9), path)
    load = torch.load
    status, printed = grade("-p", project, "-d", data)
    assert (status, failed(printed)) == (0, set()), printed
    assert torch.load is load


def test_a_missing_package_is_named_in_one_line(submission, data, grade):
    status, printed = grade("-p", submission(import_blocks="import torch_vision"), "-d", data)
    assert status == 2 and len(printed.strip().splitlines()) == 2
    assert "needs the package torch_vision" in printed


def test_a_project_is_found_in_its_repository(submission, data, grade):
    root = submission().parent
    status, printed = grade("-p", root, "-d", data)
    assert (status, failed(printed)) == (0, set()), printed
    (root / "Proj_4" / "Miniproject_2").mkdir(parents=True)
    (root / "Proj_4" / "Miniproject_2" / "model.py").touch()
    assert_refused(*grade("-p", root, "-d", data), "holds several projects")


def test_missing_files(submission, data, grade):
    project = submission()
    for name in ("bestmodel.pth", "Report_2.pdf", "__init__.py"):
        (project / "Miniproject_2" / name).unlink()
    status, printed = grade("-p", project, "-d", data)
    assert status == 1
    assert "holds no bestmodel.pth" in printed and "holds a report.pdf" in printed
    assert "holds no __init__.py" in printed
    assert "load_pretrained_model raised FileNotFoundError" in printed
    assert failed(printed) == {"1_structure", "4_pretrained", "5_training"}


@pytest.mark.parametrize("statement", ["raise OSError('no luck')", "raise SystemExit(0)"])
def test_submission_that_cannot_be_imported_fails(statement, submission, data, grade):
    status, printed = grade("-p", submission(import_blocks=statement), "-d", data)
    assert status == 1
    assert "model.py can't be imported: it raised" in printed and ("no luck" in printed or "SystemExit: 0" in printed)
    assert "1 to 6: 1 passed, 5 failed" in printed and "7: 8 failed" in printed


def images(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


BAD_DATA = {
    "no pair": images(2, 3, 8, 8),
    "three": (images(2, 3, 8, 8),) * 3,
    "not tensors": ("noisy", "clean"),
    "float": (images(2, 3, 8, 8, dtype=torch.float32),) * 2,
    "unequal": (images(2, 3, 8, 8), images(3, 3, 8, 8)),
    "grey": (images(2, 1, 8, 8),) * 2,
    "none": (images(0, 3, 8, 8),) * 2,
    "one image": (images(3, 8, 8),) * 2,
}


def assert_refused(status, printed, message):
    """One line after argparse's usage, nothing run."""
    assert status == 2
    assert message in printed.splitlines()[-1] and printed.count("error:") == 1
    assert "grading" not in printed


@pytest.mark.parametrize("file", ["train_data.pkl", "val_data.pkl"])
@pytest.mark.parametrize("name", BAD_DATA)
def test_malformed_data_is_refused(name, file, submission, grade, tmp_path):
    for path in (tmp_path / "train_data.pkl", tmp_path / "val_data.pkl"):
        torch.save((images(2, 3, 8, 8),) * 2, path)
    torch.save(BAD_DATA[name], tmp_path / file)
    assert_refused(*grade("-p", submission(), "-d", tmp_path), f"{file}: expected")


def test_unreadable_data_is_refused(submission, data, grade, tmp_path):
    project = submission()
    assert_refused(*grade("-p", project, "-d", tmp_path / "nowhere"), "no such file")
    assert_refused(*grade("-p", project, "-d", tmp_path), "no such file")
    (tmp_path / "train_data.pkl").write_bytes((data / "train_data.pkl").read_bytes()[:1000])
    assert_refused(*grade("-p", project, "-d", tmp_path), "cannot read")


def test_bad_project_is_refused(submission, data, grade, tmp_path):
    assert_refused(*grade("-p", tmp_path / "nowhere", "-d", data), "no such folder")
    assert_refused(*grade("-p", tmp_path, "-d", data), "holds none of")
    for name in ("json", "torch", "unittest"):
        project = tmp_path / "named" / name
        project.mkdir(parents=True)
        (project / "model.py").touch()
        assert_refused(*grade("-p", project, "-d", data), f"named as a module of Python or torch: {project}")
    dotted = (submission() / "Miniproject_2").rename(tmp_path / "v1.0")
    assert_refused(*grade("-p", dotted, "-d", data), "has a dot")
    status, printed = grade("--no-such-option")
    assert status == 2 and "unrecognized arguments" in printed

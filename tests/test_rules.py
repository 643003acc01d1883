"""The assignment's rules, read from model.py's syntax tree: little of torch, no autograd, no torch.nn."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "Proj_Miniproject2" / "model.py"

ARITHMETIC = "empty cat arange nn.functional.fold nn.functional.unfold"
PLUMBING = """
    device dtype Tensor Generator Size load save is_tensor cuda.is_available
    float16 bfloat16 float32 float64 uint8 int8 int16 int32 int64 bool float double long
    no_grad inference_mode is_grad_enabled set_grad_enabled
    backends.mkldnn
"""
ALLOWED = {f"torch.{name}" for name in (ARITHMETIC + PLUMBING).split()}
# "torch", "torch.nn", "torch.nn.functional", "torch.cuda": good for what is below them, not as values
PACKAGES = {name[:i] for name in ALLOWED for i, letter in enumerate(name) if letter == "."}
TRACING = {"requires_grad", "requires_grad_", "retain_grad", "grad_fn"}
LOOPHOLES = {"eval", "exec", "__import__", "globals"}
LOOPHOLE_MODULES = {"importlib", "builtins", "ctypes", "runpy"}


def violations(source):
    """What breaks the rules in a module's source: a list of "line: what"."""
    tree, found, names = ast.parse(source), [], {}

    def report(node, what):
        found.append(f"{node.lineno}: {what}")

    def check_import(node, module):
        top = module.partition(".")[0]
        if top == "torch":
            if module not in PACKAGES:
                report(node, f"import of {module}")
        elif top not in sys.stdlib_module_names or top in LOOPHOLE_MODULES:
            report(node, f"import of {module}")

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                check_import(node, alias.name)
                if alias.name.partition(".")[0] == "torch":
                    names[alias.asname or "torch"] = alias.name if alias.asname else "torch"
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                report(node, f"relative import of {node.module}")
                continue
            check_import(node, node.module)
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if node.module.partition(".")[0] == "torch":
                    names[alias.asname or alias.name] = full
                    if full not in ALLOWED | PACKAGES:
                        report(node, f"import of {full}")

    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in LOOPHOLES:
            report(node, node.id)
        if isinstance(node, ast.Name) and node.id in names:  # follow torch.a.b.c to the first thing allowed
            path = names[node.id]
            while path not in ALLOWED and isinstance(parents[node], ast.Attribute):
                node = parents[node]
                path += f".{node.attr}"
            if path not in ALLOWED:
                report(node, path)
        # x.requires_grad may be read; whoever sets it, or names it as an argument, wants a graph
        if isinstance(node, ast.Attribute) and node.attr in TRACING:
            if node.attr != "requires_grad" or not isinstance(node.ctx, ast.Load):
                report(node, f".{node.attr}")
        if isinstance(node, ast.keyword) and node.arg == "requires_grad":
            report(node.value, "requires_grad=")
    return found


def test_model_keeps_the_rules():
    assert violations(MODEL.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source, names",
    [
        ("import torch\ny = torch.conv2d(x, w)", "torch.conv2d"),
        ("import torch\nclass Net(torch.nn.Module):\n    pass", "torch.nn.Module"),
        ("import torch\ny = map(torch.exp, xs)", "torch.exp"),
        ("import torch as t\ny = t.matmul(a, b)", "torch.matmul"),
        ("import torch\ny = getattr(torch, 'matmul')(a, b)", "torch"),
        ("import torch.nn.functional as F\ny = F.conv2d(x, w)", "torch.nn.functional.conv2d"),
        ("from torch import *", "import of torch.*"),
        ("import numpy", "import of numpy"),
        ("from .others import noise", "relative import of others"),
        ("x.requires_grad = True", ".requires_grad"),
        ("y = eval('torch.matmul(a, b)')", "eval"),
    ],
)
def test_violations_are_found(source, names):
    assert any(names in what for what in violations(source)), violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ny = torch.empty(3).normal_() @ torch.cat([x, x]) + torch.arange(3)",
        "import torch.nn.functional as F\ny = F.fold(F.unfold(x, 3), (4, 4), 3)",
        "import torch\nx = x.to(torch.device('cuda' if torch.cuda.is_available() else 'cpu'), torch.float32)",
        "import torch\nwith torch.no_grad():\n    state = torch.load(path, weights_only=True)",
        "y = conv2d(x).matmul(nn.relu(z))",  # names, but none of torch's
    ],
)
def test_clean_code_passes(source):
    assert violations(source) == []


GLOBAL_STATE = """
import os, random, signal, sys, warnings
import torch

def state():
    return dict(
        grad_mode=torch.is_grad_enabled(),
        dtype=torch.get_default_dtype(),
        device=str(torch.get_default_device()),
        matmul_precision=torch.get_float32_matmul_precision(),
        threads=(torch.get_num_threads(), torch.get_num_interop_threads()),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        mkldnn=torch.backends.mkldnn.enabled,
        cudnn=(torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        tf32=torch.backends.cuda.matmul.allow_tf32,
        rng=torch.get_rng_state().tolist(),
        python_rng=random.getstate(),
        environment=dict(os.environ),
        working_directory=os.getcwd(),
        path=list(sys.path),
        warnings=list(warnings.filters),
        interrupt=signal.getsignal(signal.SIGINT),
        cuda=torch.cuda.is_initialized(),
        printing=str(torch.tensor(1 / 3)),
    )

before, modules = state(), set(sys.modules)
import Proj_Miniproject2.model
after = state()
assert before == after, [name for name in before if before[name] != after[name]]
loaded = {name.partition(".")[0] for name in set(sys.modules) - modules}
foreign = loaded - set(sys.stdlib_module_names) - {"torch", "Proj_Miniproject2"}
assert not foreign, foreign
assert "Proj_Miniproject2.others" not in sys.modules
"""


def test_import_changes_no_global_state():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", GLOBAL_STATE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ""

"""Breaks model.py on purpose, one small mutation at a time, and makes sure that a test notices.

    python tests/mutations.py [NUMBER ...]

Each is made in a copy of the repository in a temporary folder, where the named tests run until one fails. Prints a line
for each; the exit status is 1 if one survives or no longer fits the source. Some ten minutes on two cores.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = Path("Proj_Miniproject2", "model.py")

# (what stands in model.py, once; what the mutation makes of it; which tests should notice)
MUTATIONS = [
    # signs
    ("error = prediction.detach() - target.detach()", "error = target.detach() - prediction.detach()", "test_blocks"),
    ("value.add_(grad, alpha=-self.lr)", "value.add_(grad, alpha=self.lr)", "test_blocks"),
    ("math.prod(p - q for q in roots)", "math.prod(q - p for q in roots)", "test_networks"),
    ("gradwrtoutput.detach() * output * (1 - output)", "gradwrtoutput.detach() * output * (1 + output)", "test_blocks"),
    # bounds
    ("clamp(min=0)", "clamp(min=-1e-3)", "test_blocks"),
    ("stop + halo, self.on_grid(size)", "stop + halo - self.GRID, self.on_grid(size)", "test_networks"),
    ("HALO = 10", "HALO = 9", "test_networks"),
    ("(m - 1) * s + k - p) for", "m * s + k - p) for", "test_blocks"),
    ("if not 0 <= getattr(self, name) < 1:", "if not 0 <= getattr(self, name) <= 1:", "test_bad_input"),
    (">= WORTH_ROUNDING:", "> WORTH_ROUNDING:", "test_blocks"),
    # missing accumulation, missing parts
    ("columns.add_(W.view", "columns.copy_(W.view", "test_blocks"),
    ("y.addmm_(x, w, beta=min(k, 1))", "y.addmm_(x, w, beta=0)", "test_networks"),
    ("w += self.turned(grad)", "w.copy_(self.turned(grad))", "test_blocks test_networks"),
    ("taps += self.w.lower", "taps[:] = self.w.lower", "test_blocks"),
    ("batch.chunk(2 if small else 1)", "batch.chunk(1)", "test_model"),
    ('["bias"].grad.add_(over', '["bias"].grad.copy_(over', "test_blocks"),
    ("return self.branch.backward(through) + around", "return self.branch.backward(through)", "test_networks"),
    ("            grad.zero_()\n", "            pass\n", "test_blocks"),
    # axes and orders
    ("(0, 1, 2) if exact", "(0, 2, 1) if exact", "test_networks"),
    ("w.flip(2, 3).transpose(0, 1)", "w.flip(3).transpose(0, 1)", "test_networks"),
    ("lifted[maps.key] if maps.key in lifted else", "[*lifted.values()][0] if lifted else", "test_networks test_model"),
    (
        "return grad.unflatten(-3, (height // rows, rows)).sum((-3, -1))",
        "return grad.unflatten(-3, (rows, height // rows)).sum((-3, -1))",
        "test_blocks",
    ),  # noqa: E501
    (
        "inputs, targets = inputs.flip(axis), targets.flip(axis)",
        "inputs, targets = inputs.flip(axis), targets",
        "test_model",
    ),  # noqa: E501
    # what is checked and put back
    ("            if version(tensor) != before:", "            if False:", "test_networks"),
    ("if module in below[:i]:", "if False:", "test_networks"),
    ("                vars(module).pop(name, None)", "                pass", "test_networks"),
    (
        "        accepted = [parameter.accept(state_dict[name], name)",
        "        accepted = [state_dict[name]",
        "test_networks",
    ),  # noqa: E501
    ("                parameter.value.copy_(before[name])\n", "                pass\n", "test_model"),
    ("            if theirs != ours:", "            if False:", "test_model test_bad_input"),
    (
        'velocity = state["velocity"].lerp_(grad, 1 - self.momentum)',
        'velocity = state["velocity"].lerp_(grad, self.momentum)',
        "test_blocks",
    ),  # noqa: E501
]


def survives(old, new, tests):
    """Whether the tests pass with `new` in place of `old`."""
    source = (ROOT / MODEL).read_text()
    if source.count(old) != 1:
        print(f"stands {source.count(old)} times in model.py, not once: {old!r}")
        return True
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "benchmarks", "__pycache__"))
        (copy / MODEL).write_text(source.replace(old, new))
        files = [f"tests/{name}.py" for name in tests.split()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "-c", "pyproject.toml", *files]
        return subprocess.run(command, cwd=copy, capture_output=True).returncode == 0


def main():
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(MUTATIONS) + 1)
    failed = []
    for number in chosen:
        old, new, tests = MUTATIONS[number - 1]
        alive = survives(old, new, tests)
        print(f"{number:2} {'SURVIVES' if alive else 'noticed'}: {new.strip()}", flush=True)
        failed += [number] * alive
    sys.exit(f"survived: {failed}" if failed else 0)


if __name__ == "__main__":
    main()

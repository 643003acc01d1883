"""The tests of files with the lowest versions that `pyproject.toml` allows, in an environment of their own.

torch, which is large, stays: it and what it needs are linked from the environment that runs this.
"""

import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# Without heic, which asks for a newer Pillow, and raw, which asks for a newer NumPy: they are skipped.
EXTRAS = "photos", "measured", "fits", "mrc", "dicom", "nifti", "zarr", "test"
NOT_NEEDED = {"onnxruntime", "pypdf", "ruff"}
TESTS = "test_pictures.py", "test_measured.py", "test_measured_files.py"


def lowest():
    """Requirements, as "numpy==1.26"; of two bounds the one that the extras name last."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bounds = [requirement.split(">=") for extra in EXTRAS for requirement in extras[extra] if "[" not in requirement]
    return [f"{name}=={version}" for name, version in dict(bounds).items() if name not in NOT_NEEDED]


def link(names, there):
    """Link what the packages of these names are made of, and what they need, into a folder."""
    todo, done = [*names], set()
    while todo:
        found = distribution(todo.pop())
        if found.name not in done:
            done.add(found.name)
            needed = map(Requirement, found.requires or [])
            todo += [one.name for one in needed if not one.marker or one.marker.evaluate({"extra": ""})]
            for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
                if not (there / top).exists():
                    (there / top).symlink_to(found.locate_file(top))


folder = ROOT / ".venv" / "lowest"
venv.create(folder, clear=True, with_pip=True)
python = folder / "bin" / "python"
subprocess.run([python, "-m", "pip", "install", "-q", *lowest()], check=True)
link(["torch"], folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages")
tests = [f"tests/{name}" for name in TESTS]
sys.exit(subprocess.run([python, "-m", "pytest", "-q", "-n", "2", *tests], cwd=ROOT).returncode)

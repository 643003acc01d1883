"""The help of all commands: what argparse says, in no time.

    python -m tests.test_help

writes the texts anew that are printed for it.
"""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from Proj_Miniproject2.others.__main__ import COMMANDS, main
from Proj_Miniproject2.others.helping import TEXTS, WHOLE, text_for

ROOT = Path(__file__).parents[1]


def said(name):
    """The help that argparse makes, for 80 columns."""
    out = io.StringIO()
    arguments = ["--help"] if name == WHOLE else [name, "--help"]
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), contextlib.redirect_stdout(out):
        with contextlib.suppress(SystemExit):
            main(arguments)
    return out.getvalue()


@pytest.mark.parametrize("name", [WHOLE, *COMMANDS])
def test_help_is_what_argparse_says(name):
    """But for line breaks, which differ between versions of Python."""
    text = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    assert text.split() == said(name).split(), "python -m tests.test_help writes the texts anew"


def test_there_is_no_other_text():
    assert {path.stem for path in TEXTS.glob("*.txt")} == {WHOLE, *COMMANDS}


@pytest.mark.parametrize("arguments, name", [
    (["--help"], WHOLE),
    (["-h", "denoise"], WHOLE),
    (["denoise", "a.png", "-h"], "denoise"),
    (["train", "--help", "--", "x"], "train"),
    (["train", "--", "--help"], None),
    (["denoise", "a.png"], None),
    (["../secret", "--help"], None),
    ([], None),
])  # fmt: skip
def test_who_asks_for_help(arguments, name):
    found = text_for(arguments)
    assert found == (name and TEXTS / f"{name}.txt")


@pytest.mark.parametrize("arguments", [["--help"], ["denoise", "--help"]])
def test_help_imports_no_torch(arguments):
    """`-X importtime` tells what it does import."""
    command = [sys.executable, "-X", "importtime", "-m", "Proj_Miniproject2.others", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("usage: noise2noise")
    assert "Proj_Miniproject2" in run.stderr and "torch" not in run.stderr and "numpy" not in run.stderr


def test_a_command_that_is_none_says_so():
    command = [sys.executable, "-m", "Proj_Miniproject2.others", "colours", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and "invalid choice" in run.stderr


if __name__ == "__main__":
    for name in (WHOLE, *COMMANDS):
        (TEXTS / f"{name}.txt").write_text(said(name), encoding="utf-8")

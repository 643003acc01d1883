"""What README.md shows runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from Proj_Miniproject2.others.__main__ import COMMANDS, main

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_snippets_run_one_after_the_other(capsys):
    names = {}
    for snippet in re.findall(r"```python\n(.*?)```", README, flags=re.S):
        exec(snippet, names)
    assert names["clean"].shape == names["noisy1"].shape and "epoch 1/1" in capsys.readouterr().out


def test_commands_exist():
    shown = re.findall(r"(?:`|^)noise2noise (.*?)(?:`|$)", README, flags=re.M)
    assert {command.split()[0] for command in shown} == set(COMMANDS)
    for command in shown:
        with pytest.raises(SystemExit) as exit:  # arguments parse; the files don't exist
            main(shlex.split(command) + (["--out", "no/w"] if "--out" not in command and "train" in command else []))
        assert exit.value.code == 2

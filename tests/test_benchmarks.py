"""The benchmarks run, refuse to time what computes something else, and their tables are those that are committed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import memory, parallel, speed
from Proj_Miniproject2 import model as m

ROOT = Path(__file__).parents[1]


def test_speed_runs(monkeypatch, capsys):
    monkeypatch.setattr(speed, "BATCHES", {2: 1})
    monkeypatch.setattr(speed, "IMAGES", {"small": ((1, 3, 16, 16), 1)})
    speed.main(["--quick"])
    assert capsys.readouterr().out.count("bfloat16") == 1
    assert m.filtering_pays.__name__ == "filtering_pays"  # the textbook version put it back


def test_a_version_that_computes_something_else_is_not_timed():
    state = m.Model().network.state_dict()
    wrong = speed.Ours({name: value + 0.01 for name, value in state.items()})
    with pytest.raises(RuntimeError, match="wrong is off"):
        speed.training({"wrong": wrong, "torch.nn": speed.Torchs(state)}, 2, 1)


def test_memory_counts_what_a_task_takes(monkeypatch):
    monkeypatch.setitem(memory.TASKS, "training step, batch 64", (2, 3, 8, 8))
    assert 0 <= memory.measure("training step, batch 64", "ours") < 500
    before = memory.peak()
    held = torch.ones(2**28, dtype=torch.uint8)
    assert memory.peak() - before > 100 and held[0] == 1


def test_parallel_runs(capsys):
    parallel.main(["--quick"])
    assert "in messages" in capsys.readouterr().out


def test_prediction_for_many_machines():
    """A machine takes 10 ms and 1 ms an image, and a message of 12.5 MB."""
    batches = {str(n): {"one": {"seconds": 0.01 + 0.001 * n}, "two": {"bytes": 12_500_000}} for n in (8, 32, 128)}
    # Eight send 14 parts of an eighth, 1.25 ms each, and 50 us before.
    assert parallel.message_seconds(12_500_000, 8) == pytest.approx(14 * (0.00125 + 0.00005))
    assert parallel.speedup(batches, 80, 8) == pytest.approx(0.09 / (0.01 + 0.01 + 0.0182))
    # They save 7 / 8 ms an image: 18.2 ms are made up by 21 images.
    assert parallel.batch_for(batches, 8, 1) == 32
    # Four times as fast: 10 + B = 4 (28.2 + B / 8), so that B = 205.6.
    assert parallel.batch_for(batches, 8, 4) == 256


def test_the_tables_are_what_the_results_say():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

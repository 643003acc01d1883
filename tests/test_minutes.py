"""Trainings that say how long they take, that take as long as they are told to, and that leave what they have when they
are stopped; and commands without docstrings."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from Proj_Miniproject2 import Model
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.networks import PhotoUNet
from Proj_Miniproject2.others.pairs.scenes import draw_scenes
from Proj_Miniproject2.others.training import by_recipe
from Proj_Miniproject2.others.training.recipe import Recipe


@pytest.fixture
def clock(monkeypatch):
    """The time by which trainings go: a second a step."""
    clock = SimpleNamespace(now=0.0, steps=0, rates=[])
    monkeypatch.setattr(by_recipe, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    learn = Model.learn

    def slow(model, inputs, targets):
        found = learn(model, inputs, targets)
        clock.now, clock.steps = clock.now + 1, clock.steps + 1
        clock.rates.append(model.optimizer.lr)
        return found

    monkeypatch.setattr(Model, "learn", slow)
    return clock


def pairs(epoch):
    return torch.randint(256, (2, 40, 3, 8, 8), generator=torch.Generator().manual_seed(epoch), dtype=torch.uint8)


def test_minutes_are_what_a_training_takes_and_its_learning_rate_falls_by(clock, capsys):
    recipe = Recipe(batch_size=4, warmup=0, lr=0.01)
    losses = Model().fit(pairs, recipe=recipe, minutes=0.6)
    assert clock.steps == 36 and len(losses) == 4  # of 10 steps, the last of 6
    expected = [0.01 * recipe.schedule(i / 36) for i in range(36)]
    torch.testing.assert_close(clock.rates, expected)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "loss" in line][-1].startswith("epoch 4/4")
    assert [line.split(":")[0] for line in lines if "loss" in line][0] == "epoch 1/4"


def test_it_says_soon_and_then_now_and_then_how_long_it_takes(clock, capsys):
    history = {"psnr": {0: 21.0, 1: 22.25}, "seconds": 0.0}
    Model().fit(pairs, recipe=Recipe(batch_size=4, num_epochs=6), history=history)
    told = [line.strip() for line in capsys.readouterr().out.splitlines() if "loss" not in line]
    assert told[0] == "4.0 pairs/s, 0.9 min left, 22.25 dB so far"  # after 6 of 60 steps of a second
    assert [line.split(", ")[1] for line in told] == ["0.9 min left", "0.6 min left", "0.2 min left"]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 1e9])
def test_minutes_without_end_or_beginning_are_refused(wrong, tmp_path, capsys):
    with pytest.raises(ValueError, match="minutes must be above 0"):
        Model().fit(pairs, minutes=wrong)
    with pytest.raises(SystemExit) as exit:
        main(f"train {tmp_path} --out {tmp_path}/w.pth --minutes {wrong}".split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and "minutes must be above 0" in printed and len(printed.splitlines()) == 1


def test_minutes_and_epochs_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(f"train {tmp_path} --out {tmp_path}/w.pth --minutes 1 --num-epochs 2".split())
    assert exit.value.code == 2 and "either --minutes or --num-epochs" in capsys.readouterr().err


@pytest.fixture
def shots(tmp_path, monkeypatch):
    """A folder of noisy scenes, two shots of each."""
    monkeypatch.setattr(experiment, "VALIDATION_SHOTS", 4)
    draws = torch.Generator().manual_seed(0)
    for i, scene in enumerate(draw_scenes(4, size=128)):
        for shot in range(2):
            noisy = (scene + 25 * torch.randn(scene.shape, generator=draws)).clamp(0, 255).byte()
            path = tmp_path / "shots" / str(i) / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "shots"


@pytest.fixture
def interruptible():
    """Ctrl-C stops us, also if whoever started the tests in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("harmful, stop", [(False, signal.SIGINT), (True, signal.SIGTERM)])
def test_who_is_stopped_leaves_the_best_weights_so_far(harmful, stop, shots, tmp_path, monkeypatch, capsys):
    """Those that were measured best, or the average of what came after, whichever is better."""
    steps, learn = [], Model.learn

    def learn_or_stop(model, inputs, targets):
        steps.append(1)
        if len(steps) == 6:
            signal.raise_signal(stop)
        found = learn(model, inputs, targets)
        if harmful:
            for value, _ in model.network.param():
                value.mul_(0.5)
        return found

    monkeypatch.setattr(Model, "learn", learn_or_stop)
    with pytest.raises(SystemExit) as exit:
        main(f"train --shots {shots} --out {tmp_path}/w.pth --pairs 8 --batch-size 4 --num-epochs 9".split())
    printed = capsys.readouterr()
    assert exit.value.code == 130 and printed.err.strip().endswith("w.pth holds the best weights so far")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    measured = [float(found) for found in re.findall(r"pairs seen: ([\d.]+) dB", printed.out)]
    assert measured[-1] >= max(measured[:-1]) - 0.01  # what was kept
    kept, start = PhotoUNet(), PhotoUNet()
    kept.load_weights(tmp_path / "w.pth")
    start.load_pretrained_model()
    same = all(map(torch.equal, kept.network.state_dict().values(), start.network.state_dict().values()))
    assert same or not harmful


def test_commands_run_without_docstrings(data, shots, tmp_path):
    """As under `python -OO`."""
    root = Path(__file__).parents[1]
    picture, command = shots / "0" / "0.png", [sys.executable, "-OO", "-m", "Proj_Miniproject2.others"]
    train = f"train --shots {shots} --out {tmp_path}/w.pth --pairs 4 --num-epochs 1".split()
    for options in (["denoise", picture, "--out", tmp_path / "out"], train, ["denoise", "--help"]):
        run = subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "0.png").exists() and (tmp_path / "w.pth").exists()
    test = [sys.executable, "-OO", "test.py", "-p", root, "-d", data]
    assert subprocess.run(test, cwd=root, capture_output=True, timeout=300).returncode in (0, 1)

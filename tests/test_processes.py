"""Training on several processes: what they learn together is what one would, and nothing is lost when one dies."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed

from Proj_Miniproject2.model import MSE, Conv2d, Model, Module, ReLU, Sequential, Upsampling
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.lab.runs import FUNCTIONS, Run
from Proj_Miniproject2.others.pairs.photos import load_photos
from Proj_Miniproject2.others.pairs.scenes import draw_scenes
from Proj_Miniproject2.others.training import processes
from Proj_Miniproject2.others.training.optimizers import Muon, RowMuon, adam, sgd
from Proj_Miniproject2.others.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
# A process that has imported all this once, and of which the others are copies.
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def in_group(rank, size, rendezvous, function, args):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=size)
    try:
        return function(*args)
    finally:
        distributed.destroy_process_group()


def together(size, folder, function, *args):
    """What `function(*args)` gives in each of `size` processes that form a group: a list, without tensors."""
    rendezvous = folder / f"group-{random.getrandbits(64)}"
    with ProcessPoolExecutor(size, FORKS) as pool:
        calls = [pool.submit(in_group, rank, size, rendezvous, function, args) for rank in range(size)]
        return [call.result(timeout=120) for call in calls]


def arrays(model):
    return {name: value.numpy() for name, value in model.network.state_dict().items()}


# ----------------------------------------------------------------------------------------------------------
# Float64: the weights of one process


class ToDouble(Module):
    def forward(self, input):
        return input.double()

    def backward(self, gradwrtoutput):
        return gradwrtoutput


class DoubleMSE(MSE):
    def forward(self, prediction, target):
        return super().forward(prediction, target.double())


class DoubleModel(Model):
    """A small network in float64 on images of 8 x 8."""

    def build(self):
        torch.manual_seed(7)
        down, up = Conv2d(3, 6, 3, stride=2, padding=1), Upsampling(6, 3, 4, stride=2, padding=1)
        return Sequential(ToDouble(), down, ReLU(), Conv2d(6, 6, 3, padding=1), up)

    def __init__(self):
        super().__init__()
        self.network.to(torch.float64)
        self.loss = DoubleMSE()


class DoubleRecipe(Recipe):
    def dtype(self, device):
        return torch.float64


# Five batches an epoch, the last one short, so that 3 and 4 processes have different parts of every batch or the last.
PAIRS, BATCH, EPOCHS, SEED = 4 * 32 + 19, 32, 10, 3
PLAIN = DoubleRecipe(num_epochs=EPOCHS, batch_size=BATCH, augment=False, exchange=False)
OPTIMIZERS = {
    "muon": replace(PLAIN, optimizer=Muon, lr=0.02, weight_decay=0.1),
    "rowmuon": replace(PLAIN, optimizer=RowMuon, lr=0.02, small_batches=0.5),
    "adam": replace(PLAIN, optimizer=adam, lr=0.01, momentum=0.9),
    "sgd": replace(PLAIN, optimizer=sgd, lr=0.1, momentum=0.9),
}


def all_pairs(epoch):
    return torch.randint(256, (2, PAIRS, 3, 8, 8), generator=torch.Generator().manual_seed(epoch), dtype=torch.uint8)


def own_pairs(epoch):
    """This process's part of each batch that one process alone would make of `all_pairs`, in the place from where this
    process takes it."""

    def order(n):
        return random.Random(f"{SEED} {epoch}").sample(range(n), n)

    alone, rank, size = order(PAIRS), distributed.get_rank(), distributed.get_world_size()
    mine = [i for k in range(0, PAIRS, BATCH) for i in alone[k : k + BATCH][rank::size]]
    pairs = torch.empty(2, len(mine), 3, 8, 8, dtype=torch.uint8)
    pairs[:, order(len(mine))] = all_pairs(epoch)[:, mine]
    return tuple(pairs)


def train_in_float64(name, pairs, seed=SEED):
    model = processes.joined(DoubleModel)()
    if processes.rank():
        model.network.param()[0].value.add_(1)  # the first process's weights are the ones that count
    losses = model.fit(pairs, recipe=OPTIMIZERS[name], seed=seed)
    return arrays(model), losses


@pytest.mark.parametrize("size, name", [(2, "muon"), (2, "rowmuon"), (2, "sgd"), (3, "adam"), (3, "muon"), (4, "adam")])
def test_several_processes_learn_what_one_learns(size, name, tmp_path):
    weights, losses = train_in_float64(name, all_pairs)
    everyone = together(size, tmp_path, train_in_float64, name, own_pairs)
    first = everyone[0]
    for others, other_losses in everyone:
        assert other_losses == first[1] and all((others[key] == first[0][key]).all() for key in weights)
    for key, value in weights.items():
        np.testing.assert_allclose(first[0][key], value, rtol=0, atol=1e-10)
    assert first[1] == pytest.approx(losses, rel=1e-10)


def two_against_three_batches():
    n = 32 + 32 * processes.rank()
    with pytest.raises(ValueError, match=r"as many batches in an epoch, got \[2, 4\]"):
        processes.joined(DoubleModel)().fit(lambda epoch: all_pairs(epoch)[:, :n], recipe=PLAIN)
    return True


def test_unequal_numbers_of_batches_are_refused(tmp_path):
    assert together(2, tmp_path, two_against_three_batches) == [True, True]


# ----------------------------------------------------------------------------------------------------------
# Parts of a run


@pytest.mark.parametrize("source", ["fresh", "fixed", "camera"])
@pytest.mark.parametrize("size, pairs, batch", [(2, 50, 16), (3, 51, 16), (4, 36, 16), (4, 10, 32)])
def test_every_process_draws_its_own_pairs(source, size, pairs, batch, monkeypatch):
    photos, seen, counts = draw_scenes(2, 256), set(), []
    run = Run(Recipe(batch_size=batch), source=FUNCTIONS["source"][source], pairs=pairs)
    for rank in range(size):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(processes, "processes", lambda: size)
        inputs, _ = run.source(photos, processes.own(run))(0)
        seen |= {image.numpy().tobytes() for image in inputs}
        counts.append(-(-len(inputs) // processes.part(batch)))
    assert len(seen) == pairs and set(counts) == {-(-pairs // batch)}


@pytest.mark.parametrize("pairs, batch, small", [(33, 32, 0), (2, 32, 0), (30, 2, 0), (37, 32, 0.5), (30, 5, 0.5)])
def test_runs_that_cannot_be_shared_are_refused(pairs, batch, small, monkeypatch):
    monkeypatch.setattr(processes, "processes", lambda: 3)
    with pytest.raises(ValueError, match=f"3 processes share every batch, and {pairs} pairs in batches of {batch}"):
        processes.own(Run(Recipe(batch_size=batch, small_batches=small), pairs=pairs))


# ----------------------------------------------------------------------------------------------------------
# Checkpoints, and what dies


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, scene in enumerate(draw_scenes(3, 256)):
        Image.fromarray(scene.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


RUN = Run(Recipe(num_epochs=4, batch_size=4, precision="float32"), pairs=10)


def train_until(epochs, folder, checkpoint):
    """Train RUN, but stop with an error after so many epochs; returns the weights and the curve."""

    def source(photos, run):
        draw = FUNCTIONS["source"]["fresh"](photos, run)
        return lambda epoch: draw(epoch) if epoch < epochs else 1 / 0

    source.__name__ = "fresh"
    experiment.VALIDATION_PAIRS = 8
    try:
        model, results = experiment.train(load_photos(folder), replace(RUN, source=source), checkpoint)
        return arrays(model), results["curve"]
    except ZeroDivisionError:
        return None


def test_a_checkpoint_goes_on_with_another_number_of_processes(photos, tmp_path, monkeypatch):
    for first, second in ((1, 2), (2, 1)):
        checkpoint = tmp_path / f"checkpoint-{first}"

        def run(size, epochs, checkpoint=checkpoint):
            if size == 1:
                return [train_until(epochs, photos, checkpoint)]
            return together(size, tmp_path, train_until, epochs, photos, checkpoint)

        assert run(first, 2) == [None] * first
        resumed = run(second, 4)
        for weights, curve in resumed:
            assert [point["pairs"] for point in curve] == [0, 10, 20, 30, 40] and curve[1]["loss"] > 0
            assert all((weights[key] == resumed[0][0][key]).all() for key in weights)
        (finished, _) = run(first, 4)[0]  # nothing is left to train
        assert all((finished[key] == resumed[0][0][key]).all() for key in finished)


def train_on_own_images(checkpoint):
    """`Model.train`, whose checkpoint knows the images: each process has others. Returns how much of it was trained."""
    model, lines = processes.joined(DoubleModel)(), StringIO()
    with redirect_stdout(lines):
        model.train(*all_pairs(processes.rank()), recipe=replace(PLAIN, num_epochs=2), checkpoint=checkpoint)
    return lines.getvalue().count("epoch")


def test_a_checkpoint_knows_the_first_process_s_images(tmp_path):
    assert together(2, tmp_path, train_on_own_images, tmp_path / "c") == [2, 2]
    assert together(2, tmp_path, train_on_own_images, tmp_path / "c") == [0, 0]


def test_a_killed_process_costs_an_epoch_at_most(photos, tmp_path):
    """Killed in the middle of the third epoch, the run that torchrun starts again ends as one undisturbed."""
    out, results, checkpoint = (tmp_path / name for name in ("w.pth", "r.json", "c"))
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1 -m tests.killed"
    command = f"train {photos} --out {out} --results {results} --checkpoint {checkpoint}"
    recipe = RUN.recipe
    options = f"--num-epochs {recipe.num_epochs} --batch-size {recipe.batch_size} --pairs {RUN.pairs}"
    options += f" --precision {recipe.precision}"
    done = subprocess.run(
        [sys.executable, *f"{torchrun} {command} {options}".split()],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"epoch (\d)/4", done.stdout) == ["1", "2", "3", "4"] and done.stdout.count("noisy:") == 1
    # unless torchrun was quicker to end it
    assert done.stderr.count("noise2noise train: lost another process") <= 1, done.stderr
    written = json.loads(results.read_text())
    assert written["processes"] == 2 and written["pairs"] == RUN.pairs
    weights, _ = together(2, tmp_path, train_until, 4, photos, None)[0]
    for key, value in torch.load(out, weights_only=True).items():
        assert (value.numpy() == weights[key]).all()


def test_the_cause_is_said_once(monkeypatch):
    """Whoever knows it: not by those that have lost another process, unless that was killed."""
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True)
    monkeypatch.setattr(processes, "PATIENCE", 0.1 * processes.PATIENCE)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_RUN_ID": "a"}.items():
        monkeypatch.setenv(name, str(value))
    cause, lost = ValueError("expected a folder of photos"), ConnectionError("lost another process")
    for attempt, (asking, expected) in enumerate(
        [
            ([cause, cause, lost], [True, False, False]),
            ([lost, lost], [True, False]),
            (["stopped", "stopped"], [True, False]),
        ]
    ):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        assert [processes.should_say(message) for message in asking] == expected
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "9")
    with ThreadPoolExecutor(1) as pool:  # those that wait hear what is said later
        waiting = pool.submit(processes.should_say, lost)
        assert processes.should_say(cause) and not waiting.result()


def train_on_photos_of_its_own(folders):
    with pytest.raises(ValueError, match=r"the same photos and options, got photos '3, .*' instead of '3, .*'$"):
        experiment.train(load_photos(folders[processes.rank()]), RUN)
    return True


def test_other_photos_of_another_process_are_refused(photos, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    names = sorted(other.iterdir())
    names[0].rename(other / "z.png")  # the same photos in another order
    assert together(2, tmp_path, train_on_photos_of_its_own, [photos, other]) == [True, True]

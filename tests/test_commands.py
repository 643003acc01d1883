"""The commands that train, evaluate and compare, on a few small photos: what they write, and how they refuse."""

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import fields, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.model import Model
from Proj_Miniproject2.others.__main__ import COMMANDS, main
from Proj_Miniproject2.others.commands import ablate, train
from Proj_Miniproject2.others.formats.files import save, save_somewhere
from Proj_Miniproject2.others.lab import experiment, studies
from Proj_Miniproject2.others.lab.runs import FUNCTIONS, RUNS, Run
from Proj_Miniproject2.others.networks import NETWORKS, TRAINABLE
from Proj_Miniproject2.others.pairs.photos import PairStream, load_photos
from Proj_Miniproject2.others.pairs.sources import SIGMAS, fixed, gaussian_pairs
from Proj_Miniproject2.others.pairs.sources import clean as with_clean
from Proj_Miniproject2.others.training.recipe import DEFAULT, Recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        pixels = torch.randint(256, (260, 256, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def val_data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "val_data.pkl"
    draws = torch.Generator().manual_seed(0)
    save(tuple(torch.randint(256, (4, 3, 32, 32), generator=draws, dtype=torch.uint8) for _ in range(2)), path)
    return path


def test_train_writes_weights_and_results(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    out, results = tmp_path / "weights.pth", tmp_path / "results.json"
    main(f"train {photos} --out {out} --results {results} --pairs 8 --num-epochs 2".split())
    Model().load_weights(out)
    written = json.loads(results.read_text())
    assert written["pairs"] == 8 and written["num_epochs"] == 2 and written["lr"] == DEFAULT.lr
    assert written["psnr"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "weights.pth"]


def test_training_goes_on_from_weights(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    start, out = tmp_path / "start.pth", tmp_path / "weights.pth"
    torch.manual_seed(5)
    state = Model().network.state_dict()
    save(state, start)
    main(f"train {photos} --start {start} --out {out} --pairs 8 --num-epochs 1 --lr 1e-9 --average 0".split())
    written = torch.load(out, weights_only=True)
    torch.testing.assert_close(written, state, rtol=0, atol=1e-6)


def test_weights_in_half_precision(photos, tmp_path, monkeypatch):
    few_pairs(monkeypatch)
    main(f"train {photos} --out {tmp_path}/w.pth --half --num-epochs 1 --pairs 4".split())
    assert {value.dtype for value in torch.load(tmp_path / "w.pth", weights_only=True).values()} == {torch.float16}
    Model().load_weights(tmp_path / "w.pth")


def test_weights_of_another_network_are_nothing_to_go_on_from(photos, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(f"train {photos} --out {tmp_path}/w.pth --network unet --start {Model.PRETRAINED}".split())
    assert "neither of this network nor of one with other widths" in capsys.readouterr().err
    assert not (tmp_path / "w.pth").exists()


FOREIGN = {
    "texts": dict.fromkeys(Model().network.named_param(), "text"),
    "numbers as names": {1: torch.ones(3), 2: torch.ones(3)},
    "nested": {"state_dict": {"0.weight": torch.ones(3)}},
    "nothing": {},
    "kernels of one pixel": {
        name: value[:, :, :1, :1] if value.dim() == 4 else value for name, value in Model().network.state_dict().items()
    },
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_nothing_to_go_on_from(content, photos, tmp_path, capsys):
    save(content, tmp_path / "foreign.pth")
    with pytest.raises(SystemExit) as exit:
        main(f"train {photos} --out {tmp_path}/w.pth --start {tmp_path}/foreign.pth".split())
    error = capsys.readouterr().err.strip()
    assert exit.value.code == 2 and "foreign.pth holds the weights neither of this network nor" in error
    assert len(error.splitlines()) == 1 and not (tmp_path / "w.pth").exists()


def test_training_repeats(photos, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    run = Run(Recipe(num_epochs=1, batch_size=4), pairs=8)
    weights = [experiment.train(load_photos(photos), run)[0].network.state_dict() for _ in range(2)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_trains(network, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    out = tmp_path / "weights.pth"
    main(f"train {photos} --network {network} --out {out} --pairs 4 --num-epochs 1".split())
    NETWORKS[network]().load_weights(out)


def test_a_checkpoint_of_other_photos_is_refused(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    command = (
        f"train {{}} --out {tmp_path}/w.pth --checkpoint {tmp_path}/c --pairs 4 --num-epochs 1 --overwrite".split()
    )
    main([word.format(photos) for word in command])
    other = tmp_path / "other"
    other.mkdir()
    for i in range(3):
        Image.new("RGB", (256, 256), (i, 2, 3)).save(other / f"{i}.png")
    with pytest.raises(SystemExit) as exit:
        main([word.format(other) for word in command])
    assert exit.value.code == 2 and "another training" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([word.format(photos) for word in command] + ["--source", "fixed"])
    assert "another training" in capsys.readouterr().err


def test_results_go_back_to_the_first_start(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    fit, results = Model.fit, tmp_path / "results.json"
    command = f"train {photos} --results {results} --overwrite --pairs 4 --num-epochs 2 --distill-epochs 2 --out"

    def stopped(self, pairs, *args, **options):
        """Interrupted as its second epoch begins."""

        def fewer(epoch):
            if epoch:
                raise KeyboardInterrupt
            return pairs(epoch)

        return fit(self, fewer, *args, **options)

    def trained(checkpoint=None):
        main([*command.split(), str(tmp_path / "w.pth"), *(["--checkpoint", str(checkpoint)] if checkpoint else [])])
        return json.loads(results.read_text())

    whole = trained()
    assert [point["pairs"] for point in whole["curve"]] == [0, 4, 16] and whole["curve"][1]["loss"]
    clock = count(step=100)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):  # before the second of four epochs
        patch.setattr(Model, "fit", stopped)
        trained(tmp_path / "c")
    resumed = trained(tmp_path / "c")
    assert resumed["curve"] == whole["curve"] and resumed["seconds"] >= 400
    assert trained(tmp_path / "c") == resumed


def test_gaussian_pairs_share_their_clean_image():
    """The mean of the two noises' product is near 0, that of each noise's square near the mean of sigma^2."""
    stream = PairStream([torch.full((3, 256, 256), 128, dtype=torch.uint8)])
    first, second = (noisy.float() - 128 for noisy in gaussian_pairs(stream, 40, seed=3))
    variance = sum(sigma**2 for sigma in SIGMAS) / len(SIGMAS)
    assert first.square().mean() == pytest.approx(variance, rel=0.05)
    assert second.square().mean() == pytest.approx(variance, rel=0.05)
    assert abs((first * second).mean()) < 0.05 * variance


@pytest.mark.parametrize("options, exchange", [({}, True), ({"targets": 2}, False), ({"source": with_clean}, False)])
def test_pairs_are_exchanged_only_if_both_are_noisy_alike(options, exchange, photos, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    recipes = []

    class Recorder(Model):
        def fit(self, pairs, recipe, **options):
            recipes.append(recipe)
            return {}

    monkeypatch.setitem(TRAINABLE, "report", Recorder)
    experiment.train(load_photos(photos), Run(pairs=4, **options))
    assert recipes[0].exchange == exchange


@pytest.mark.parametrize("source", ["fresh", "fixed", "clean", "mixed"])
def test_photos_set_aside_are_in_no_training(source, monkeypatch):
    """Each photo is of one grey, so that a pair shows which photo it was cut from."""
    photos = [torch.full((3, 256, 256), 8 * i, dtype=torch.uint8) for i in range(30)]
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 12)
    monkeypatch.setattr("Proj_Miniproject2.others.pairs.sources.SIGMAS", (0, 0))
    seen = {"training": set(), "validation": set()}

    class Recorder(Model):
        def fit(self, pairs, **options):
            for epoch in range(4):
                seen["training"] |= {int(v) for images in pairs(epoch) for v in images.unique()}
            return {}

        def predict(self, images):
            seen["validation"] |= {int(v) for v in images.unique()}
            return images

    monkeypatch.setitem(TRAINABLE, "report", Recorder)
    experiment.train(photos, Run(Recipe(num_epochs=4), source=FUNCTIONS["source"][source], pairs=400))
    assert seen["validation"] <= {8 * i for i in (0, 14, 28)} and len(seen["validation"]) > 1
    assert seen["training"] == {8 * i for i in range(30)} - {8 * i for i in (0, 14, 28)}


def test_the_files_of_pairs_keep_to_the_same_split(tmp_path):
    for i in range(30):
        Image.new("L", (256, 256), 8 * i).save(tmp_path / f"{i:02}.png")
    main(f"pairs {tmp_path} {tmp_path}/out --train 100 --val 10".split())
    training, validation = (
        {int(v) for images in torch.load(tmp_path / "out" / name, weights_only=True) for v in images.unique()}
        for name in ("train_data.pkl", "val_data.pkl")
    )
    assert validation == {8 * i for i in (0, 14, 28)} and training == {8 * i for i in range(30)} - validation


def test_evaluate_writes_psnr(val_data, photos, tmp_path):
    weights, results = tmp_path / "weights.pth", tmp_path / "results.json"
    save(Model().network.state_dict(), weights)
    main(f"evaluate {val_data} --weights {weights} --photos {photos} --results {results}".split())
    written = json.loads(results.read_text())
    noisy, clean = torch.load(val_data, weights_only=True)
    by_hand = -10 * ((noisy.double() - clean.double()) / 255).square().mean((1, 2, 3)).log10().mean()
    assert written["the file's own noise"]["noisy"] == pytest.approx(float(by_hand), abs=1e-3)
    assert any("128 x 128" in name for name in written)


def few_pairs(monkeypatch, *names):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    few = {name: {label: replace(run, pairs=4) for label, run in ablate.STUDIES[name].items()} for name in names}
    for module in (studies, ablate):
        monkeypatch.setattr(module, "STUDIES", few)


def test_ablate_resumes(photos, tmp_path, monkeypatch):
    few_pairs(monkeypatch, "target")
    main(["ablate", str(photos), str(tmp_path)])
    path = tmp_path / "target.json"
    written = json.loads(path.read_text())
    counts = {variant: len(runs) for variant, runs in written.items()}
    assert counts == {"noisy": 2, "mean of 8 noisy": 2, "clean": 2}
    written["clean"].pop()
    path.write_text(json.dumps(written))
    main(["ablate", str(photos), str(tmp_path), "target"])
    assert [run["seed"] for run in json.loads(path.read_text())["clean"]] == [0, 1]


def test_ablations_train_once_what_several_studies_ask_for(photos, tmp_path, monkeypatch):
    asked = []

    def score(photos, run):
        asked.append(run)
        return None, {"psnr": len(asked)}

    monkeypatch.setattr(ablate, "train", score)
    main(["ablate", str(photos), str(tmp_path), "optimiser", "batch-size"])
    read = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("optimiser", "batch-size")}
    assert len(read["optimiser"]) == 5 and read["optimiser"]["Muon"] == read["batch-size"]["32"]
    assert len(asked) == 2 * (5 + 3 - 1) and not any(a == b for i, a in enumerate(asked) for b in asked[:i])


def test_turned_predictions_are_those_of_the_eight_symmetries():
    model = Model()
    images = torch.randint(256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    undo = [lambda t: t, lambda t: t.flip(2), lambda t: t.flip(3), lambda t: t.flip(2, 3)]
    undo += [lambda t, u=u: u(t).mT for u in undo]
    # each of these is its own inverse, but for the two quarter turns, which are each other's
    inverse = [*undo[:5], undo[6], undo[5], undo[7]]
    symmetric = torch.stack([back(model.predict(turn(images))) for turn, back in zip(undo, inverse, strict=True)])
    draws = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(60):
        distances = (experiment.turned_prediction(model, images, draws) - symmetric).abs().amax((1, 2, 3, 4))
        assert distances.min() < 1e-3 and (distances < 1e-3).sum() == 1
        seen.add(int(distances.argmin()))
    assert len(seen) == 8


def test_distillation_comes_near_the_mean_of_the_symmetries(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    stack, checkpoint = load_photos(photos), tmp_path / "checkpoint.pth"
    run = Run(Recipe(num_epochs=1, batch_size=4), pairs=40, source=fixed)
    teacher, _ = experiment.train(stack, run)
    longer = replace(run, distill_epochs=4)
    pupil, results = experiment.train(stack, longer, checkpoint)
    assert results["distill_epochs"] == 4
    images = torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = torch.Generator().manual_seed(0)
    target = torch.stack([experiment.turned_prediction(teacher, images, draws) for _ in range(100)]).mean(0)
    before, after = ((model.predict(images) - target).square().mean() for model in (teacher, pupil))
    assert after < 0.5 * before

    # interrupted between the two trainings, it comes to the same
    (tmp_path / "checkpoint.pth.distill").unlink()
    again, _ = experiment.train(stack, longer, checkpoint)
    torch.testing.assert_close(again.network.state_dict(), pupil.network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "command, words",
    [
        ("train nowhere --out w.pth", "nowhere"),
        ("train {photos}", "--out"),
        ("train {photos} --out w.pth --lr 0", "lr must be positive"),
        ("train {photos} --out w.pth --num-epochs 0", "num_epochs"),
        ("train {photos} --out w.pth --pairs 0", "pairs must be at least 1"),
        ("train {photos} --out w.pth --seed -3", "seed must be at least 0"),
        (f"train {{photos}} --out w.pth --seed {10**18}", "seed must be at most"),
        ("train {photos} --out w.pth --lr 1e308", "lr must be positive and at most"),
        ("train {photos} --out w.pth --distill-epochs -1", "distill_epochs"),
        ("train {photos} --out w.pth --start nowhere.pth", "nowhere.pth"),
        ("train {photos} --out w.pth --num-epochs 1 --pairs 64 --lr 1e30 --average 0", "its loss is"),
        ("train {photos} --out w.pth --pairs 1000000000000", "pairs must be at most 100000000, got 1000000000000"),
        ("train {photos} --out w.pth --start {val_data}", "val_data.pkl should hold a dict"),
        ("train {photos} --out w.pth --start {readme}", "README.md can't be read"),
        ("evaluate nowhere.pkl", "nowhere.pkl"),
        ("evaluate {readme}", "can't be read, is damaged"),
        ("evaluate {val_data} --weights nowhere.pth", "nowhere.pth"),
        ("ablate {photos} results colours", "unknown studies colours"),
        ("pairs {photos} {readme}", "expected a folder"),
        ("colours", "invalid choice"),
    ],
)
def test_bad_arguments(command, words, photos, val_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[1]
    files = {"photos": photos, "val_data": val_data, "readme": root / "README.md"}
    with pytest.raises(SystemExit) as exit:
        main(command.format(**files).split())
    assert exit.value.code == 2 and words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_is_one_line(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "c").touch()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupt)
    with pytest.raises(SystemExit) as exit:
        main(f"train {photos} --out {tmp_path}/w.pth --checkpoint {tmp_path}/c".split())
    printed = capsys.readouterr().err.strip()
    assert exit.value.code == 130 and f"{tmp_path}/c" in printed and len(printed.splitlines()) == 1

    with pytest.raises(SystemExit):  # before there is anything in the checkpoint
        main(f"train {photos} --out {tmp_path}/w.pth --checkpoint {tmp_path}/d".split())
    assert capsys.readouterr().err.strip() == "noise2noise train: stopped"


class Trained:
    """What `experiment.train` gives, in no time"""

    def __init__(self, psnr, noisy_psnr=20.0):
        self.results = {"psnr": psnr, "noisy_psnr": noisy_psnr}

    def __call__(self, photos, run, checkpoint=None, minutes=None):
        return Model(), self.results


def test_bad_weights_do_not_replace_good_ones(photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "best.pth"
    command = f"train {photos} --out {out} --overwrite".split()
    monkeypatch.setattr(train, "train", Trained(12.71))
    main(command)
    assert "worse than doing nothing" in capsys.readouterr().out and out.exists()
    monkeypatch.setattr(train, "train", Trained(25.0))
    main(command)
    good = out.read_bytes()
    monkeypatch.setattr(train, "train", Trained(float("nan")))
    with pytest.raises(SystemExit) as exit:
        main(command)
    assert exit.value.code == 1 and "best-worse.pth" in capsys.readouterr().err and out.read_bytes() == good
    Model().load_weights(tmp_path / "best-worse.pth")


@pytest.mark.parametrize("full", [[], ["tmp"], ["tmp", "here"]], ids=str)
def test_weights_that_cannot_be_written_are_kept_elsewhere(full, photos, tmp_path, monkeypatch, capsys):
    """In the first of the folders at hand whose disk isn't full."""
    places = {name: tmp_path / name for name in ("tmp", "here", "home")}
    for folder in places.values():
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(places["tmp"]))
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.chdir(places["here"])

    class Unlucky(Model):
        def save_weights(self, path, dtype=None):
            if path == Path("w.pth") or any(places[name] in path.parents for name in full):
                raise OSError("disk full")
            super().save_weights(path, dtype)

    monkeypatch.setattr(train, "train", lambda *args: (Unlucky(), {"psnr": 25.0, "noisy_psnr": 20.0}))
    with pytest.raises(SystemExit) as exit:
        main(f"train {photos} --out w.pth --results {tmp_path / 'r.json'}".split())
    assert json.loads((tmp_path / "r.json").read_text())["psnr"] == 25
    (kept,) = tmp_path.rglob("w.pth")
    assert kept.parents[1] == [*places.values()][len(full)]
    assert exit.value.code == 2 and f"w.pth can't be written, instead {kept} was: disk full" in capsys.readouterr().err
    Model().load_weights(kept)
    assert not any([*places[name].iterdir()] for name in full)


def test_if_nothing_can_be_written_the_first_error_is_told(tmp_path, monkeypatch):
    tried = []

    def save(path):
        tried.append(path)
        raise OSError(f"disk {len(tried)} is full")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="disk 1 is full"):
        save_somewhere(save, tmp_path / "w.pth")
    assert len(tried) >= 3 and not [*tmp_path.iterdir()]


def test_outputs_are_tried_out_before_any_work(photos, tmp_path, monkeypatch, capsys):
    def read_only(*args, **kwargs):
        raise OSError("Read-only file system")

    monkeypatch.setattr("Proj_Miniproject2.others.formats.files.tempfile.TemporaryFile", read_only)
    monkeypatch.setattr(train, "load_photos", None)  # would be called, were it not found out before
    with pytest.raises(SystemExit) as exit:
        main(f"train {photos} --out {tmp_path}/w.pth".split())
    assert exit.value.code == 2 and "Read-only" in capsys.readouterr().err


def test_ablations_of_other_photos_are_refused(photos, tmp_path, monkeypatch, capsys):
    authors = Path(__file__).parents[1] / "benchmarks" / "results" / "ablations"
    before = {path: path.read_bytes() for path in authors.iterdir()}
    monkeypatch.setattr(ablate, "train", None)
    (tmp_path / "target.json").write_text('{"noisy": [{"psnr": 25, "photos": "650, sum of all pixels 3"}]}')
    for folder in (authors, tmp_path):
        with pytest.raises(SystemExit) as exit:
            main(["ablate", str(photos), str(folder)])
        assert exit.value.code == 2 and "results of other photos" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in authors.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["target.json"]


@pytest.mark.parametrize("missing, extra", [("PIL", "photos"), ("tqdm", "photos"), ("matplotlib", "figures")])
def test_a_missing_package_names_what_brings_it(missing, extra, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    results = tmp_path / "r.json"
    results.write_text('{"curve": [{"pairs": 1, "loss": 1, "psnr": 1}]}')
    command = f"plot {results} --out {tmp_path}/p.png" if extra == "figures" else f"train {photos} --out {tmp_path}/w"
    with pytest.raises(SystemExit) as exit:
        main(command.split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and f"{missing}" in printed and f"[{extra}]" in printed
    assert len(printed.strip().splitlines()) == 1


def test_results_are_json_whatever_the_numbers(val_data, tmp_path):
    noisy, _ = torch.load(val_data, weights_only=True)
    save((noisy, noisy), tmp_path / "same.pkl")
    main(f"evaluate {tmp_path}/same.pkl --results {tmp_path}/r.json".split())

    def refuse(constant):
        raise AssertionError(constant)

    written = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert written["the file's own noise"]["noisy"] is None


def actions_of(command):
    """argparse's own for a command's arguments and options, but for --help."""
    parser = argparse.ArgumentParser(add_help=False)
    COMMANDS[command].add_arguments(parser)
    return parser._actions


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_in_a_sentence_what_each_option_is_and_its_default(command):
    for action in actions_of(command):
        shown = (action.help or "") % {"default": action.default}
        assert shown[:1].isupper() and shown.endswith(".") and len(shown.split()) >= 5, shown
        assert action.default in (None, False, argparse.SUPPRESS) or f"({action.default})" in shown, shown
        assert action.default is not None or not action.choices or "(" in shown, shown


def test_help_of_train_begins_with_what_people_need(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    peoples, laboratorys = capsys.readouterr().out.split("the laboratory:")
    first = "shots singles out checkpoint results overwrite half run network start num-epochs minutes pairs".split()
    assert [name for name in re.findall(r"^  --([a-z-]+)", peoples, re.M)] == first
    fields_of_runs = {field.name.replace("_", "-") for kind in (Run, Recipe) for field in fields(kind)} - {"recipe"}
    assert {*re.findall(r"^  --([a-z-]+)", laboratorys, re.M)} == fields_of_runs - {*first}


def test_named_runs():
    """bestmodel.pth's run is the one that its results file holds."""
    made_by = {"small_batches": 0}  # which came later
    made_by |= json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "best.json").read_text())
    run = RUNS["bestmodel"].describe()
    for name in run.keys() - {"init", "start"}:  # which --start took the place of
        assert run[name] == made_by[name]

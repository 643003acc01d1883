"""The commands that train, evaluate and compare, on a few small photos: what they write, and how they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.model import DEFAULT, Model, Recipe, save
from Proj_Miniproject2.others import ablate, evaluate, train
from Proj_Miniproject2.others.photos import PairStream, load_photos


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
    monkeypatch.setattr(train, "VALIDATION_PAIRS", 4)
    out, results = tmp_path / "weights.pth", tmp_path / "results.json"
    train.main([str(photos), "--out", str(out), "--results", str(results), "--pairs", "8", "--num-epochs", "2"])
    Model().load_weights(out)
    written = json.loads(results.read_text())
    assert written["pairs"] == 8 and written["num_epochs"] == 2 and written["lr"] == DEFAULT.lr
    assert written["psnr"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "weights.pth"]


def test_training_goes_on_from_weights(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "VALIDATION_PAIRS", 2)
    start, out = tmp_path / "start.pth", tmp_path / "out.pth"
    before = Model().network.state_dict()
    save(before, start)
    train.main(
        [str(photos), "--start", str(start), "--out", str(out), "--pairs", "8", "--num-epochs", "1", "--lr", "1e-9"]
    )
    torch.testing.assert_close(torch.load(out, weights_only=True), before, rtol=1e-5, atol=1e-6)


def test_training_repeats(photos):
    stack = [torch.randint(256, (3, 256, 256), dtype=torch.uint8) for _ in range(2)]
    recipe = Recipe(num_epochs=2)
    weights = [train.train_and_score(stack, recipe, pairs=8, gaussian=0.5)[0].network.state_dict() for _ in range(2)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_gaussian_pairs_share_their_clean_image():
    """The mean of the two noises' product is near 0, that of each noise's square near the mean of sigma^2."""
    stream = PairStream([torch.full((3, 256, 256), 128, dtype=torch.uint8)])
    first, second = (noisy.float() - 128 for noisy in train.gaussian_pairs(stream, 40, seed=3))
    variance = sum(sigma**2 for sigma in train.SIGMAS) / len(train.SIGMAS)
    assert first.square().mean() == pytest.approx(variance, rel=0.05)
    assert second.square().mean() == pytest.approx(variance, rel=0.05)
    assert abs((first * second).mean()) < 0.05 * variance


def test_photos_set_aside_are_not_trained_on():
    photos = list(range(100))
    training, aside = train.split(photos)
    assert sorted(training + aside) == photos and not set(training) & set(aside) and len(aside) >= 7


def test_evaluate_writes_psnr(val_data, photos, tmp_path):
    weights, results = tmp_path / "weights.pth", tmp_path / "results.json"
    save(Model().network.state_dict(), weights)
    evaluate.main([str(val_data), "--weights", str(weights), "--photos", str(photos), "--results", str(results)])
    written = json.loads(results.read_text())
    noisy, clean = torch.load(val_data, weights_only=True)
    by_hand = -10 * ((noisy.double() - clean.double()) / 255).square().mean((1, 2, 3)).log10().mean()
    assert written["the file's own noise"]["noisy"] == pytest.approx(float(by_hand), abs=1e-3)
    assert any("128 x 128" in name for name in written)


def test_ablate_resumes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "VALIDATION_PAIRS", 4)
    monkeypatch.setattr(ablate, "STUDIES", {"target": ablate.STUDIES["target"]})
    ablate.main([str(photos), str(tmp_path), "--pairs", "4"])
    path = tmp_path / "target.json"
    written = json.loads(path.read_text())
    assert {variant: len(runs) for variant, runs in written.items()} == {"noisy": 2, "clean": 2}
    written["clean"].pop()
    path.write_text(json.dumps(written))
    ablate.main([str(photos), str(tmp_path), "target", "--pairs", "4"])
    assert [run["seed"] for run in json.loads(path.read_text())["clean"]] == [0, 1]


def test_ablations_train_once_what_several_studies_ask_for(photos, tmp_path, monkeypatch):
    asked = []

    def score(photos, **options):
        asked.append(options)
        return None, {"psnr": len(asked)}

    monkeypatch.setattr(ablate, "train_and_score", score)
    ablate.main([str(photos), str(tmp_path), "optimiser", "batch-size"])
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
        distances = (train.turned_prediction(model, images, draws) - symmetric).abs().amax((1, 2, 3, 4))
        assert distances.min() < 1e-3 and (distances < 1e-3).sum() == 1
        seen.add(int(distances.argmin()))
    assert len(seen) == 8


def test_a_pupil_comes_near_the_mean_of_the_symmetries(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "VALIDATION_PAIRS", 2)
    stack, checkpoint = load_photos(photos), tmp_path / "checkpoint.pth"
    options = {"recipe": Recipe(num_epochs=1, batch_size=4), "pairs": 40, "data": "fixed"}
    teacher, _ = train.train_and_score(stack, **options)
    pupil, results = train.train_and_score(stack, **options, pupil_epochs=4, checkpoint=checkpoint)
    assert results["pupil_epochs"] == 4
    images = torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = torch.Generator().manual_seed(0)
    target = torch.stack([train.turned_prediction(teacher, images, draws) for _ in range(100)]).mean(0)
    before, after = ((model.predict(images) - target).square().mean() for model in (teacher, pupil))
    assert after < 0.5 * before

    # interrupted between the two trainings, it comes to the same
    (tmp_path / "checkpoint.pth.pupil").unlink()
    again, _ = train.train_and_score(stack, **options, pupil_epochs=4, checkpoint=checkpoint)
    torch.testing.assert_close(again.network.state_dict(), pupil.network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "command, arguments, words",
    [
        (train, ["nowhere"], "nowhere"),
        (train, ["{photos}", "--lr", "0"], "lr must be positive"),
        (train, ["{photos}", "--num-epochs", "0"], "num_epochs"),
        (train, ["{photos}", "--pupil-epochs", "-1"], "num_epochs"),
        (train, ["{photos}", "--start", "nowhere.pth"], "nowhere.pth"),
        (train, ["{photos}", "--out", "no/such/folder/weights.pth"], "there is no folder"),
        (evaluate, ["nowhere.pkl"], "nowhere.pkl"),
        (evaluate, ["{val_data}", "--weights", "nowhere.pth"], "nowhere.pth"),
        (ablate, ["{photos}", "results", "colours"], "unknown studies colours"),
    ],
)
def test_bad_arguments(command, arguments, words, photos, val_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        command.main([argument.format(photos=photos, val_data=val_data) for argument in arguments])
    assert exit.value.code == 2 and words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_readmes_tables_are_what_the_results_say():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--check"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

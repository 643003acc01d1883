"""The benchmarks run, refuse to time what computes something else, and their tables are those that are committed."""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import (
    gpu,
    harm,
    kinds,
    layers,
    memory,
    noises,
    parallel,
    photos,
    singles,
    speed,
    tables,
    time_to_quality,
    views,
)
from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.fast import convolution, faster
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.networks import PhotoUNet, UNet
from Proj_Miniproject2.others.pairs.sources import SHARES, correlated
from Proj_Miniproject2.others.training.optimizers import Muon

ROOT = Path(__file__).parents[1]


def test_speed_runs(monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(speed, "BATCHES", {2: 1})
    monkeypatch.setattr(speed, "IMAGES", {"small": ((1, 3, 16, 16), 1)})
    small = {"predicts": (UNet, False, (1, 3, 32, 32), 1), "trains": (PhotoUNet, True, (2, 3, 48, 48), 1)}
    monkeypatch.setattr(speed, "LARGER", small)
    monkeypatch.setattr(speed, "THREADS", (1,))
    threads = torch.get_num_threads()
    speed.main(["--quick"])
    printed = capsys.readouterr().out
    assert (
        printed.count("bfloat16") == 1 + 2 + 1
        and printed.count("ONNX") == 2
        and "predicts, 1 x 3 x 32 x 32, 1 threads: {'ours'" in printed
    )
    assert torch.get_num_threads() == threads
    assert m.Convolution.faster is faster  # the textbook version put it back


def test_a_version_that_computes_something_else_is_not_timed():
    model = m.Model()
    right = speed.Torchs(model)
    for value, _ in model.network.param():
        value += 0.01
    with pytest.raises(RuntimeError, match="wrong is off"):
        speed.training({"wrong": speed.Ours(model), "torch.nn": right}, (2, 3, 32, 32), 1)


def test_memory_counts_what_a_task_takes(monkeypatch):
    monkeypatch.setitem(memory.TASKS, "training step, batch 64", (2, 3, 8, 8))
    assert 0 <= memory.measure("training step, batch 64", "ours") < 500
    before = memory.peak()
    held = torch.ones((int(before) + 256) * 2**20, dtype=torch.uint8)  # more than all that other tests once held
    assert memory.peak() - before > 100 and held[0] == 1


def test_kinds_of_maps_are_left_out_and_put_back(monkeypatch, capsys):
    monkeypatch.setattr(kinds, "NETWORKS", {"predicts": (UNet, False, (1, 3, 32, 32))})
    before = {name: getattr(convolution, name) for kind in kinds.KINDS.values() for name in kind}
    for kind, layer in (
        ("MinimalFiltering", m.Conv2d(64, 64, 3)),
        ("Rows", m.Conv2d(32, 32, 5)),
        ("Turned", m.Conv2d(48, 3, 3)),
        ("Shifts", m.Conv2d(64, 64, 3, groups=64)),
    ):
        geometry = layer.geometry((32, 32))
        with kinds.without(kind):
            assert type(convolution.maps_for(layer, 2, geometry, False)).__name__ != kind
        assert type(convolution.maps_for(layer, 2, geometry, False)).__name__ == kind
    monkeypatch.setattr(kinds, "LAYERS", {"small": layers.LAYERS["64 → 64, 1 × 1"]})
    kinds.main(["--quick"])
    assert capsys.readouterr().out.count("'Turned'") == 4
    assert before == {name: getattr(convolution, name) for name in before}


def test_time_to_quality_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(time_to_quality, "RESULTS", tmp_path / "none")  # --quick writes nothing
    for methods in (time_to_quality.OURS, time_to_quality.TORCH):
        for name, (*how, _) in methods.items():
            monkeypatch.setitem(methods, name, (*how, (64,)))
    for name in ("a", "b"):
        Image.effect_noise((256, 256), 50).convert("RGB").save(tmp_path / f"{name}.png")
    torch.save(tuple(torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8)), tmp_path / "val_data.pkl")
    time_to_quality.main([str(tmp_path), str(tmp_path / "val_data.pkl"), "--quick"])
    printed = capsys.readouterr().out
    assert all(f"{name}, lr" in printed for name in (*time_to_quality.OURS, *time_to_quality.TORCH))


def test_time_to_quality_measures_the_seconds_alone_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_quality, "RESULTS", tmp_path)
    monkeypatch.setattr(time_to_quality, "seconds_per_pair", lambda pairs, rounds: {"ours": 0.5})
    path = tmp_path / f"time-to-quality-{speed.machine()['units']}.json"
    curve = [{"pairs": pairs, "seconds": 9, "psnr": psnr} for pairs, psnr in ((4, 24.4), (8, 25.1))]
    run = {"pairs": 8, "lr": 1, "held_out_psnr": 25, "curve": curve}
    path.write_text(json.dumps({"trainings": {"ours": [run]}}))
    Image.effect_noise((256, 256), 50).convert("RGB").save(tmp_path / "a.png")
    Image.effect_noise((256, 256), 50).convert("RGB").save(tmp_path / "b.png")
    torch.save(tuple(torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8)), tmp_path / "val_data.pkl")
    time_to_quality.main([str(tmp_path), str(tmp_path / "val_data.pkl"), "--retime"])
    results = json.loads(path.read_text())
    assert [point["seconds"] for point in results["trainings"]["ours"][0]["curve"]] == [2, 4]
    assert results["seconds to"]["ours"] == {"24.5": 4, "25.0": 4, "25.17": None}


def test_torch_trains_all_its_parameters_and_averages_them():
    draws = torch.Generator().manual_seed(0)
    inputs, targets = torch.rand(2, 4, 3, 32, 32, generator=draws)
    for optimizers in (time_to_quality.adamw(3e-3), time_to_quality.muon(0.03)):
        training = time_to_quality.TorchTraining(m.Model(), optimizers, Run())
        before = [value.detach().clone() for value in training.values]
        training.step(inputs, targets)
        for value, old, average in zip(training.values, before, training.average, strict=True):
            assert not torch.equal(value, old)
            torch.testing.assert_close(average, old + (value.detach() - old) * 10 / 11)  # the first step keeps 1 / 11


def test_torch_muon_steps_as_ours_on_the_weights():
    model = m.Model()
    state = model.network.state_dict()
    theirs = time_to_quality.TorchTraining(model, time_to_quality.muon(0.03, 0), Run())
    ours = speed.Ours(model)
    ours.optimizer = Muon(ours.model.network.param(), lr=0.03, weight_decay=0)
    batch = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs.step(*batch)
    ours.step(*batch)
    for (name, new), value in zip(ours.model.network.state_dict().items(), theirs.values, strict=True):
        if name.endswith("weight"):
            step, expected = new - state[name], value.detach() - state[name]
            assert (step - expected).norm() < 0.05 * expected.norm()  # torch orthogonalises in bfloat16


def test_seconds_to_a_goal_and_the_best_rate():
    def run(pairs, lr, held_out, *curve):
        return {
            "pairs": pairs,
            "lr": lr,
            "held_out_psnr": held_out,
            "curve": [dict(seconds=s, psnr=p) for s, p in curve],
        }

    runs = [run(10, 1, 9, (1, 20), (2, 24)), run(20, 1, 5, (2, 22), (4, 25)), run(20, 2, 6, (2, 23), (5, 24.9))]
    assert [time_to_quality.seconds_to(goal, runs) for goal in (24, 24.9, 25, 26)] == [2, 4, 4, None]
    assert time_to_quality.best_rate(runs[1:]) == [runs[2]]  # by the photos set aside, at the first length
    assert time_to_quality.best_rate([*runs[1:], run(10, 1, 9)]) == [runs[2]]


def test_parallel_runs(capsys):
    parallel.main(["--quick"])
    assert "in messages" in capsys.readouterr().out


def test_views_run(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(views, "RESULTS", tmp_path / "none")  # --quick writes nothing
    monkeypatch.setattr(views, "VIEWS", (1, 2))
    Image.effect_noise((40, 40), 50).convert("RGB").save(tmp_path / "a.png")
    threads = torch.get_num_threads()
    views.main([str(data / "val_data.pkl"), str(tmp_path), "--quick"])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert all(f"{network:8} {n} views" in printed for network in ("unet", "photo", "camera") for n in (1, 2))


def test_noises_leave_each_part_of_the_mixture_out(tmp_path, monkeypatch, capsys):
    left_out = []

    def mixture(photos, run, without):
        left_out.append(without)
        return correlated(photos, run, without)

    for name, value in {"RESULTS": tmp_path, "TAKEN": 1, "EPOCHS": 1, "PAIRS": 5, "correlated": mixture}.items():
        monkeypatch.setattr(noises, name, value)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    for folder, names in {"photos": ["a.png", "b.png"], "camera": ["a_noisy.jpg", "a_mean.jpg"]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            Image.effect_noise((100, 97), 50).convert("RGB").save(tmp_path / folder / name)
    threads = torch.get_num_threads()
    noises.main([str(tmp_path / folder) for folder in ("photos", "camera")])
    torch.set_num_threads(threads)
    assert left_out == [None, *SHARES, "soft", "impulses"]
    rows = rows_of(tables.noises())
    assert [*rows] == ["photo.pth", "the mixture", *(f"without {part}" for part in left_out[1:])]
    assert rows["photo.pth"].keys() == {"camera", *noises.KINDS}


def test_singles_trains_on_each_picture(tmp_path, monkeypatch):
    for module in (singles, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(singles, "noise2noise", lambda command: shutil.copy(PhotoUNet.PRETRAINED, command[4]))
    (tmp_path / "pictures").mkdir()
    Image.linear_gradient("L").resize((64, 48)).save(tmp_path / "pictures" / "a.png")
    threads = torch.get_num_threads()
    singles.main([str(tmp_path / "pictures")])
    torch.set_num_threads(threads)
    rows = rows_of(tables.singles())
    assert [*rows] == ["30 photons, 0.03: a", "5 photons, 0.1: a"]
    assert all(float(row["shipped"]) > float(row["noisy"]) + 3 for row in rows.values())


def test_harm_measures_and_tabulates_every_method(tmp_path, monkeypatch):
    """A method that does nothing, and one that knows the truth by half."""
    for module in (harm, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    draws, smooth = np.random.default_rng(0), np.full((40, 50), 0.4)
    names = {"camera": smooth, "coffee": np.stack([smooth] * 3, 2), "plot": smooth}
    monkeypatch.setattr(harm, "pictures", lambda: names)
    monkeypatch.setattr(harm, "CROP", 64)
    monkeypatch.setattr(harm, "FIELDS", 2)

    def halved(noisy, sigma=None, clean=None, **told):
        return (noisy + 0.5) / 2 if clean is None else (noisy + clean) / 2

    for part, methods in harm.METHODS.items():
        monkeypatch.setitem(
            harm.METHODS,
            part,
            {"noisy": harm.as_it_is, "BM3D": halved} | dict.fromkeys(["ours"] * ("ours" in methods), harm.as_it_is),
        )
    monkeypatch.setattr(harm, "denoise", lambda noisy, repair: noisy)
    (tmp_path / "micro").mkdir()
    for i in range(3):
        Image.fromarray(draws.integers(100, 200, (70, 80), np.uint8)).save(tmp_path / "micro" / f"{i}.png")
    threads = torch.get_num_threads()
    harm.main([str(tmp_path / "micro")])
    results = json.loads((tmp_path / "harm.json").read_text())
    eight, few = results["8 bits"], results["photons"]
    assert eight["noisy"]["camera, 0"] is None and eight["noisy"]["plot, 8"] == pytest.approx(30.1, abs=0.2)
    assert eight["BM3D"]["coffee, 8"] == pytest.approx(eight["noisy"]["coffee, 8"] + 6.02, abs=0.02)
    assert results["floats"]["noisy"]["camera, 1"] == pytest.approx(20 * math.log10(255), abs=0.2)
    assert few["noisy"]["100 photons"] > few["noisy"]["5 photons"] and few["ours"]["flux of 1 photons"] == 1
    assert results["stars"]["noisy"]["stars of S/N 10"] == pytest.approx(0.95, abs=0.05)
    assert results["ranges"]["ours"]["in the empty one"] == 0
    assert results["ranges"]["noisy"]["hot 8%"] == pytest.approx(26, abs=0.2)
    rows = rows_of(tables.harm())
    assert rows["ours"]["sigma 2"] == rows["noisy"]["sigma 2"] and rows["ours"]["least gain"] == "0.00"
    assert float(rows["BM3D"]["least gain"]) == pytest.approx(6.02, abs=0.03) and rows["noisy"]["clean, least"] == ""
    assert rows["ours"]["flux of 0.3"] == "100.0%" and tables.harm_all().count("\n\n|") == 6

    monkeypatch.setitem(harm.METHODS["faint"], "ours", halved)
    harm.main([str(tmp_path / "micro"), "--without", "BM3D"])
    torch.set_num_threads(threads)
    again = json.loads((tmp_path / "harm.json").read_text())
    assert again["8 bits"]["BM3D"] == eight["BM3D"] and again["photons"]["BM3D"] == few["BM3D"]
    assert again["8 bits"]["ours"] != eight["ours"]


def test_what_a_gpu_is_tried_with_runs_on_a_cpu_and_finds_what_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(gpu, "LAYERS", {"one": (False, 3, 5, 3, {}, 9)})
    gpu.blocks()
    gpu.checkpoints()
    printed = capsys.readouterr().out
    assert "3 blocks equal torch.nn" in printed and "epoch 3/3" in printed and "to the GPU and back" in printed
    timed = {name: (*how, (2, 3, 32, 32)) for name, (*how, _) in gpu.TIMED.items()}
    monkeypatch.setattr(gpu, "TIMED", timed)
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    assert [*gpu.ratios()["seconds"]] == [*timed]
    monkeypatch.setattr(m.Conv2d, "adjoint", lambda layer, x, y_grad, geometry: x.clone().zero_())
    monkeypatch.setattr(m.Convolution, "faster", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="skips in torch.float64, off by .* is wrong on cpu"):
        gpu.blocks()


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


def test_photos_measures_and_tabulates_every_method_on_the_same_images(tmp_path, monkeypatch):
    """On mid-grey, where nothing is clamped: a method that takes half of the noise away, and one that takes as many
    hundredths as it is told."""
    seen = {}

    def method(name, share):
        def run(noisy, sigma):
            seen.setdefault(name, []).append((sigma, noisy.copy()))
            return noisy - share(sigma) * (noisy - 128.0)

        return lambda: run

    methods = {"noisy": lambda sigma: 0, "told": lambda sigma: sigma / 100, "ours": lambda sigma: 0.5}
    monkeypatch.setattr(photos, "METHODS", {name: method(name, share) for name, share in methods.items()})
    for module in (photos, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    for folder in ("photos", "camera"):
        (tmp_path / folder).mkdir()
    for i in range(21):
        Image.new("RGB", (60, 50), (128, 128, 128)).save(tmp_path / "photos" / f"{i:02}.png")
    for name, level in {"a_noisy": 138, "a_mean": 128, "b_noisy": 133, "b_mean": 128}.items():
        Image.new("RGB", (32, 24), (level, level, level)).save(tmp_path / "camera" / f"{name}.jpg")
    folders = [str(tmp_path / folder) for folder in ("photos", "camera")]
    photos.main(folders)
    pictures = {name: [noisy.tobytes() for _, noisy in calls] for name, calls in seen.items()}
    assert set(pictures["ours"]) == set(pictures["noisy"]) > set(pictures["told"])  # these without the clean ones
    assert {sigma for sigma, _ in seen["ours"]} == {0}

    text = tables.photos_all()
    means, least = (rows_of(part) for part in text.split("\n\nLeast gain on a picture:\n\n"))
    assert [*means] == [*methods] and [*least] == ["told", "ours"] and means["ours"]["clean"] == ""
    for kind in list(means["noisy"])[1:-1]:
        what, _, number = kind.partition(" ")
        noisy, told, ours = (float(row[kind]) for row in means.values())
        sigma = max(photos.STRENGTHS[what]) if what in photos.STRENGTHS else int(number)  # the best of these
        assert ours - noisy == pytest.approx(20 * math.log10(2), abs=0.011) == float(least["ours"][kind])
        assert told - noisy == pytest.approx(-20 * math.log10(1 - sigma / 100), abs=0.011) == float(least["told"][kind])
        if what in ("white", "grey"):
            assert noisy == pytest.approx(20 * math.log10(255 / sigma), abs=0.7 if sigma == 50 else 0.1)
    assert float(means["noisy"]["camera"]) == pytest.approx(20 * math.log10(255 / 50**0.5), abs=0.01)  # errors 10 and 5

    monkeypatch.setitem(photos.METHODS, "ours", method("ours", lambda sigma: 0.75))
    photos.main([*folders, "--without", "told"])
    again, _ = (rows_of(part) for part in tables.photos_all().split("\n\nLeast gain on a picture:\n\n"))
    assert again["told"] == means["told"] and again["noisy"]["white 25"] == means["noisy"]["white 25"]
    assert float(again["ours"]["white 25"]) == pytest.approx(float(means["noisy"]["white 25"]) + 12.04, abs=0.011)


def rows_of(text):
    """Of a Markdown table: {first cell: {head of a column: cell}}."""
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines())
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_ours_is_what_the_command_writes(mode, tmp_path, capsys):
    Image.effect_noise((50, 40), 60).convert(mode).resize((25, 20)).save(tmp_path / "a.png")
    main(["denoise", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")])
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "out" / "a.png") as after:
        assert np.array_equal(photos.ours()(np.asarray(before), 0), np.asarray(after))


def test_the_tables_are_what_the_results_say():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_notebook_runs_and_the_noise_goes(tmp_path, monkeypatch, capsys):
    """Cell by cell, with the command in this process; it is committed as it is before it runs."""
    notebook = json.loads((ROOT / "benchmarks" / "measurements.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    monkeypatch.chdir(tmp_path)
    names, shown = {"noise2noise": lambda line: main(shlex.split(line))}, []
    for cell in cells:
        source = re.sub("^!noise2noise (.*)$", r"noise2noise('\1')", "".join(cell["source"]), flags=re.M)
        exec(re.sub("^beside", "shown = beside", source, flags=re.M), names)
        shown.append(names.pop("shown", None))
    assert [picture and picture.size for picture in shown] == [None, (768, 256), (768, 256), (384, 128)]
    printed = re.findall("(.*) dB before, (.*) dB after", capsys.readouterr().out)
    gains = [float(after) - float(before) for before, after in printed]
    assert all(gain > least for gain, least in zip(gains, (9, 7, 6), strict=True)), gains
    assert names["galaxy"].dtype.kind == "u" and names["after"].ImageType[0] == "DERIVED"
    assert names["fits"].getheader("denoised/galaxy.fits")["EXPTIME"] == 30

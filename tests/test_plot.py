"""Curves from results files and logs."""

import json

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.commands.plot import read_curve
from Proj_Miniproject2.others.lab import experiment


@pytest.fixture
def files(tmp_path):
    curve = [{"pairs": 10 * i, "loss": None if i == 0 else 1 / i, "psnr": 20 + i} for i in range(3)]
    (tmp_path / "run.json").write_text(json.dumps({"psnr": 22, "curve": curve}))
    (tmp_path / "run.log").write_text(
        "photos\nepoch 1/2: loss 0.5, 7 images/s\nnoise\nepoch 2/2: loss 0.25, 7 images/s\n"
    )
    (tmp_path / "other.json").write_text('{"psnr": 3}')
    return tmp_path


def test_curves_are_read(files):
    unit, points = read_curve(files / "run.json")
    assert unit == "pairs" and [(p["pairs"], p["loss"], p["psnr"]) for p in points] == [
        (0, None, 20),
        (10, 1, 21),
        (20, 0.5, 22),
    ]
    unit, points = read_curve(files / "run.log")
    assert unit == "epochs" and [(p["epochs"], p["loss"]) for p in points] == [(1, 0.5), (2, 0.25)]


def test_a_log_of_train_holds_the_curve_of_its_results(tmp_path, monkeypatch, capsys):
    """Also one that was interrupted and went on."""
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 2)
    for i in range(2):
        pixels = torch.randint(256, (256, 256, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{i}.png")
    command = f"train {tmp_path} --out {tmp_path}/w --checkpoint {tmp_path}/c --pairs 8 --num-epochs 3"
    main(f"{command} --results {tmp_path}/results.json".split())
    log = capsys.readouterr().out
    again = log[: log.index("16 pairs seen")] + log[log.index("8 pairs seen") :]
    unit, expected = read_curve(tmp_path / "results.json")
    for i, text in enumerate((log, again)):
        (tmp_path / f"{i}.log").write_text(text)
        assert read_curve(tmp_path / f"{i}.log")[0] == unit == "pairs"
        for point, known in zip(read_curve(tmp_path / f"{i}.log")[1], expected, strict=True):
            assert point["pairs"] == known["pairs"] and point["psnr"] == pytest.approx(known["psnr"], abs=6e-3)
            assert point["loss"] == (known["loss"] and pytest.approx(known["loss"], abs=1e-6))


@pytest.mark.parametrize("ending, begin", [("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_pictures_are_drawn(files, ending, begin, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text that can be searched
    (files / "deeper").mkdir()
    (files / "deeper" / "run.json").write_text((files / "run.json").read_text())
    for names in (["run.json"], ["run.json", "deeper/run.json"], ["run.log"]):
        main(["plot", *(str(files / name) for name in names), "--out", str(files / f"out.{ending}")])
        drawn = (files / f"out.{ending}").read_bytes()
        assert drawn.startswith(begin)
        labels = ["run"] if len(names) == 1 else [str(files / name) for name in names]
        assert ending == "PNG" or all(f">{label}<".encode() in drawn for label in labels)
    assert sorted(path.name for path in files.iterdir()) == sorted(
        ["deeper", "other.json", f"out.{ending}", "run.json", "run.log"]
    )


@pytest.mark.parametrize("names, out, words", [
    (["other.json"], "out.svg", "holds no curve"),
    (["nowhere.json"], "out.svg", "nowhere.json"),
    (["run.json", "run.log"], "out.svg", "draw them apart"),
    (["run.json"], "no/out.svg", "there is no folder"),
    (["run.json"], "out.txt", "should end in one of"),
])  # fmt: skip
def test_bad_files_are_named(files, names, out, words, capsys):
    if out == "out.txt":
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as exit:
        main(["plot", *(str(files / name) for name in names), "--out", str(files / out)])
    assert exit.value.code == 2 and words in capsys.readouterr().err
    assert not (files / out).exists()

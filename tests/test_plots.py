"""Curves from results files and logs."""

import json

import pytest

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.plots import read_curve


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


@pytest.mark.parametrize("ending, begin", [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_pictures_are_drawn(files, ending, begin):
    pytest.importorskip("matplotlib")
    main(["plot", str(files / "run.json"), str(files / "run.json"), "--out", str(files / f"out.{ending}")])
    assert (files / f"out.{ending}").read_bytes().startswith(begin)


@pytest.mark.parametrize("names, out, words", [
    (["other.json"], "out.svg", "holds no curve"),
    (["nowhere.json"], "out.svg", "nowhere.json"),
    (["run.json", "run.log"], "out.svg", "draw results files and logs apart"),
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

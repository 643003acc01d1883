"""Training on one's own shots: how scenes are read, and that it learns a noise that no shipped weights know."""

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.data.metrics import psnr
from Proj_Miniproject2.others.data.noise import to_uint8
from Proj_Miniproject2.others.data.scenes import draw_scenes
from Proj_Miniproject2.others.data.shots import read_scenes
from Proj_Miniproject2.others.data.sources import shots
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.networks import PhotoUNet
from Proj_Miniproject2.others.training.recipe import Recipe


def save(path, level, size=(70, 66)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def levels(scenes):
    return [[int(image[0, 0, 0]) for image in scene] for scene in scenes]


def test_both_layouts_are_read(tmp_path):
    for scene in range(3):
        for shot in range(2 + scene % 2):
            level = 10 * scene + shot
            save(tmp_path / "scenes" / f"s{scene}" / f"{shot}.png", level)
            if shot < 2:
                save(tmp_path / f"shot{shot}" / "deep" / f"s{scene}.png", level)
    assert levels(read_scenes([tmp_path / "scenes"])) == [[0, 1], [10, 11, 12], [20, 21]]
    assert levels(read_scenes([tmp_path / "shot0", tmp_path / "shot1"])) == [[0, 1], [10, 11], [20, 21]]


def test_pairs_are_aligned_crops_of_two_different_shots():
    ramp = torch.arange(102).expand(3, 98, 102).to(torch.uint8)
    scenes = [[ramp, ramp + 100], [ramp, ramp + 100, ramp + 100]]
    draw = shots(scenes, Run(Recipe(), source=shots, pairs=200))
    first, second = draw(0)
    assert first.shape == second.shape == (200, 3, 96, 96) and first.dtype == torch.uint8
    difference = second.int() - first.int()
    assert all(len(d.unique()) == 1 for d in difference)  # the same place
    assert set(difference.unique().tolist()) == {-100, 0, 100}  # in any order; 0 for the two equal shots of the second
    assert len({int(image[0, 0, 0]) % 100 for image in first}) == 7  # all columns
    assert not torch.equal(draw(1)[0], first) and torch.equal(draw(0)[0], first)


@pytest.mark.parametrize("what, words", [
    ("single", "scenes/b has a single shot"),
    ("single among names", "scene b.png has a single shot"),
    ("sizes", "scenes/b have different sizes"),
    ("same", "b/1.png are the same picture"),
    ("16 bits", "b/1.png: has more than 8 bits"),
    ("of another network", "neither of this network"),
    ("one scene", "at least two scenes"),
    ("nowhere", "expected a folder of pictures"),
    ("unreadable", "1.png"),
    ("photos, too", "either a folder of photos or --shots"),
    ("source", "goes with photos"),
])  # fmt: skip
def test_bad_shots_are_named(what, words, tmp_path, capsys):
    folder, options = tmp_path / "scenes", []
    for scene in "ab":
        for shot in range(2):
            save(folder / scene / f"{shot}.png", 9 + shot)
    if what == "single":
        (folder / "b" / "1.png").unlink()
    elif what == "single among names":
        folder, options = tmp_path / "first", ["--shots", str(tmp_path / "first"), str(tmp_path / "second")]
        for shot, scene in (("first", "a"), ("first", "b"), ("second", "a")):
            save(tmp_path / shot / f"{scene}.png", 9)
    elif what == "same":
        save(folder / "b" / "1.png", 9)
    elif what == "16 bits":
        Image.new("I;16", (70, 66)).save(folder / "b" / "1.png")
    elif what == "of another network":
        options = ["--network", "unet"]
    elif what == "sizes":
        save(folder / "b" / "1.png", 9, (66, 70))
    elif what == "one scene":
        folder = folder / "a"
    elif what == "nowhere":
        folder = tmp_path / "nowhere"
    elif what == "unreadable":
        (folder / "b" / "1.png").write_text("no picture")
    elif what == "photos, too":
        options = ["--out", str(tmp_path / "w.pth"), "--num-epochs", "1"]
    elif what == "source":
        options = ["--source", "fresh"]
    photos = [str(tmp_path)] if what == "photos, too" else []
    short = "--pairs 4 --num-epochs 1".split()  # should it begin to train
    with pytest.raises(SystemExit) as exit:
        main(["train", *photos, "--shots", str(folder), "--out", str(tmp_path / "w.pth"), *options, *short])
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and words in printed and len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "w.pth").exists()


def test_training_on_shots_learns_an_unknown_noise(tmp_path, monkeypatch):
    """Rows of different brightness, as a bad sensor makes them: 160 pairs are enough to beat weights that know none."""
    draws = torch.Generator().manual_seed(0)

    def shoot(clean):
        return to_uint8(clean.float() + 25 * torch.randn(1, clean.shape[1], 1, generator=draws))

    for i, clean in enumerate(draw_scenes(12, size=128)):
        for shot in range(3):
            path = tmp_path / "shots" / f"{i:02}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shoot(clean).permute(1, 2, 0).numpy()).save(path)
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    out = tmp_path / "mine.pth"
    main(f"train --shots {tmp_path}/shots --out {out} --num-epochs 1 --pairs 160 --batch-size 4".split())
    clean = torch.stack(draw_scenes(6, size=128, seed=1))
    noisy = torch.stack([shoot(image) for image in clean])
    mine, shipped = PhotoUNet(), PhotoUNet()
    mine.load_weights(out)
    shipped.load_pretrained_model()
    before, theirs, ours = (psnr(image, clean) for image in (noisy, shipped.predict(noisy), mine.predict(noisy)))
    assert ours > max(before, theirs) + 3

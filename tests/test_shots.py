"""Training on one's own shots: how scenes are read, and that it learns a noise that no shipped weights know."""

import warnings

import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.data import shots as module
from Proj_Miniproject2.others.data.metrics import psnr
from Proj_Miniproject2.others.data.noise import to_uint8
from Proj_Miniproject2.others.data.scenes import draw_scenes
from Proj_Miniproject2.others.data.shots import read_scenes, read_shots, shift
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


def rows(clean, draws):
    """Rows of different brightness, as a bad sensor makes them."""
    return 25 * torch.randn(1, clean.shape[1], 1, generator=draws)


def streaks(clean, draws):
    """Noise that is correlated over nine pixels of a row, and over the channels."""
    shared, own = (torch.randn(n, *clean.shape[1:2], clean.shape[2] + 8, generator=draws) for n in (1, 3))
    return 20 * 3 * (0.8 * shared + 0.6 * own).unfold(2, 9, 1).mean(3)


@pytest.mark.parametrize("noise", [rows, streaks])
def test_training_on_shots_learns_an_unknown_noise(noise, tmp_path, monkeypatch):
    """80 pairs are enough to beat weights that know none of it, by 1.5 dB."""
    draws = torch.Generator().manual_seed(0)

    def shoot(clean):
        return to_uint8(clean.float() + noise(clean, draws))

    for i, clean in enumerate(draw_scenes(12, size=128)):
        for shot in range(3):
            path = tmp_path / "shots" / f"{i:02}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shoot(clean).permute(1, 2, 0).numpy()).save(path)
    monkeypatch.setattr(experiment, "VALIDATION_PAIRS", 4)
    out = tmp_path / "mine.pth"
    main(f"train --shots {tmp_path}/shots --out {out} --num-epochs 1 --pairs 80 --batch-size 4".split())
    clean = torch.stack(draw_scenes(6, size=128, seed=1))
    noisy = torch.stack([shoot(image) for image in clean])
    mine, shipped = PhotoUNet(), PhotoUNet()
    mine.load_weights(out)
    shipped.load_pretrained_model()
    before, theirs, ours = (psnr(image, clean) for image in (noisy, shipped.predict(noisy), mine.predict(noisy)))
    assert ours > max(before, theirs) + 1.5


# Shots that don't lie on each other


@pytest.fixture(scope="module")
def large_scenes():
    return draw_scenes(6, size=300, seed=7)


def take(scene, size, shift, sigma, correlated, seed):
    """Two noisy shots of that (height, width), what the first shows being (rows, columns) further on in the second."""
    draws = torch.Generator().manual_seed(seed)
    room = [n - m - abs(d) for n, m, d in zip(scene.shape[1:], size, shift, strict=True)]
    corner = [max(0, d) + int(torch.randint(n + 1, (), generator=draws)) for n, d in zip(room, shift, strict=True)]
    pair = []
    for top, left in (corner, [c - d for c, d in zip(corner, shift, strict=True)]):
        noise = torch.randn(3, size[0] + 2, size[1] + 2, generator=draws)
        noise = 3 * avg_pool2d(noise, 3, 1) if correlated else noise[:, 1:-1, 1:-1]
        pair.append(to_uint8(scene[:, top : top + size[0], left : left + size[1]] + sigma * noise))
    return pair


def drawn(draws, low, high):
    return [int(torch.randint(low, high + 1, (), generator=draws)) for _ in range(2)]


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize(
    "smallest, largest, sigma, share", [(24, 40, 10, 0.6), (64, 90, 25, 0.8), (100, 140, 40, 0.85)]
)
def test_a_shift_is_found_also_among_noise(smallest, largest, sigma, share, correlated, large_scenes):
    """Of up to a third of the picture: nearly always, and where it isn't, the noise hides it."""
    draws, found = torch.Generator().manual_seed(0), []
    for i in range(60):
        size = drawn(draws, smallest, largest)
        expected = tuple(drawn(draws, -smallest // 3, smallest // 3))
        pair = take(large_scenes[i % 6], size, expected, sigma, correlated, i)
        found.append(shift(*pair) == expected)
    assert sum(found) >= share * len(found)


def test_aligned_shots_are_never_shifted_however_strong_their_noise(large_scenes):
    """Not those of nothing but noise either, nor of a few pixels."""
    draws, grey = torch.Generator().manual_seed(0), torch.full((3, 300, 300), 128)
    for i in range(150):
        scene, size = (
            grey if i % 3 == 2 else large_scenes[i % 6],
            drawn(draws, 1, 20) if i % 5 == 0 else drawn(draws, 20, 140),
        )
        sigma = 80 * float(torch.rand((), generator=draws))
        assert shift(*take(scene, size, (0, 0), sigma, i % 2 == 0, i)) == (0, 0), (size, sigma)


@pytest.mark.parametrize("expected", [(0, 0), (1, -2), (-83, 31)])
def test_a_large_picture_is_compared_pixel_by_pixel_too(expected, large_scenes, monkeypatch):
    monkeypatch.setattr(module, "SIDE", 64)
    assert shift(*take(large_scenes[0], (211, 170), expected, 15, False, 0)) == expected


def save_shots(folder, pairs):
    for name, images in pairs.items():
        for i, image in enumerate(images):
            path = folder / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def test_shots_that_are_shifted_are_named(tmp_path, large_scenes):
    aligned, (one, other) = (take(large_scenes[1], (90, 120), d, 25, False, 0) for d in ((0, 0), (3, -5)))
    again = to_uint8(one + 5 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0)))
    save_shots(tmp_path, {"a": aligned, "b": [one, again, other], "c": [one, other]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_shots("a", sorted((tmp_path / "a").iterdir()))
    with pytest.warns(UserWarning) as caught:
        assert len(read_scenes([tmp_path])) == 3
    named = [str(warning.message) for warning in caught]
    assert [text.split(" and ")[0] for text in named] == [str(tmp_path / "b" / "2.png"), str(tmp_path / "c" / "1.png")]
    assert all("shifted by 3 rows and -5 columns of pixels" in text for text in named)


@pytest.mark.parametrize("expected", [(50, 4), (-3, -70)])
def test_shots_that_are_shifted_by_more_than_half_are_refused(expected, tmp_path, large_scenes, capsys):
    save_shots(tmp_path / "in", {name: take(large_scenes[2], (90, 120), expected, 10, False, 0) for name in "ab"})
    with pytest.raises(SystemExit) as exit:
        main(f"train --shots {tmp_path}/in --out {tmp_path}/w.pth --pairs 4 --num-epochs 1".split())
    printed = capsys.readouterr().err.strip()
    assert exit.value.code == 2 and len(printed.splitlines()) == 1 and not (tmp_path / "w.pth").exists()
    assert f"shifted by {expected[0]} rows and {expected[1]} columns of pixels, more than half" in printed

"""Training on one's own shots: how scenes are read, and that it learns a noise that no shipped weights know."""

import warnings

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from Proj_Miniproject2 import Model, denoise
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.networks import PhotoUNet
from Proj_Miniproject2.others.noise.kinds import to_uint8
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.noise.ranges import LEVELS, with_range
from Proj_Miniproject2.others.pairs import pages as pages_module
from Proj_Miniproject2.others.pairs import shots as module
from Proj_Miniproject2.others.pairs.scenes import draw_scenes
from Proj_Miniproject2.others.pairs.shots import brightness, read_scenes, read_shots, shift
from Proj_Miniproject2.others.pairs.sources import shots
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
    scenes, known = read_scenes([tmp_path / "scenes"])
    assert levels(scenes) == [[0, 1], [10, 11, 12], [20, 21]] and known is None
    assert levels(read_scenes([tmp_path / "shot0", tmp_path / "shot1"])[0]) == [[0, 1], [10, 11], [20, 21]]


def test_pairs_are_aligned_crops_of_two_different_shots():
    ramp = torch.arange(102).expand(3, 98, 102).to(torch.uint8)
    high = (torch.arange(98)[:, None] + torch.arange(102)) % 2 == 0  # every second pixel, so that all are as bright
    shot, other = (torch.where(which, ramp + 100, ramp) for which in (high, ~high))
    scenes = [[shot, other], [shot, other, other]]
    draw = shots(scenes, Run(Recipe(), source=shots, pairs=200))
    first, second = draw(0)
    assert first.shape == second.shape == (200, 3, 96, 96) and first.dtype == torch.uint8
    difference = second.int() - first.int()
    assert all(len(d.abs().unique()) == 1 for d in difference)  # the same place
    assert set(difference.unique().tolist()) == {-100, 0, 100}  # 0 for the two equal shots of the second
    assert len({int(image[0, 0, 0]) % 100 for image in first}) == 7  # all columns
    assert not torch.equal(draw(1)[0], first) and torch.equal(draw(0)[0], first)


# How bright shots are


def changing(scene, n, kind, draws):
    """Shots of a scene (C, H, W) without noise: some fade above a camera's offset, others flicker, each channel by
    itself."""
    change = torch.linspace(1, 0.4, n).view(-1, 1, 1, 1)
    if kind == "flickering":
        change = 0.5 + 0.5 * torch.rand(n, len(scene), 1, 1, generator=draws)
    return [12 + (scene - 12) * one for one in change]


@pytest.mark.parametrize("kind", ["fading", "flickering"])
@pytest.mark.parametrize("n", [2, 5])
def test_targets_are_as_bright_as_their_inputs(kind, n, large_scenes):
    """Else a network learns to make them so: what they show is the same but for their noise, whose mean is zero."""
    draws = torch.Generator().manual_seed(0)
    clean = [changing(scene.float(), n, kind, draws) for scene in large_scenes[:4]]
    run = Run(Recipe(), source=shots, pairs=100)
    inputs, targets = shots([[to_uint8(one) for one in scene] for scene in clean], run)(0)
    assert inputs.dtype == torch.uint8 and targets.dtype == torch.float32
    assert (targets - inputs.float()).abs().max() < 4  # roundings, of which the darkest shot's count 2.5-fold

    noisy = [[one + 12 * torch.randn(one.shape, generator=draws) for one in scene] for scene in clean]
    inputs, targets = shots(noisy, run)(0)
    expected, _ = shots(clean, run)(0)
    assert (targets - expected).mean((0, 2, 3)).abs().max() < 0.2
    dark = expected.mean((2, 3)) < expected.mean()
    assert ((targets - expected).mean((2, 3))[dark]).mean().abs() < 0.2


def test_shots_that_differ_by_their_noise_alone_stay(large_scenes):
    draws, grey = torch.Generator().manual_seed(0), torch.full((3, 300, 300), 128)
    for i in range(100):
        scene, size = (grey if i % 3 == 2 else large_scenes[i % 6], drawn(draws, 4 if i % 4 == 0 else 20, 140))
        pair = take(scene, size, (0, 0), 60 * float(torch.rand((), generator=draws)), i % 2 == 0, i)
        assert brightness(pair) is None, (i, size)


def test_what_is_saturated_in_both_shots_is_not_measured():
    """Else to take nothing away would be infinitely good."""
    noisy = [torch.randint(256, (3, 64, 400), dtype=torch.uint8) for _ in range(2)]
    for shot in noisy:
        shot[..., :300] = 255
    one, other = experiment.validation([noisy], Run(source=shots, pairs=40))
    assert 0 < len(one) < 40 and psnr(one, other) < 30
    one, _ = experiment.validation([noisy[:1] * 2], Run(source=shots, pairs=4))  # there is nothing else
    assert len(one) == 4


@pytest.mark.parametrize("gain", [1.1, 0.8, 1])
@pytest.mark.parametrize("sigma", [0, 0.6, 5, 30])
def test_another_brightness_is_no_shift(gain, sigma):
    """A ramp that is brighter looks like one that is shifted."""
    draws = torch.Generator().manual_seed(0)
    for i in range(20):
        height, width = drawn(draws, 60, 150)
        slope = torch.rand(2, generator=draws)
        ramp = slope[0] * torch.linspace(0, 1, height)[:, None] + slope[1] * torch.linspace(0, 1, width)
        if i % 2:
            ramp = (-4 * (ramp - 0.9).square()).exp()
        noise = sigma * torch.randn(2, 3, height, width, generator=draws)
        one, other = (to_uint8(20 + 100 * by * ramp + part) for by, part in zip((1, gain), noise, strict=True))
        assert shift(one, other) == (0, 0), (i, height, width)


@pytest.mark.parametrize("what, words", [
    ("single", "scenes/b has a single shot"),
    ("single among names", "scene b.png has a single shot"),
    ("sizes", "scenes/b have different sizes"),
    ("same", "b/1.png are the same picture"),
    ("16 bits", "a/0.png is of uint8, "),
    ("of another network", "neither of this network"),
    ("one scene", "should have 112 pixels a side or more, got 70"),
    ("nowhere", "expected a folder of pictures"),
    ("unreadable", "1.png"),
    ("photos, too", "either a folder of photos, --shots or --singles"),
    ("source", "the source fresh doesn't go with --shots"),
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
        noise = torch.randint(2000, (66, 70), generator=torch.Generator().manual_seed(0))
        Image.fromarray(noise.to(torch.uint16).numpy()).save(folder / "b" / "1.png")
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


def streaks(clean, draws):
    """Noise that is correlated over nine pixels of a row, and over the channels."""
    shared, own = (torch.randn(n, *clean.shape[1:2], clean.shape[2] + 8, generator=draws) for n in (1, 3))
    return 20 * 3 * (0.8 * shared + 0.6 * own).unfold(2, 9, 1).mean(3)


def test_training_on_shots_learns_an_unknown_noise(tmp_path, monkeypatch):
    """80 pairs are enough to beat weights that know none of it, by 1.5 dB."""
    draws = torch.Generator().manual_seed(0)

    def shoot(clean):
        return to_uint8(clean.float() + streaks(clean, draws))

    for i, clean in enumerate(draw_scenes(12, size=128)):
        for shot in range(3):
            path = tmp_path / "shots" / f"{i:02}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shoot(clean).permute(1, 2, 0).numpy()).save(path)
    monkeypatch.setattr(experiment, "VALIDATION_SHOTS", 4)
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
        assert len(read_scenes([tmp_path])[0]) == 3
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


# Measured shots


GAIN, OFFSET, READ = 50, 400, 60  # of a camera that counts photons


def photons(n, seed, size=64):
    """Grey scenes, some 6 photons a pixel: a list of float arrays (size, size)."""
    return [0.05 * scene.float().mean(0).numpy() for scene in draw_scenes(n, size=size, seed=seed)]


def measure(scene, draws, shots):
    """uint16 (shots, H, W)"""
    counts = draws.poisson(scene, (shots, *scene.shape))
    return (OFFSET + GAIN * counts + draws.normal(0, READ, counts.shape)).clip(0, 65535).round().astype(np.uint16)


def save_stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pages)
    else:
        tifffile.imwrite(path, pages, photometric="minisblack")


@pytest.fixture(scope="module")
def stacks():
    """Four shots of each of three scenes"""
    draws = np.random.default_rng(0)
    return [measure(scene * (1 + i), draws, 4) for i, scene in enumerate(photons(3, 2, size=120))]


@pytest.mark.parametrize("layout", ["stacks", "files", "subfolders", "several folders", "stacks by name"])
@pytest.mark.parametrize("ending", [".tif", ".npy"])
def test_measured_shots_are_read_in_one_range(layout, ending, stacks, tmp_path):
    paths = [tmp_path]
    for i, pages in enumerate(stacks):
        if layout in ("stacks", "files"):
            save_stack(tmp_path / f"{i}{ending}", pages)
        for j, page in enumerate(pages):
            if layout == "subfolders":
                save_stack(tmp_path / f"{i}" / f"{j}{ending}", page)
            if layout == "several folders":
                save_stack(tmp_path / f"{j}" / "in" / f"{i}{ending}", page)
        if layout == "stacks by name":
            save_stack(tmp_path / "0" / f"{i}{ending}", pages[:2])
            save_stack(tmp_path / "1" / f"{i}{ending}", pages[2:])
    if layout == "files":
        paths = [tmp_path / f"{i}{ending}" for i in range(3)]
    elif layout not in ("stacks", "subfolders"):
        paths = sorted(tmp_path.iterdir())
    scenes, (low, scale) = read_scenes(paths)
    ranges = [np.quantile(page, [0.005, 0.995], method="nearest") for pages in stacks for page in pages]
    lowest, highest = (extreme(ends) for extreme, ends in zip((min, max), zip(*ranges, strict=True), strict=True))
    assert abs(low - lowest) <= 2 and abs(scale * (LEVELS[1] - LEVELS[0]) + low - highest) <= 2 * scale
    for pages, scene in zip(stacks, scenes, strict=True):
        expected = ((pages - low) / scale + LEVELS[0]).clip(0, 255)
        assert len(scene) == 4 and scene[0].shape == (1, 120, 120) and scene[0].dtype == torch.float32
        assert np.abs(np.concatenate(scene) - expected).max() < 0.01


def test_one_scene_is_parted(stacks, tmp_path):
    save_stack(tmp_path / "0.tif", stacks[0])
    small, large = read_scenes([tmp_path / "0.tif"])[0]
    assert [image.shape for image in small] == [(1, 17, 120)] * 4
    both = [torch.cat(parts, 1) for parts in zip(small, large, strict=True)]
    save_stack(tmp_path / "1.tif", stacks[0][::-1] + 0)
    assert all(map(torch.equal, both, read_scenes([tmp_path / "0.tif", tmp_path / "1.tif"])[0][0]))


def test_measured_shots_train_weights_that_keep_their_range(tmp_path, monkeypatch):
    """A few pairs leave them near the shipped weights, and far better than the median of four shots, of one alone."""
    draws, out = np.random.default_rng(0), tmp_path / "mine.pth"
    for i, scene in enumerate(photons(12, 0)):
        save_stack(tmp_path / "shots" / f"{i:02}.tif", measure(scene, draws, 4))
    monkeypatch.setattr(experiment, "VALIDATION_SHOTS", 4)
    main(f"train --shots {tmp_path}/shots --out {out} --num-epochs 1 --pairs 8 --batch-size 4".split())
    scenes = np.stack(photons(6, 1))
    shots = measure(scenes, draws, 4)

    def error(pictures):
        return float(np.sqrt(np.mean(np.square(pictures.astype(float) - OFFSET - GAIN * scenes))))

    mine, shipped = denoise(shots[0], weights=out, pages=True), denoise(shots[0], pages=True)
    assert error(mine) < 1.06 * error(shipped) and error(mine) < 0.65 * error(np.median(shots, 0))

    state = torch.load(out, weights_only=True)  # as anybody loads it: a state_dict like any other
    PhotoUNet().network.load_state_dict(state)
    # A dark part alone is seen as it was in training, not in a range of its own
    low, scale = state._metadata[""]["range"]
    dark = shots[0, 0][:, :32][shots[0, 0][:, :32].mean(1).argsort()[:16]]
    model = PhotoUNet()
    model.load_weights(out)
    sd, middle = state._metadata[""]["seen"]
    levels = torch.from_numpy((dark - low) / scale + LEVELS[0]).clamp(0, 255).float().expand(1, 3, -1, -1)
    ((_, piece),) = model.pieces((levels - middle) * 25 / sd + 128)
    clean = ((piece.mean((0, 1)) - 128) * sd / 25 + middle).clamp(0, 255)
    expected = dark + scale * (clean - levels[0, 0]).double().numpy()
    assert np.abs(denoise(dark.astype(float), weights=out) - expected).max() < 0.1 * scale
    # and other kinds of pictures are refused
    for other in (shots[0, 0] / 65535, shots[0, 0] * 100.0, shots[0, 0] - 1e5, -1.0 * shots[0, 0]):
        with pytest.raises(ValueError, match="trained on another kind of picture, with values from"):
            denoise(other, weights=out)
    with pytest.raises(ValueError, match="has 8 bits a value, but the weights were trained on another kind"):
        denoise((shots[0, 0] >> 8).astype(np.uint8), weights=out)
    assert (denoise(np.full((20, 20), 7.0), weights=out) == 7).all()  # as without


def test_photos_are_refused_by_weights_of_measured_pictures(tmp_path, capsys):
    weights = with_range(PhotoUNet().network.state_dict(), 400, 20)
    torch.save(weights, tmp_path / "w.pth")
    save(tmp_path / "in" / "photo.png", 100)
    with pytest.raises(SystemExit) as exit:
        main(f"denoise {tmp_path}/in --out {tmp_path}/out --weights {tmp_path}/w.pth".split())
    assert exit.value.code == 1 and "photo.png: has 8 bits a value, but the weights" in capsys.readouterr().err
    assert not (tmp_path / "out" / "photo.png").exists()


@pytest.mark.parametrize("kept", [
    (1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf")), (1.0,), "no range", [1.0, 2.0], (1, 2), (1.0, -2.0),
])  # fmt: skip
def test_a_range_that_is_none_is_refused(kept, tmp_path):
    weights = with_range(PhotoUNet().network.state_dict(), 400, 20)
    weights._metadata[""]["range"] = kept
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="w.pth: the range of its pictures should be two numbers"):
        denoise(np.zeros((20, 20)), weights=tmp_path / "w.pth")


def test_shipped_weights_keep_no_range():
    for kind in (Model, PhotoUNet):
        assert not hasattr(torch.load(kind.PRETRAINED, weights_only=True), "_metadata")


@pytest.mark.parametrize("what, words", [
    ("sizes", "the shots of the scene 0.tif have different sizes"),
    ("dtypes", "expected pictures of one kind, but in/0.tif, page 1 is of uint16, in/1.npy, page 1 of float32"),
    ("8 bits", "in/0.tif, page 1 is of uint16, in/1.npy, page 1 of uint8"),
    ("64 bits", "in/0.tif, page 1 is of uint16, in/1.npy, page 1 of int32"),
    ("complex", "the shot in/1.npy: page 1: expected an array of uint8"),
    ("objects", "the shot in/1.npy: is a damaged .npy, or holds no numbers"),
    ("black page", "the shot in/1.npy: page 3: shows nothing"),
    ("five channels", "some shots of the scene in/0.tif are grey and some have colours"),
    ("same page", "in/1.npy, page 1 and in/1.npy, page 3 are the same picture"),
    ("many pages", "the shot in/0.tif: its 4 pages are 0.00023 GB of float32, more than this machine's memory"),
    ("damaged page", "the shot in/0.tif: page 2 is damaged, and with it"),
    ("one page", "the scene in has a single shot, in/1.npy"),
    ("both", "expected folders of shots, or files, got both"),
    ("empty", "there is no shot in in"),
    ("small", "a single picture or scene should have 112 pixels a side or more, got 40"),
])  # fmt: skip
def test_bad_stacks_are_named(what, words, stacks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder, (first, second, _) = tmp_path / "in", stacks
    arguments, other = ["in"], {
        "dtypes": second.astype(np.float32), "8 bits": (second >> 8).astype(np.uint8), "64 bits": second.astype(int),
        "complex": second + 1j, "objects": np.array([{}, None]), "one page": second[0],
        "black page": np.where(np.arange(4)[:, None, None] == 2, 0, second), "same page": second[[0, 1, 0]],
    }.get(what, second)  # fmt: skip
    folder.mkdir()
    if what == "objects":
        np.save(folder / "1.npy", other, allow_pickle=True)
    else:
        save_stack(folder / "1.npy", other)
    save_stack(folder / "0.tif", first)
    if what == "sizes":
        save_stack(tmp_path / "more" / "0.tif", second[:, :60])
        arguments = ["in", "more"]
    elif what == "five channels":
        tifffile.imwrite(folder / "0.tif", np.stack([*first, first[0]], -1), photometric="rgb")
    elif what == "many pages":
        monkeypatch.setattr(pages_module, "memory", lambda: 230_000)
    elif what == "damaged page":
        content = (folder / "0.tif").read_bytes()
        (folder / "0.tif").write_bytes(content[:-9000])
    elif what == "both":
        arguments = ["in", "in/0.tif"]
    elif what in ("empty", "small"):
        for file in folder.iterdir():
            file.unlink()
        if what == "small":
            save_stack(folder / "0.tif", first[:, :30, :40])
    with pytest.raises(SystemExit) as exit:
        main(["train", "--shots", *arguments, "--out", "w.pth", *"--pairs 4 --num-epochs 1".split()])
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and words in printed and len(printed.strip().splitlines()) == 1, printed
    assert not (tmp_path / "w.pth").exists()

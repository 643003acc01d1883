"""Training on single noisy pictures: the pairs of neighbours, which noise is refused, and that it gains."""

import numpy as np
import pytest
import torch
from PIL import Image

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.noise.correlation import least_correlation
from Proj_Miniproject2.others.pairs.scenes import draw_scenes
from Proj_Miniproject2.others.pairs.singles import read_singles, singles
from Proj_Miniproject2.others.training.recipe import Recipe


def greys(n, size, seed=0):
    """Grey scenes in [0, 1]: float (n, size, size)."""
    return np.stack([scene.float().mean(0).numpy() / 255 for scene in draw_scenes(n, size=size, seed=seed)])


def blurred(picture, sd):
    """By a Gaussian; the picture goes on periodically."""
    rows, columns = np.meshgrid(*map(np.fft.fftfreq, picture.shape), indexing="ij")
    return np.fft.ifft2(np.fft.fft2(picture) * np.exp(-2 * (np.pi * sd) ** 2 * (rows**2 + columns**2))).real


def measured(clean, photons, sigma, seed=0):
    draws = np.random.default_rng(seed)
    return draws.poisson(clean * photons) / photons + sigma * draws.normal(size=clean.shape)


@pytest.mark.parametrize("channels, dtype", [(1, torch.float32), (3, torch.uint8)])
@pytest.mark.parametrize("height, width", [(60, 75), (33, 40), (300, 210)])
def test_pairs_are_of_neighbours(channels, dtype, height, width):
    """Each pixel tells where it is, in a picture of its own."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pictures = [rows, columns] if dtype == torch.float32 else [rows % 128, columns % 128]
    pictures = [picture.expand(channels, -1, -1).to(dtype) for picture in pictures]
    size = min(96, min(height, width) // 2)
    draws = [singles([picture], Run(Recipe(), source=singles, pairs=20)) for picture in pictures]
    (first_rows, second_rows), (first_columns, second_columns) = (draw(3) for draw in draws)  # at the same places
    assert first_rows.shape == second_rows.shape == (20, 3, size, size) and first_rows.dtype == dtype
    assert all(torch.equal(images[:, :1].expand(-1, 3, -1, -1), images) for images in (first_rows, second_columns))
    down, right = (
        a[:, 0].int() - b[:, 0].int() for a, b in ((second_rows, first_rows), (second_columns, first_columns))
    )
    down, right = ((d + 64) % 128 - 64 for d in (down, right))
    assert ((down.abs() + right.abs()) == 1).all()  # beside each other, not across
    for way in (down == 1, down == -1, right == 1, right == -1):
        assert abs(way.double().mean() - 0.25) < 0.03
    apart = first_columns[:, 0, :, 1:].int() - first_columns[:, 0, :, :-1].int()  # of 2 x 2 pixels one is an input's
    assert set(((apart + 64) % 128 - 64).unique().tolist()) == {1, 2, 3}
    assert not torch.equal(draws[0](4)[0], first_rows) and torch.equal(draws[0](3)[0], first_rows)


@pytest.mark.parametrize("photons, sigma", [(30, 0.03), (5, 0.1), (60, 0.04)])
def test_correlated_noise_is_told_from_independent(photons, sigma, tmp_path):
    """Also where texture is everywhere, of which neighbours share much."""
    for seed, clean in enumerate(greys(4, 160)):
        noisy = measured(clean, photons, sigma, seed)
        texture = blurred(np.random.default_rng(seed).normal(size=clean.shape), 3)
        texture *= (noisy - clean).std() / texture.std()
        for picture in (noisy, noisy + texture):
            assert least_correlation(torch.tensor(picture)[None] * 255) < 0.3
        for reach in (0.7, 1.5):
            soft = blurred(noisy - clean, reach)
            soft = clean + soft * (noisy - clean).std() / soft.std()
            assert least_correlation(torch.tensor(soft)[None] * 255) > 0.3
            np.save(tmp_path / "soft.npy", soft)
            with pytest.raises(ValueError, match="neighbouring pixels of .*soft.npy share their noise"):
                read_singles(tmp_path / "soft.npy")


def test_pictures_and_stacks_are_read_alike(tmp_path):
    """A folder of pictures, of 8 bits too, a stack of them, and one alone, which is parted."""
    noisy = measured(greys(3, 130), 30, 0.03)
    bytes8 = (255 * noisy).clip(0, 255).astype(np.uint8)
    for name, pictures in {"floats": noisy, "bytes": bytes8}.items():
        for i, picture in enumerate(pictures):
            (tmp_path / name / "in").mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / name / "in" / f"{i}.npy", picture)
        np.save(tmp_path / f"{name}.npy", pictures)
        (found, known), (same, known_too) = read_singles(tmp_path / name), read_singles(tmp_path / f"{name}.npy")
        assert known == known_too and all(map(torch.equal, found, same)) and len(found) == len(same) == 3
    assert known is None and np.array_equal(found[1].numpy(), np.stack([bytes8[1]] * 3))
    Image.fromarray(bytes8[0]).save(tmp_path / "one.png")
    small, large = read_singles(tmp_path / "one.png")[0]
    assert small.shape == (3, 130 // 7, 130) and torch.equal(torch.cat([small, large], 1), found[0])


def test_a_picture_alone_trains_weights_that_gain(tmp_path, monkeypatch):
    clean = greys(1, 128, seed=5)[0]
    noisy, path, out = measured(clean, 1, 0.3), tmp_path / "noisy.npy", tmp_path / "mine.pth"
    np.save(path, noisy)
    monkeypatch.setattr(experiment, "VALIDATION_SHOTS", 4)
    main(f"train --singles {path} --out {out} --num-epochs 1 --pairs 60 --batch-size 4 --results {tmp_path}/r".split())
    mine, shipped = denoise(noisy, weights=out), denoise(noisy)
    errors = [10 * np.log10(np.mean((picture - clean) ** 2)) for picture in (noisy, shipped, mine)]
    # Those that it begins with gain 9.8 dB, the shipped ones, which are told how strong the noise is, as much as these.
    assert errors[2] < errors[0] - 12 and errors[2] < errors[1] + 0.1


@pytest.mark.parametrize("what, words", [
    ("small", "in/0.npy: expected at least 32 x 32 pixels, got 8 x 8"),
    ("small page", "in/0.npy, page 1: expected at least 32 x 32 pixels, got 8 x 40"),
    ("empty folder", "there is no picture in in"),
    ("nowhere", "expected a folder of pictures, got in"),
    ("one small", "a single picture or scene should have 112 pixels a side or more, got 100"),
    ("kinds", "in/0.npy is of float64, in/1.npy of float32"),
    ("flat", "in/0.npy: shows nothing"),
    ("smooth", "share their noise, with a correlation of about 0.9, or have none"),
    ("no picture", "in/0.png"),
    ("shots, too", "either a folder of photos, --shots or --singles"),
    ("source", "the source shots doesn't go with --singles"),
    ("another network", "neither of this network nor of one with other widths"),
    ("targets", "several targets go with"),
    ("an input", "in/0.npy is an input"),
])  # fmt: skip
def test_bad_singles_are_named(what, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draws, options = np.random.default_rng(0), []
    if what != "nowhere":
        (tmp_path / "in").mkdir()
    if what == "no picture":
        (tmp_path / "in" / "0.png").write_text("none")
    elif what not in ("nowhere", "empty folder"):
        size = {"small": (8, 8), "small page": (2, 8, 40), "one small": (100, 100)}.get(what, (120, 120))
        picture = np.zeros(size) if what == "flat" else draws.normal(size=size)
        np.save("in/0.npy", blurred(picture, 4) if what == "smooth" else picture)
    if what == "kinds":
        np.save("in/1.npy", draws.normal(size=(120, 120)).astype(np.float32))
    elif what == "shots, too":
        options = ["--shots", "in"]
    elif what == "source":
        options = ["--source", "shots"]
    elif what == "another network":
        options = ["--network", "unet"]
    elif what == "targets":
        options = ["--targets", "2"]
    elif what == "an input":
        options = ["--out", "in/0.npy", "--overwrite"]
    with pytest.raises(SystemExit) as exit:
        main(["train", "--singles", "in", "--out", "w.pth", *"--pairs 4 --num-epochs 1".split(), *options])
    printed = capsys.readouterr().err
    assert exit.value.code == 2 and words in printed and len(printed.strip().splitlines()) == 1, printed
    assert not (tmp_path / "w.pth").exists()

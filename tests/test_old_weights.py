"""Weights that people trained before files of weights said how their network sees pictures go on as they did.

What they did is written here once more, in NumPy and with torch.nn, as it was in commit 1f0b087.
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.networks import PhotoUNet

LOW, SCALE = 380.0, 7.5  # the range of a training on measured pictures


def drawn_network():
    torch.manual_seed(0)
    return PhotoUNet().network


def save_as_before(network, path, kept=None):
    state = OrderedDict(network.state_dict())
    if kept:
        state._metadata = {"": {"range": kept}}
    torch.save(state, path)


def passed(network, levels):
    """What the network makes of levels (H, W) or (H, W, 3) in [0, 255], the mean of its two views: float64."""
    images = torch.from_numpy(levels).double().reshape(*levels.shape[:2], -1).permute(2, 0, 1).expand(3, -1, -1)[None]
    with torch.no_grad():
        twin = to_torch(network).double()
        both = twin(images / 255) + twin(images.flip(2, 3) / 255).flip(2, 3)
    clean = (both[0] / 2).clamp(0, 1).mul(255).numpy()
    return clean.mean(0) if levels.ndim == 2 else clean.transpose(1, 2, 0)


def as_before(network, picture, kept=None):
    if picture.dtype == np.uint8:
        return passed(network, picture)
    values = np.sort(picture.astype(float).ravel())
    low, high = (values[round(share * (len(values) - 1))] for share in (0.005, 0.995))
    low, scale = kept or (low, (high - low) / 175)
    levels = ((picture - low) / scale + 40).clip(0, 255).astype(np.float32)
    return picture + scale * (passed(network, levels) - levels)


def pictures():
    """A lit surface and its noise, which is nowhere an outlier."""
    draws = np.random.default_rng(0)
    lit = 0.5 + 0.4 * np.sin(np.arange(48)[:, None] / 9) * np.cos(np.arange(64) / 7)
    noise = draws.normal(0, 0.05, (48, 64)).clip(-0.12, 0.12)
    grey = lit + noise
    colours = np.stack([grey, np.roll(grey, 5, 0), 1 - grey], -1)
    return {
        "8 bits": (40 + 160 * grey).astype(np.uint8),
        "8 bits, colours": (40 + 160 * colours).astype(np.uint8),
        "uint16": (400 + 1200 * grey).clip(0).astype(np.uint16),
        "int16, colours": (1200 * colours - 500).astype(np.int16),
        "float32": (3e-3 * grey).astype(np.float32),
        "float64, colours": 1e6 * colours,
    }


@pytest.mark.parametrize("name, picture", pictures().items(), ids=pictures())
def test_weights_without_a_mark_see_pictures_as_they_did(name, picture, tmp_path):
    network = drawn_network()
    save_as_before(network, tmp_path / "w.pth")
    found, expected = denoise(picture, weights=tmp_path / "w.pth"), as_before(network, picture)
    change = np.abs(expected - picture).max()
    rounding = 0 if picture.dtype.kind == "f" else 0.5
    assert found.dtype == picture.dtype and change > 4 * rounding
    assert np.abs(found - expected).max() <= rounding + 1e-3 * change


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_weights_with_a_range_see_pictures_in_it_as_they_did(dtype, tmp_path):
    """A part of a picture is seen as the whole."""
    network, picture = drawn_network(), pictures()["uint16"].astype(dtype)
    save_as_before(network, tmp_path / "w.pth", (LOW, SCALE))
    rounding = 0.5 if dtype is np.uint16 else 0
    for part in (picture, picture[:, :32]):
        found, expected = denoise(part, weights=tmp_path / "w.pth"), as_before(network, part, (LOW, SCALE))
        assert np.abs(found - expected).max() <= rounding + 1e-3 * np.abs(expected - part).max()
    with pytest.raises(ValueError, match="trained on another kind of picture"):
        denoise(pictures()["8 bits"], weights=tmp_path / "w.pth")

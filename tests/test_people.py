"""The noise that people's pictures have: what `noise2noise denoise` takes away of it, with nothing said."""

import pytest
import torch
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.formats.pictures import image_of, pixels_of
from Proj_Miniproject2.others.noise.kinds import developed_noise, gaussian_noise, to_uint8
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.scenes import draw_scenes


def white(clean, draws):
    return gaussian_noise(clean, 25, draws)


def developed(clean, draws):
    return to_uint8(clean + developed_noise(clean[None].float(), torch.full((1, 1, 1, 1), 15.0), draws)[0])


def lines(clean, draws):
    return gaussian_noise(clean + 10 * torch.empty(1, clean.shape[1], 1).normal_(generator=draws), 3, draws)


def columns(clean, draws):
    return lines(clean.mT, draws).mT


def impulses(clean, draws):
    """Salt and pepper, in all channels at once."""
    places = torch.rand(clean[:1].shape, generator=draws)
    return torch.where(places < 0.02, (places < 0.01) * 255, clean).to(torch.uint8)


@pytest.mark.parametrize("name, mode, noise, options", [
    ("grey.png", "L", white, {}),
    ("grey as colours.png", "L", white, {}),
    ("grey.jpg", "L", white, {"quality": 85}),
    ("white.jpg", "RGB", white, {"quality": 85}),
    ("developed.png", "RGB", developed, {}),
    ("developed.jpg", "RGB", developed, {"quality": 92}),
    ("lines.png", "L", lines, {}),
    ("columns.png", "L", columns, {}),
    ("columns.jpg", "RGB", columns, {"quality": 92}),
    ("impulses.png", "L", impulses, {}),
    ("impulses.png", "RGB", impulses, {}),
])  # fmt: skip
def test_a_picture_comes_out_at_least_3_db_better(name, mode, noise, options, tmp_path):
    draws, before, after = torch.Generator().manual_seed(0), [], []
    for i, scene in enumerate(draw_scenes(4, size=192, seed=3)[1::2]):  # the calm ones; the others are nearly noise
        clean = pixels_of(image_of(scene).convert(mode))
        path = tmp_path / f"{i} {name}"
        shown = image_of(noise(clean, draws))
        (shown.convert("RGB") if "colours" in name else shown).save(path, **options)
        main(["denoise", str(path), "--out", str(tmp_path / "out")])
        for found, file in ((before, path), (after, tmp_path / "out" / path.name)):
            with Image.open(file) as image:
                found.append(psnr(pixels_of(image.convert(mode))[None], clean[None]))
    assert min(b - a for a, b in zip(before, after, strict=True)) > 0
    assert sum(after) - sum(before) > 3 * len(before)

"""What a picture shows of its noise: `noise.correlation` beside closed forms and beside noise that is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from Proj_Miniproject2.others.noise.correlation import correlation
from Proj_Miniproject2.others.noise.kinds import developed_noise, gaussian_noise, jpeg, to_uint8
from Proj_Miniproject2.others.pairs.scenes import draw_scenes

ALIKE = 0.3  # from here on `denoising` takes noise for correlated


def normal(*shape, seed=0):
    return torch.empty(shape).normal_(generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0, 0.2, 0.5, 1])
def test_of_flat_pictures_it_is_that_of_the_noise(channels, share):
    """Of a moving sum of two pixels, of which one counts less, in both directions."""
    white = normal(channels, 301, 211)
    noise = white[:, 1:] + share * white[:, :-1]
    noise = noise[..., 1:] + share * noise[..., :-1]
    expected = share / (1 + share**2)
    assert correlation(120 + 9 * noise) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("sigma", [3, 8, 25, 50])
def test_independent_noise_of_colours_is_told_from_a_camera_s(sigma):
    for i, scene in enumerate(draw_scenes(4, size=193, seed=sigma)):
        generator = torch.Generator().manual_seed(i)
        assert abs(correlation(gaussian_noise(scene, sigma, generator))) < ALIKE
        scene = scene[:, :192, :192].float()[None]
        noisy = to_uint8(scene + developed_noise(scene, torch.full((1, 1, 1, 1), float(sigma)), generator))[0]
        assert correlation(noisy) > ALIKE and correlation(jpeg(noisy, 90, 2)) > ALIKE


def test_letters_are_no_independent_noise():
    """Though they change from pixel to pixel. Plain grounds stay between them, as where noise is saturated."""
    image = Image.new("RGB", (200, 160), (0, 0, 120))
    for row in range(0, 160, 12):
        ImageDraw.Draw(image).text((2, row), f"def main(args): return {row} * 42 # etc.", (255, 255, 255))
    letters = torch.from_numpy(np.array(image)).movedim(2, 0)
    assert correlation(letters) == correlation(letters.float()) == 1
    bright = 120 + 400 * (torch.arange(200) // 8 % 2) + 12 * normal(3, 200, 200)
    assert correlation(bright.round().clamp(0, 255).byte()) < ALIKE


def test_what_tells_nothing_seems_correlated():
    assert correlation(torch.full((3, 64, 64), 77, dtype=torch.uint8)) == 1
    assert correlation(normal(3, 19, 400)) == correlation(normal(1, 5, 5)) == 1
    scene = draw_scenes(1, size=200)[0]
    assert correlation(scene.float().mean(0, keepdim=True)) > ALIKE

"""Noise made even, and the way back: beside sums over the probabilities of all counts, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Proj_Miniproject2.others.noise.stabilise import MIDDLE, STRENGTH, evened, restored, stabilised

READ = pytest.mark.parametrize("read", [0, 0.02, 0.3, 1, 5, 40])  # the read noise's standard deviation, in photons


def moments(photons, read):
    """The mean and the standard deviation of the transform of so many photons, with read noise: sums over counts, and
    over the read noise by the trapezoidal rule."""
    far = 9 * math.sqrt(photons) + 20
    counts = torch.arange(max(0, int(photons - far)), int(photons + far) + 2, dtype=torch.float64)
    likely = (counts * math.log(photons) - photons - torch.lgamma(counts + 1)).exp() if photons else 1.0 * (counts == 0)
    at = torch.linspace(-8.5, 8.5, 3001, dtype=torch.float64) if read else torch.zeros(1, dtype=torch.float64)
    weight = (-(at**2) / 2).exp()
    z = stabilised(counts[:, None] + read * at, 1, read**2)
    both = likely[:, None] * (weight / weight.sum())
    assert both.sum().item() == pytest.approx(1, abs=1e-9)
    mean = (both * z).sum().item()
    return mean, (both * (z - mean) ** 2).sum().sqrt().item()


@READ
def test_noise_has_a_standard_deviation_near_1_from_2_photons_on(read):
    for photons in (2, 3, 5, 10, 40, 200, 3000):
        assert moments(photons, read)[1] == pytest.approx(1, abs=0.05), photons


@READ
def test_what_is_restored_is_the_mean(read):
    """In the units of any camera, from a tenth of a photon on; the transform's own algebraic inverse is off by a fifth
    of one."""
    for photons in (0, 0.1, 0.3, 1, 2.2, 7, 20, 50, 61, 150, 2000, 1e5):
        z = torch.tensor([moments(photons, read)[0]] if photons < 1e5 else [2 * (1e5 + 1 / 8 + read**2) ** 0.5])
        for gain, offset in ((1, 0), (0.004, 0), (37, -500), (2.5, 100)):
            floor = (gain * read) ** 2 - gain * offset
            found = (restored(z.double(), gain, floor, offset).item() - offset) / gain
            assert found == pytest.approx(photons, rel=1e-3, abs=2e-3 * max(1, read)), (photons, gain)


@settings(max_examples=30)
@given(
    sd=st.sampled_from([0.0, 0.05, 1.0, 30.0]),
    gain=st.floats(1e-6, 1e6),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 999),
)
def test_more_is_more_and_whatever_comes_is_taken(sd, gain, offset, seed):
    """Also below what no photon gives, and far above the table; in any order and shape."""
    z = 600 * torch.rand(2, 5, 300, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3 - 20
    floor = (gain * sd) ** 2 - gain * offset * gain
    found = restored(z.mT, gain, floor, offset * gain).mT
    assert found.shape == z.shape and bool(found.isfinite().all())
    order = z.flatten().argsort()
    assert bool((found.flatten()[order].diff() >= 0).all()) and bool((z.flatten()[order].diff() >= 0).all())


def test_below_no_photons_the_background_that_was_subtracted_is_no_other():
    """From counts of a gain of 1 a background of 400 was subtracted, so that the variance at 0 is that."""
    light = torch.tensor([20.0, 100.0, 400.0, 900.0], dtype=torch.float64)
    z = torch.tensor([moments(photons, 0)[0] for photons in light.tolist()], dtype=torch.float64)
    torch.testing.assert_close(restored(z, 1, 400, 0) + 400, light, rtol=0.01, atol=0)


@settings(max_examples=15)
@given(
    a=st.floats(1e-8, 1e8),
    b=st.floats(-1e3, 1e3),
    gain=st.floats(0.01, 100),
    read=st.floats(0, 30),
    offset=st.floats(-50, 50),
)
def test_units_and_offset_do_not_matter(a, b, gain, read, offset):
    """a x + b has the gain a g, and the variance a^2 floor - a g b at 0."""
    x = torch.linspace(offset - read, offset + 200 * gain, 99, dtype=torch.float64)
    floor, b = read**2 - gain * offset, a * b
    z = stabilised(x, gain, floor)
    other = (a * gain, a**2 * floor - a * gain * b)
    torch.testing.assert_close(stabilised(a * x + b, *other), z, rtol=0, atol=1e-3)
    ours, others = restored(z, gain, floor, offset), restored(z, *other, a * offset + b)
    torch.testing.assert_close((others - b) / a, ours, rtol=1e-4, atol=1e-3 * gain)


def test_even_noise_is_of_the_networks_strength_around_their_middle():
    pixels = torch.tensor([90.0, 100.0, 104.0])
    assert evened(pixels, 4, 100).tolist() == [MIDDLE - 2.5 * STRENGTH, MIDDLE, MIDDLE + STRENGTH]

"""Measured pictures: of any range and dtype, with hot pixels, empty borders and gaps; and `denoise` from Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.model import Model
from Proj_Miniproject2.others.api import weights
from Proj_Miniproject2.others.networks import UNet
from Proj_Miniproject2.others.noise.ranges import LEVELS, empty, medians, outliers, quantile, seen

ROOT = Path(__file__).parents[1]
NOISE = 40  # about the standard deviation of the noise of `measured`


def scene(height=75, width=102, seed=0):
    """Soft coloured blobs over a slope, from 500 to about 2,500: float64 (height, width, 3)."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width, :1][:2]
    picture = 500 + columns * np.array([4.0, 3.0, 5.0])
    for row, column, size, *high in draws.uniform([0, 0, 3, 0, 300, 0], [height, width, 12, 900, 1500, 1200], (12, 6)):
        picture += high * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * size**2))
    return picture


def measured(seed=0, **options):
    """The scene with the noise of a sensor that counts: float64 (height, width, 3)."""
    return np.random.default_rng(seed + 1).poisson(scene(seed=seed, **options)).astype(float)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


@pytest.fixture(scope="module")
def plain():
    """The measured picture, and what is made of it."""
    return measured(), denoise(measured())


# ----------------------------------------------------------------------------------------------------------
# Any range


def test_it_denoises(plain):
    noisy, clean = plain
    assert rms(clean - scene()) < 0.4 * rms(noisy - scene())
    assert abs((clean - noisy).mean()) < 0.05 * NOISE


@pytest.mark.parametrize(
    "dtype", [np.float32, np.uint16, np.int16, np.int32, np.uint32, np.float16, ">u2", ">f4", "<i4"]
)
def test_dtypes_stay(dtype, plain):
    noisy, clean = plain
    found = denoise(noisy.astype(dtype))
    assert found.dtype == dtype and found.shape == noisy.shape
    assert rms(found - clean) < (0.02 if np.dtype(dtype).itemsize > 2 or np.dtype(dtype).kind != "f" else 0.05) * NOISE


@pytest.mark.parametrize("value", [0, -7.25, 65535, 1e-300, 1e300, np.nan])
def test_constant_pictures_stay(value):
    for shape in ((1, 1), (3, 50), (40, 41, 3)):
        picture = np.full(shape, value, float)
        assert np.array_equal(denoise(picture), picture, equal_nan=True)
    almost = np.full((40, 50), value, float)
    almost[3, 4] = 5
    assert np.array_equal(denoise(almost), almost, equal_nan=True)


def test_nothing_is_clipped():
    """A bright area far outside of the range keeps its noise, not its noise's lower half alone."""
    noisy = measured(height=150, width=150)
    noisy[60:64, 70:73] += 60_000  # a hundred times as far as the rest
    found = denoise(noisy)
    assert np.abs(found - noisy)[60:64, 70:73].max() < 15 * NOISE and found.max() > 60_000
    assert np.isfinite(denoise(np.where(noisy > 1000, 1.7e308, -1.7e308))).all()


@pytest.mark.parametrize("mean", [0.02, 0.1, 1, 4])
def test_few_photons_are_neither_outliers_nor_empty(mean):
    noisy = torch.tensor(
        np.random.default_rng(0).poisson(scene() * mean / 1000).transpose(2, 0, 1), dtype=torch.float64
    )
    values, scale = seen(noisy)
    assert not outliers(noisy, medians(noisy)).any()
    most = LEVELS[0] + noisy / scale
    assert (values == most.float()).float().mean() > 0.99 and values[noisy == 1].min() - values[noisy == 0].max() > 10


@given(st.integers(0, 2**32), st.integers(1, 140), st.integers(1, 12), st.booleans())
def test_medians(seed, height, width, gaps):
    draws = np.random.default_rng(seed)
    picture = draws.normal(size=(2, height, width))
    picture[draws.random(picture.shape) < 0.3 * gaps] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge"), (3, 3), (1, 2)
    )
    flat = np.sort(windows.reshape(*picture.shape, 9), axis=3)  # NaN last
    count = (~np.isnan(flat)).sum(3)
    expected = np.take_along_axis(flat, np.maximum((count - 1) // 2, 0)[..., None], 3)[..., 0]
    np.testing.assert_array_equal(medians(torch.tensor(picture)).numpy(), expected)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_empty(seed, height, width):
    draws = np.random.default_rng(seed)
    picture = draws.integers(0, 9, (1, height, width)).astype(float)
    for _ in range(3):
        top, left = draws.integers(0, [height, width])
        picture[0, top : top + draws.integers(5, 20), left : left + draws.integers(5, 20)] = draws.integers(3)
    expected = np.zeros(picture.shape, bool)
    for top in range(height - 8):
        for left in range(width - 8):
            square = picture[0, top : top + 9, left : left + 9]
            expected[0, top : top + 9, left : left + 9] |= (square == square[0, 0]).all()
    np.testing.assert_array_equal(empty(torch.tensor(picture)).numpy(), expected)


def test_quantile():
    values = torch.randperm(1001).double()
    assert [float(quantile(values, share)) for share in (0, 0.005, 0.5, 1)] == [0, 5, 500, 1000]


def test_what_is_seen_is_as_in_training(plain):
    values, scale = seen(torch.tensor(plain[0]).permute(2, 0, 1))
    assert values.dtype == torch.float32 and 0 <= values.min() and values.max() <= 255
    assert ((values == 0) | (values == 255)).double().mean() < 1e-3
    offset = torch.tensor(plain[0]).permute(2, 0, 1) - values.double() * scale
    assert offset.std() < 1e-3 * NOISE and 25 < values.std() < 90


# ----------------------------------------------------------------------------------------------------------
# From Python


class Darkening(UNet):
    """What comes out is a third of what went in. Its weights say nothing of what it sees, as those of users."""

    range = seen = None
    even = False

    def denoise(self, images):
        return images / 3


@pytest.fixture
def darkening(monkeypatch):
    """A network that tells what it was asked for."""
    asked = []
    monkeypatch.setattr(weights, "trained", lambda network, path=None: asked.append((network, path)) or Darkening())
    return asked


def bytes_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_bytes_are_in_their_own_range(darkening):
    """Arrays, tensors and Pillow images, as the command does."""
    array = bytes_of(30, 41, 3)
    expected = np.round(array / 3)
    assert np.array_equal(denoise(array), expected)
    assert np.array_equal(denoise(array[..., 0]), expected[..., 0])
    tensor = torch.tensor(array).permute(2, 0, 1)
    assert torch.equal(denoise(tensor), torch.tensor(expected).permute(2, 0, 1).byte())
    image = denoise(Image.fromarray(array))
    assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pages_and_channels(dtype, channels, darkening):
    """Each page by itself, and transparency as it is."""
    arrays = bytes_of(3, 20, 31, channels).astype(dtype)
    found = denoise(arrays, pages=True)
    assert found.dtype == dtype and found.shape == arrays.shape
    tensors = torch.tensor(arrays).permute(0, 3, 1, 2)
    assert np.array_equal(denoise(tensors, pages=True).permute(0, 2, 3, 1).numpy(), found)
    for page, array in zip(found, arrays, strict=True):
        assert np.array_equal(page, denoise(array)) and (page != array).any()
        assert np.array_equal(page[..., 1:], array[..., 1:]) if channels == 2 else True
        assert np.array_equal(page[..., 3:], array[..., 3:])
    flat = denoise(arrays[..., 0], pages=True)
    assert np.array_equal(flat, denoise(tensors[:, 0], pages=True)) and np.array_equal(
        flat[0], denoise(arrays[0, ..., 0])
    )


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "I", "F"])
def test_pillow_images(mode, darkening):
    array = bytes_of(20, 31)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    image = (
        Image.fromarray(array.astype(deep[mode]) * 100)
        if mode in deep
        else Image.fromarray(bytes_of(20, 31, 4)).convert(mode)
    )
    image.info["dpi"] = 300, 300
    found = denoise(image)
    assert found.mode == mode and found.size == image.size and found.info == image.info and found != image
    if mode in deep:
        assert np.array_equal(np.asarray(found), denoise(np.asarray(image)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_strength_and_weights(dtype, darkening):
    array = bytes_of(20, 31, 3).astype(dtype)
    once = denoise(array).astype(float)
    assert np.array_equal(denoise(array, strength=0), array)
    assert (
        np.abs(denoise(array, strength=0.25) - (0.75 * array + 0.25 * once)).max() <= 1.01 * (dtype == np.uint8) + 1e-3
    )
    assert (denoise(array, strength=2).mean(), once.mean()) < (once.mean(), array.mean())
    darkening.clear()
    denoise(array, weights="mine.pth")
    assert darkening == [("photo", "mine.pth")]


def test_what_is_given_stays():
    array, tensor = measured()[..., 0], torch.tensor(measured()[..., 0], requires_grad=True)
    array.flags.writeable = False
    with torch.no_grad():
        assert np.array_equal(denoise(array[::-1, ::2]), denoise(array[::-1, ::2].copy()))
    found = denoise(tensor)
    assert not found.requires_grad and np.array_equal(tensor.detach(), array)
    assert found.dtype == torch.float64 and np.array_equal(found, denoise(array))
    assert denoise(tensor.bfloat16()).dtype == torch.bfloat16


def test_other_dtypes_are_taken_where_their_values_fit():
    noisy = measured(height=40, width=50)
    for dtype, narrow in (("int64", "int32"), (">u8", "uint32")):
        found = denoise(noisy.astype(dtype))
        assert found.dtype == dtype and np.array_equal(found, denoise(noisy.astype(narrow)))
    tensor = torch.tensor(noisy).movedim(2, 0)
    found = denoise(tensor.to(torch.int64))
    assert found.dtype == torch.int64 and torch.equal(found, denoise(tensor.to(torch.int32)).to(torch.int64))
    bools = np.random.default_rng(0).random((2, 40, 50)) > 0.5
    found = denoise(bools, pages=True)
    assert found.dtype == bool and np.array_equal(found, denoise(bools * np.uint8(255), pages=True) >= 128)
    assert torch.equal(denoise(torch.tensor(bools[0])), torch.tensor(denoise(bools[0])))


@pytest.mark.parametrize("dtype", ["float32", np.float32, torch.float32])
def test_floats_for_integers(dtype):
    noisy = measured(height=40, width=50).astype(np.uint16)
    expected = denoise(noisy.astype(float)).astype(np.float32)
    found = denoise(noisy, dtype=dtype)
    assert found.dtype == np.float32 and np.array_equal(found, expected) and (found % 1).any()
    tensor = denoise(torch.tensor(noisy).movedim(2, 0), dtype=dtype)
    assert tensor.dtype == torch.float32 and np.array_equal(tensor.movedim(0, 2), expected)


def test_what_can_be_read_as_an_array_is_one():
    """As dask, zarr and others have it."""

    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return measured(height=40, width=50)

    assert np.array_equal(denoise(Lazy()), denoise(measured(height=40, width=50)))


BAD = {
    "a list": ([[1, 2], [3, 4]], {}, "a NumPy array, a tensor or a Pillow image, got list"),
    "complex": (np.zeros((5, 5), complex), {}, "got complex128"),
    "64 bits": (np.full((5, 5), 2**40), {}, "has values from 1099511627776 to 1099511627776 in int64"),
    "float16": (np.zeros((9, 9)), {"dtype": "float16"}, "dtype should be float32, got float16"),
    "floats in an image": (Image.new("L", (9, 9)), {"dtype": "float32"}, "dtype goes with arrays and tensors"),
    "a path": ("x.tif", {}, "got the path x.tif: read it first"),
    "another path": (Path("x.tif"), {}, "got the path x.tif: read it first"),
    "objects": (np.zeros((5, 5), object), {}, "got object"),
    "a mask": (np.ma.masked_equal(np.eye(5), 0), {}, "without a mask"),
    "int64 tensor": (torch.full((5, 5), -(2**31) - 1), {}, "in int64 that int32 doesn't hold"),
    "complex tensor": (torch.zeros(5, 5, dtype=torch.complex64), {}, "got torch.complex64"),
    "complex as floats": (np.zeros((9, 9), complex), {"dtype": "float32"}, "real numbers, got complex128"),
    "complex tensor as floats": (torch.zeros(9, 9) + 0j, {"dtype": "float32"}, "real numbers, got torch.complex64"),
    "a path for floats": ("x.tif", {"dtype": "float32"}, "got the path x.tif: read it first"),
    "sparse": (torch.eye(5).to_sparse(), {}, "dense"),
    "five channels": (np.zeros((9, 9, 5)), {}, r"C from 1 to 4: pages=True takes several, got \(9, 9, 5\)"),
    "pages": (np.zeros((9, 9, 30)), {}, "pages=True"),
    "channels last": (torch.zeros(9, 9, 3), {}, r"\(C, H, W\)"),
    "no pixels": (np.zeros((0, 9)), {}, "expected a picture"),
    "one axis": (np.zeros(9), {}, "expected a picture"),
    "too few axes": (np.zeros((9, 9)), {"pages": True}, "which counts the pages"),
    "pages of an image": (Image.new("L", (9, 9)), {"pages": True}, "one picture"),
    "a palette": (Image.new("P", (9, 9)), {}, "convert it"),
    "strength": (np.zeros((9, 9)), {"strength": 2.5}, r"strength must lie in \[0, 2\], got 2.5"),
    "no weights": (np.eye(9), {"weights": "nowhere.pth"}, "there is no file nowhere.pth"),
    "other weights": (np.eye(9), {"weights": Model.PRETRAINED}, "not hold the weights of this network"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    picture, options, message = BAD[what]
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        denoise(picture, **options)


def test_nothing_is_imported_before_it_is_needed():
    """And tensors need neither NumPy nor Pillow."""
    code = """if True:
        import sys
        import Proj_Miniproject2
        assert "Proj_Miniproject2.others.api.denoising" not in sys.modules and "denoise" in Proj_Miniproject2.__all__
        try:
            Proj_Miniproject2.nothing
        except AttributeError as error:
            assert "nothing" in str(error)
        from Proj_Miniproject2 import denoise
        assert not {"PIL", "tifffile"} & set(sys.modules)
        import torch
        assert denoise(torch.rand(9, 9)).shape == (9, 9)
        assert not {"PIL", "tifffile"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

"""Where pairs come from: noises, pairs cut from photos, sources, photos, scenes and the measure, on tiny pictures."""

import math
import os
import warnings
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.lab.runs import Run
from Proj_Miniproject2.others.noise.kinds import block_mean, camera_noise, gaussian_noise, pixel_noise, poisson_noise
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs import photos as photos_module
from Proj_Miniproject2.others.pairs.photos import PairStream, load_photos, pairs_of, random_crops
from Proj_Miniproject2.others.pairs.scenes import builtin_data, draw_scenes
from Proj_Miniproject2.others.pairs.sources import camera, clean, fixed, mixed, recoloured, shots, varied
from Proj_Miniproject2.others.training.recipe import Recipe


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Thousands of tiny operations: on a busy machine, threads waiting for each other are far slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_photos(*sizes, seed=0):
    g = rng(seed)
    return [torch.randint(256, (3, *size), generator=g, dtype=torch.uint8) for size in sizes]


def numbered_photos(*sizes):
    """Every pixel of every photo has other values, so that a pixel tells where it came from."""
    photos, k = [], 0
    for h, w in sizes:
        number = torch.arange(k, k + h * w).view(h, w)
        k += h * w
        photos.append(torch.stack([number % 256, number // 256 % 256, number // 65536]).to(torch.uint8))
    return photos


def number(pixels):
    """(N, 3, H, W) to the numbers (N, H, W) of `numbered_photos`."""
    return (pixels.long() * torch.tensor([1, 256, 65536]).view(3, 1, 1)).sum(1)


def write_image(path, height, width, mode="RGB", seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"RGB": 3, "L": 1, "RGBA": 4}[mode] * height * width
    values = torch.randint(256, (size,), generator=rng(seed), dtype=torch.uint8)
    image = Image.frombytes(mode, (width, height), bytes(values.tolist()))
    image.save(path, **options)
    return torch.tensor(list(image.convert("RGB").tobytes()), dtype=torch.uint8).view(height, width, 3)


# Noise


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(0, 3),
    c=st.integers(1, 4),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    block=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_pixel_noise_draws_whole_pixels_of_their_block(n, c, h, w, block, seed):
    # Channel k holds k * 1000 + the pixel's number, so a mixed pixel or a wrong block shows.
    number = torch.arange(h * block * w * block).view(1, 1, h * block, w * block)
    crops = (number + 1000 * torch.arange(c).view(c, 1, 1)).expand(n, -1, -1, -1)
    noisy = pixel_noise(crops, block, rng(seed))
    assert noisy.shape == (n, c, h, w)
    for k in range(1, c):
        assert torch.equal(noisy[:, k] - 1000 * k, noisy[:, 0])
    row, column = noisy[:, 0] // (w * block), noisy[:, 0] % (w * block)
    assert torch.equal(row // block, torch.arange(h)[:, None].expand(n, h, w))
    assert torch.equal(column // block, torch.arange(w).expand(n, h, w))
    assert torch.equal(noisy, pixel_noise(crops, block, rng(seed)))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 3), h=st.integers(1, 5), w=st.integers(1, 5), block=st.integers(1, 16))
def test_block_mean_is_average_pooling(n, h, w, block):
    crops = torch.rand(n, 3, h * block, w * block, generator=rng(), dtype=torch.float64) * 255
    reference = torch.nn.functional.avg_pool2d(crops, block)
    torch.testing.assert_close(block_mean(crops, block), reference)
    grey = crops.to(torch.uint8)
    rounded = torch.nn.functional.avg_pool2d(grey.double(), block).round()
    assert torch.equal(block_mean(grey, block), rounded.to(torch.uint8))


def test_pixel_noise_is_uniform_over_the_block_and_independent_between_blocks():
    crops = torch.arange(9).view(1, 1, 3, 3).repeat(20_000, 1, 1, 2)  # two equal blocks
    left, right = pixel_noise(crops, 3, rng())[:, 0, 0].unbind(1)
    joint = (left * 9 + right).bincount(minlength=81) / 20_000
    assert (joint - 1 / 81).abs().max() < 5 * math.sqrt(1 / 81 / 20_000)


@pytest.mark.parametrize("level", [0, 100.5, 255])
@pytest.mark.parametrize("sigma", [0, 10, 50])
def test_gaussian_noise_has_the_moments_of_the_clamped_normal(level, sigma):
    n = 200_000
    noisy = gaussian_noise(torch.full((n,), float(level)), sigma, rng())
    assert noisy.dtype == torch.uint8
    values = torch.arange(256, dtype=torch.float64)
    below = (values + 0.5 - level) / max(sigma, 1e-9) / math.sqrt(2)  # chance to round to a value or below
    below = 0.5 * (1 + below.erf())
    below[-1] = 1
    chance = below.diff(prepend=torch.zeros(1, dtype=torch.float64))
    if sigma == 0:
        assert torch.equal(noisy, torch.full((n,), level).round().to(torch.uint8))
        return
    mean = (chance * values).sum()
    std = (chance * (values - mean).square()).sum().sqrt()
    assert abs(noisy.double().mean() - mean) < 5 * std / math.sqrt(n)
    assert noisy.double().std() == pytest.approx(std.item(), rel=0.02)


@pytest.mark.parametrize("peak", [4, 30.0, 255])
def test_poisson_noise_has_mean_and_variance_of_its_counts(peak):
    n, level = 200_000, 64  # far enough from 255 that next to nothing is clamped
    noisy = poisson_noise(torch.full((n,), level, dtype=torch.uint8), peak, rng()).double()
    std = math.sqrt(level * 255 / peak)
    slack = 0.02 * 255 if peak == 4 else 0  # a rare count above 4 is clamped to white
    assert abs(noisy.mean() - level) < 5 * std / math.sqrt(n) + 0.5 + slack
    assert noisy.std() == pytest.approx(std, rel=0.05)
    assert (poisson_noise(torch.zeros(100), peak, rng()) == 0).all()


def test_noise_is_deterministic_by_the_generator_and_keeps_its_input():
    clean = torch.randint(256, (2, 3, 5, 7), generator=rng(), dtype=torch.uint8)
    before = clean.clone()
    for noise, strength in ((gaussian_noise, 25), (poisson_noise, 20)):
        one = noise(clean, strength, rng(1))
        assert one.shape == clean.shape
        assert torch.equal(one, noise(clean, strength, rng(1)))
        assert not torch.equal(one, noise(clean, strength, rng(2)))
        assert torch.equal(one, noise(clean.float(), strength, rng(1)))
    assert torch.equal(clean, before)


# Pairs


def undo_flips(crop_numbers, block, widths, starts):
    """Which photo, crop and flips explain one image of pixel numbers (size, size)? All that do."""
    size = crop_numbers.shape[0]
    photo = int((starts <= crop_numbers.min()).sum()) - 1
    inside = crop_numbers - starts[photo]
    row, column = inside // widths[photo], inside % widths[photo]
    found = []
    for flips in range(8):
        r, c = row, column
        if flips & 4:
            r, c = r.T, c.T
        if flips & 1:
            r, c = r.flip(0), c.flip(0)
        if flips & 2:
            r, c = r.flip(1), c.flip(1)
        # The crop's first row is in all of [r - i * block - block + 1, r - i * block].
        r, c = r - torch.arange(size)[:, None] * block, c - torch.arange(size) * block
        top, left = (r.max() - block + 1, r.min()), (c.max() - block + 1, c.min())
        if top[0] <= top[1] and left[0] <= left[1]:
            found.append((photo, flips, tuple(map(int, top)), tuple(map(int, left))))
    return found


@settings(deadline=None, max_examples=20)
@given(block=st.integers(1, 5), size=st.integers(3, 6), extra=st.integers(0, 9), seed=st.integers(0, 999))
def test_both_images_of_a_pair_show_whole_pixels_of_the_same_flipped_crop(block, size, extra, seed):
    side = block * size
    sizes = [(side, side), (side + extra, side), (side + 2, side + extra)]
    photos = numbered_photos(*sizes)
    areas = torch.tensor([h * w for h, w in sizes])
    starts = areas.cumsum(0) - areas
    noisy1, noisy2, clean = PairStream(photos, block, size).draw_with_clean(12, seed)
    for one, two, mean in zip(number(noisy1), number(noisy2), clean, strict=True):
        first, second = (undo_flips(x, block, [w for _, w in sizes], starts) for x in (one, two))
        # Some photo, crop and flips explain both images, and the clean one is the mean of its blocks.
        assert any(
            p == q
            and f == g
            and any(
                torch.equal(_flipped(block_mean(crop[None], block)[0], f), mean)
                for crop in _crops(photos[p], side, _common(t, u), _common(k, m))
            )
            for p, f, t, k in first
            for q, g, u, m in second
        )


def _common(a, b):
    return range(max(a[0], b[0], 0), min(a[1], b[1]) + 1)


def _crops(photo, side, tops, lefts):
    for top in tops:
        for left in lefts:
            crop = photo[:, top : top + side, left : left + side]
            if crop.shape[1:] == (side, side):
                yield crop


def _flipped(image, flips):
    """The inverse of what `undo_flips` undoes."""
    if flips & 2:
        image = image.flip(2)
    if flips & 1:
        image = image.flip(1)
    return image.transpose(1, 2) if flips & 4 else image


def test_all_photos_positions_and_flips_occur():
    sizes = [(12, 12), (14, 13)]
    photos = numbered_photos(*sizes)
    noisy, _ = PairStream(photos, block=1, size=12).draw(3000, 0)  # block 1: no noise, the crop itself
    seen = set()
    for image in number(noisy):
        ((photo, flips, (top, _), (left, _)),) = undo_flips(image, 1, [12, 13], torch.tensor([0, 144]))
        seen.add((photo, flips, top, left))
    places = [(0, 0, 0)] + [(1, top, left) for top in range(3) for left in range(2)]
    assert seen == {(p, flips, top, left) for p, top, left in places for flips in range(8)}


def test_mean_of_many_draws_approaches_the_clean_image():
    photo = random_photos((32, 32))[0]  # one possible crop; block noise at its strongest
    n = 4000
    noisy1, noisy2, clean = pairs_of([photo] * n, block=8, size=4)
    total = (noisy1.double() - clean).mean(0), (noisy2.double() - clean).mean(0)
    blocks = photo.double().unflatten(2, (4, 8)).unflatten(1, (4, 8)).transpose(2, 3).flatten(-2)
    error = blocks.std(-1) / math.sqrt(n)
    for bias in total:
        assert (bias.abs() <= 5 * error + 0.5).all()  # the clean image is rounded
    between = (noisy1.double() - clean) * (noisy2.double() - clean)  # the two draws are independent
    assert (between.mean(0).abs() <= 5 * blocks.var(-1) / math.sqrt(n) + 0.5).all()


def test_a_target_can_be_the_mean_of_several_draws():
    """The blocks' pixels are numbers, so the mean of draws has the variance of one draw over their number."""
    stream, n, targets = PairStream(random_photos((32, 32)), block=8, size=4), 4000, 5
    one, several, clean = stream.draw(n, 1), stream.draw(n, 1, targets), stream.draw_with_clean(n, 1)[2]
    assert one[1].dtype == torch.uint8 and several[1].dtype == torch.float32
    variances = [(target.double() - clean).square().mean() for target in (one[1], several[1])]
    assert variances[0] / variances[1] == pytest.approx(targets, rel=0.03)
    independent = (several[0].double() - clean) * (several[1].double() - clean)
    assert abs(independent.mean()) < 0.01 * variances[1]
    assert torch.equal(several[1], stream.draw(n, 1, targets)[1])


def test_draw_is_a_pure_function_of_photos_count_and_seed():
    stream = PairStream(random_photos((40, 33), (32, 50)), block=4, size=8)
    one = stream.draw(30, 1)
    other = stream.draw(30, 2)
    assert all(map(torch.equal, one, stream.draw(30, 1)))
    assert all(map(torch.equal, one, stream.draw_with_clean(30, 1)))
    assert not any(map(torch.equal, one, other))
    assert not torch.equal(*one)
    state = torch.get_rng_state()
    stream.draw(5, 3)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9])
def test_pairs_are_whole_at_the_borders_of_chunks(n, monkeypatch):
    monkeypatch.setattr(photos_module, "CHUNK", 4)
    photos = [torch.full((3, 8, 8), 10 * (i + 1), dtype=torch.uint8) for i in range(3)]
    images = PairStream(photos, block=2, size=4).draw_with_clean(n, 0)
    assert all(image.shape == (n, 3, 4, 4) and image.dtype == torch.uint8 for image in images)
    for image in images[:2]:
        assert torch.equal(image, images[2])  # flat photos have no noise
        assert set(image.flatten().tolist()) <= {10, 20, 30}
    fixed = pairs_of(photos, n, block=2, size=4)[2]
    assert fixed[:, 0, 0, 0].tolist() == [(10, 20, 30)[i % 3] for i in range(n)]


def test_pairs_of_begins_with_centre_crops_never_flips_and_is_deterministic():
    photos = numbered_photos((20, 31), (18, 16), (16, 16))
    (one, _, clean), (two, _) = (
        pairs_of(photos, block=1, size=16),
        pairs_of(photos, block=1, size=16, clean=False),
    )
    assert torch.equal(one, two) and torch.equal(one, clean)
    for image, photo in zip(one, photos, strict=True):
        top, left = (photo.shape[1] - 16) // 2, (photo.shape[2] - 16) // 2
        assert torch.equal(image, photo[:, top : top + 16, left : left + 16])
    later = number(pairs_of(photos, 60, seed=5, block=1, size=16)[0])[3::3]
    assert (later.diff(dim=2) == 1).all() and (later.diff(dim=1) == 31).all()
    assert len({int(image[0, 0]) for image in later}) > 5  # other positions of the first photo
    again = number(pairs_of(photos, 60, seed=5, block=1, size=16)[0])[3::3]
    assert torch.equal(later, again)


def test_pairs_can_be_saved_alone():
    noisy1, noisy2, clean = pairs_of(random_photos((32, 32)), 3, block=8, size=4)
    for image in (noisy1, noisy2, clean):
        assert image.is_contiguous() and image.untyped_storage().nbytes() == image.numel()


# Sources of pairs


@pytest.mark.parametrize(
    "level, sigma, gain", [(100.0, 20.0, 0.0), (100.0, 0.0, 5.0), (30.0, 10.0, 2.0), (250.0, 50.0, 0.0)]
)
def test_camera_noise_has_mean_and_variance_of_its_parts(level, sigma, gain):
    clean = torch.full((2, 3, 200, 200), level)
    one = torch.ones(2, 1, 1, 1)
    noisy = camera_noise(clean, sigma * one, gain * one, torch.Generator().manual_seed(0))
    variance = sigma**2 + gain * level
    assert noisy.mean().item() == pytest.approx(level, abs=4 * (variance / noisy.numel()) ** 0.5)
    assert noisy.var().item() == pytest.approx(variance, rel=0.02)


def test_camera_pairs_are_two_draws_of_the_same_crop():
    photos = [torch.full((3, 100, 120), level, dtype=torch.uint8) for level in (0, 60, 255)]
    draw = camera(photos, Run(Recipe(), pairs=300))
    inputs, targets = draw(0)
    assert inputs.dtype == torch.uint8 and targets.dtype == torch.float32
    assert inputs.shape == targets.shape == (300, 3, 96, 96)
    means, levels = targets.mean((1, 2, 3)), torch.tensor([0.0, 60.0, 255.0])
    which = (means[:, None] - levels).abs().argmin(1)
    assert (means - levels[which]).abs().max() < 3 and set(which.tolist()) == {0, 1, 2}  # targets are not clamped
    middle = which == 1
    assert (inputs[middle].float().mean((1, 2, 3)) - 60).abs().max() < 12
    noise = [x[middle].float() - 60 for x in (inputs, targets)]
    assert abs((noise[0] * noise[1]).mean()) < 0.02 * noise[1].square().mean() + 1
    assert noise[1].flatten(1).std(1).max() > 40 and noise[1].flatten(1).std(1).min() < 12
    assert not torch.equal(draw(1)[0], inputs) and torch.equal(draw(0)[0], inputs)


def test_camera_targets_of_several_draws_have_less_of_the_same_noise():
    photos = [torch.full((3, 96, 96), level, dtype=torch.uint8) for level in (40, 200)]
    (first, one), (again, several) = (camera(photos, Run(pairs=200, source=camera, targets=n))(0) for n in (1, 9))
    assert torch.equal(first, again)
    levels = torch.where(one.mean((1, 2, 3), keepdim=True) < 120, 40.0, 200.0)
    variances = [(target - levels).square().mean((1, 2, 3)) for target in (one, several)]
    noisy = variances[0] > 1
    assert noisy.sum() > 150
    torch.testing.assert_close(variances[0][noisy] / 9, variances[1][noisy], rtol=0.1, atol=0)


@pytest.mark.parametrize("source", [fixed, clean, mixed, shots])
def test_several_targets_go_with_fresh_pairs_only(source):
    with pytest.raises(ValueError, match=f"fresh, varied, camera, grey and correlated, not with {source.__name__}"):
        Run(source=source, targets=2)


def test_recoloured_photos_have_their_channels_in_any_order_by_curves_that_rise():
    photo = torch.stack([torch.arange(256).byte().roll(shift).view(16, 16) for shift in (0, 60, 150)])
    orders = set()
    for seed in range(60):
        new = recoloured(photo, torch.Generator().manual_seed(seed))
        assert new.dtype == torch.uint8 and new.shape == photo.shape
        order = []
        for channel in new:
            fitting = [i for i in range(3) if (channel.flatten()[photo[i].flatten().argsort()].int().diff() >= 0).all()]
            order += fitting
            assert channel.min() == 0 and channel.max() == 255
        orders.add(tuple(order))
    assert orders == set(permutations(range(3)))


def test_every_second_varied_pair_is_of_a_photo_in_new_colours():
    colour = torch.tensor([30, 90, 160], dtype=torch.uint8)
    photos = [colour.view(3, 1, 1).expand(3, 256, 300).contiguous()]
    draw = varied(photos, Run(pairs=41, source=varied))
    inputs, targets = draw(0)
    assert inputs.shape == targets.shape == (41, 3, 32, 32) and torch.equal(inputs, targets)  # a photo without edges
    colours = inputs[:, :, 0, 0]
    assert torch.equal(inputs, colours[..., None, None].expand_as(inputs))
    assert (colours[:21] == colour).all()
    assert len(colours[21:].unique(dim=0)) == 1 and not (colours[21] == colour).all()  # one photo, once in an epoch
    assert all(torch.equal(a, b) for a, b in zip(draw(0), (inputs, targets), strict=True))
    assert not torch.equal(draw(1)[0], inputs)
    several = varied(photos, Run(pairs=41, source=varied, targets=3))(0)
    assert several[1].dtype == torch.float32 and torch.equal(several[1], several[0].float())


def test_crops_come_from_everywhere():
    photo = torch.arange(3 * 10 * 12).view(3, 10, 12).to(torch.uint8)
    crops = random_crops([photo], 400, 8, torch.Generator().manual_seed(0))
    assert {int(v) for v in crops[:, 0, 0, 0]} == {12 * i + j for i in range(3) for j in range(5)}
    first = crops[0, 0, 0, 0].item()
    assert torch.equal(crops[0], photo[:, first // 12 : first // 12 + 8, first % 12 : first % 12 + 8])


# Photos


def test_load_photos_in_order_as_rgb_upright_and_large_enough(tmp_path):
    first = write_image(tmp_path / "a" / "1.PNG", 256, 300, seed=1)
    second = write_image(tmp_path / "b.png", 270, 256, mode="L", seed=2)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    third = write_image(tmp_path / "c.png", 260, 280, seed=3, exif=exif)
    write_image(tmp_path / "d.webp", 50, 100)
    write_image(tmp_path / "e.bmp", 300, 64)
    write_image(tmp_path / "f.tif", 256, 256)
    Image.new("RGBA", (256, 256), (1, 2, 3, 255)).save(tmp_path / "g.png")  # nothing shines through
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "folder.jpg").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photos = load_photos(tmp_path)
    assert [tuple(photo.shape) for photo in photos] == [
        (3, 256, 300),
        (3, 270, 256),
        (3, 280, 260),
        (3, 256, 512),
        (3, 1200, 256),
        (3, 256, 256),
        (3, 256, 256),
    ]
    assert all(photo.dtype == torch.uint8 for photo in photos)
    assert torch.equal(photos[0], first.permute(2, 0, 1))
    assert torch.equal(photos[1], second.permute(2, 0, 1))
    assert torch.equal(photos[2], third.permute(2, 0, 1).rot90(-1, (1, 2)))
    assert min(load_photos(tmp_path, min_side=400)[0].shape[1:]) == 400
    assert len(PairStream(photos)) == 7


def test_photos_that_would_lose_something_are_named_and_skipped(tmp_path):
    deep = torch.randint(65536, (256, 256), generator=rng()).numpy()
    write_image(tmp_path / "good.png", 256, 256)
    write_image(tmp_path / "seen through.png", 256, 256, mode="RGBA")
    Image.fromarray(deep.astype("uint16")).save(tmp_path / "16 bits.png")
    Image.fromarray(deep.astype("int32")).save(tmp_path / "32 bits.tif")
    Image.fromarray(deep.astype("float32")).save(tmp_path / "float.tif")
    write_image(tmp_path / "strip.png", 1, 6000)
    pages = [Image.new("RGB", (256, 256), (i, i, i)) for i in range(3)]
    for name in ("pages.tif", "moving.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    (tmp_path / "raw.heic").write_bytes(b"....ftypheic")
    with pytest.warns(UserWarning) as caught:
        assert len(load_photos(tmp_path)) == 1
    named = sorted(str(warning.message).removeprefix(f"skipped {tmp_path}/").split(":")[0] for warning in caught)
    assert named == sorted(p.name for p in tmp_path.iterdir() if p.name != "good.png")
    assert any("6000 x 1 pixels is too small" in str(warning.message) for warning in caught)


def test_unreadable_photos_are_named_and_skipped(tmp_path):
    write_image(tmp_path / "good.png", 256, 256)
    (tmp_path / "text.jpg").write_text("not a photo")
    (tmp_path / "empty.png").touch()
    write_image(tmp_path / "cut.png", 256, 256)
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning) as caught:
        assert len(load_photos(tmp_path)) == 1
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 3
    for name, message in zip(("cut.png", "empty.png", "text.jpg"), messages, strict=True):
        assert name in message


# Scenes


def test_scenes_are_deterministic_and_colourful():
    scenes = draw_scenes(3, size=128, seed=4)
    assert all(scene.shape == (3, 128, 128) and scene.dtype == torch.uint8 for scene in scenes)
    assert all(map(torch.equal, scenes, draw_scenes(3, size=128, seed=4)))
    assert all(map(torch.equal, scenes, draw_scenes(5, size=128, seed=4)))
    assert not any(map(torch.equal, scenes, draw_scenes(3, size=128, seed=5)))
    assert not torch.equal(scenes[0], scenes[1])
    assert all(scene.double().std() > 10 for scene in scenes)
    assert draw_scenes(0) == []
    assert draw_scenes(2, size=8)[1].shape == (3, 8, 8)


def test_builtin_data_has_the_format_and_noise_of_the_course():
    state = torch.get_rng_state()
    (noisy1, noisy2), (noisy, clean) = builtin_data(train=300, val=160, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    for images, n in ((noisy1, 300), (noisy2, 300), (noisy, 160), (clean, 160)):
        assert images.shape == (n, 3, 32, 32) and images.dtype == torch.uint8
    assert 19.5 < psnr(noisy, clean) < 22  # the course's: 20.7
    assert 16 < psnr(noisy1, noisy2) < 19  # twice the noise: 3 dB less


# Measure


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 4),
    c=st.integers(1, 3),
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_psnr_as_the_grader_defines_it(n, c, h, w, seed):
    g = rng(seed)
    x, y = (torch.rand(n, c, h, w, generator=g) * 255 for _ in range(2))

    def one(a, b):  # the grader's, in [0, 1]
        return -10 * math.log10(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / len(a))

    scaled = [(t.double() / 255).flatten(1).tolist() for t in (x, y)]
    expected = sum(one(a, b) for a, b in zip(*scaled, strict=True)) / n
    assert psnr(x, y) == pytest.approx(expected, rel=1e-9)


def test_psnr_in_closed_form():
    black, white = (
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        torch.full((2, 3, 4, 4), 255, dtype=torch.uint8),
    )
    assert psnr(black, white) == psnr(white, black) == 0
    assert psnr(black + 51, black) == pytest.approx(-20 * math.log10(0.2))
    assert psnr(torch.cat([black + 51, white]), torch.cat([black, black])) == pytest.approx(-10 * math.log10(0.2))
    assert psnr(black, black.float()) == math.inf


# The command


def photo_folder(path, n, side=256):
    for i in range(n):
        Image.new("RGB", (side, side), (i, i, i)).save(path / f"{i:02}.png")


def test_make_pairs_writes_the_two_files_of_the_course(tmp_path, capsys):
    photo_folder(tmp_path, 16)
    out = tmp_path / "deep" / "out"
    main(["pairs", str(tmp_path), str(out), "--train", "25", "--val", "5", "--seed", "3"])
    assert "25 + 5 pairs" in capsys.readouterr().out
    assert sorted(os.listdir(out)) == ["train_data.pkl", "val_data.pkl"]
    train = torch.load(out / "train_data.pkl", weights_only=True)
    val = torch.load(out / "val_data.pkl", weights_only=True)
    for images, n in ((train, 25), (val, 5)):
        assert isinstance(images, tuple) and len(images) == 2
        assert all(x.shape == (n, 3, 32, 32) and x.dtype == torch.uint8 for x in images)
    # Each photo has its own grey: photos 0 and 14 are set aside, the others take turns.
    assert val[1][:, 0, 0, 0].tolist() == [0, 14, 0, 14, 0]
    others = [i for i in range(16) if i not in (0, 14)]
    assert train[0][:, 0, 0, 0].tolist() == (others * 2)[:25]
    before = (out / "train_data.pkl").read_bytes()
    main(["pairs", str(tmp_path), str(out), "--train", "25", "--val", "5", "--seed", "3", "--overwrite"])
    assert (out / "train_data.pkl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out"], "expected a folder of pictures"),
        (["empty", "out"], "no readable photo"),
        (["one", "out"], "at least two photos"),
        (["two", "two/00.png"], "got the file"),
        (["two", "out", "--train", "0"], "train must be at least 1"),
        (["two", "out", "--val", "-3"], "val must be at least 1"),
        (["two", "out", "--seed", "-3"], "seed must be at least 0"),
        (["two", "out", "--train", "many"], "invalid int value"),
        (["two"], "required: OUT"),
    ],
)
def test_make_pairs_refuses_bad_arguments_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name, n in (("empty", 0), ("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        photo_folder(tmp_path / name, n)
    with pytest.raises(SystemExit) as stop:
        main(["pairs", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


GREY = torch.zeros(3, 64, 64, dtype=torch.uint8)
IMAGES = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PairStream([]), ValueError, "at least one photo"),
        (lambda: PairStream([GREY]), ValueError, "at least 256 pixels.*64"),
        (lambda: PairStream([GREY, GREY[:, :, :31]], 4, 8), ValueError, "photo 1"),
        (lambda: PairStream([GREY.float()], 2, 8), ValueError, "uint8.*float32"),
        (lambda: PairStream([GREY[:1]], 2, 8), ValueError, r"\(1, 64, 64\)"),
        (lambda: PairStream([GREY[None]], 2, 8), ValueError, r"\(1, 3, 64, 64\)"),
        (lambda: PairStream([GREY], 0, 8), ValueError, "block must be at least 1"),
        (lambda: PairStream([GREY], 2, -1), ValueError, "size must be at least 1"),
        (lambda: PairStream([GREY], 2.0, 8), TypeError, "block must be an int"),
        (lambda: PairStream([GREY], 2, 8).draw(-1, 0), ValueError, "n must be at least 0"),
        (lambda: PairStream([GREY], 2, 8).draw(1.5, 0), TypeError, "n must be an int"),
        (lambda: pairs_of([GREY], -2, block=2, size=8), ValueError, "n must be at least 0"),
        (lambda: load_photos("nowhere"), ValueError, "folder of pictures"),
        (lambda: draw_scenes(-1), ValueError, "n must be at least 0"),
        (lambda: draw_scenes(1, size=4), ValueError, "size must be at least 8"),
        (lambda: pixel_noise(IMAGES, 3, rng()), ValueError, "whole blocks of 3"),
        (lambda: pixel_noise(IMAGES[0], 2, rng()), ValueError, r"\(N, C, H, W\)"),
        (lambda: block_mean(IMAGES, 0), ValueError, "whole blocks of 0"),
        (lambda: gaussian_noise(IMAGES, -1, rng()), ValueError, "sigma >= 0"),
        (lambda: gaussian_noise(IMAGES, math.nan, rng()), ValueError, "sigma >= 0"),
        (lambda: poisson_noise(IMAGES, 0, rng()), ValueError, "peak > 0"),
        (lambda: psnr(IMAGES, IMAGES[:1]), ValueError, "equal shape"),
        (lambda: psnr(IMAGES[0], IMAGES[0]), ValueError, r"\(N, C, H, W\)"),
        (lambda: psnr(IMAGES[:0], IMAGES[:0]), ValueError, "at least one image"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()

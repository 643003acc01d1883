"""Prediction in pieces that are shared out to threads, and by whole rows of modules: the same numbers, to the last bit,
and nothing of the process's changed."""

import contextlib
import contextvars
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from Proj_Miniproject2.model import Conv2d, Model, ReLU, Sequential, Skip, Upsampling, keeping
from Proj_Miniproject2.others.fast.convolution import rounding
from Proj_Miniproject2.others.fast.machine import alone, in_threads
from Proj_Miniproject2.others.fast.pieces import tiles
from Proj_Miniproject2.others.networks import CameraUNet, UNet

from .textbook import textbook

# ----------------------------------------------------------------------------------------------------------
# Rows of modules


def blocks(draws, channels):
    """A few modules that keep channels and size, some in rows and skips of their own."""
    kind = draws.choice([0, 1, 2, 4, 5] + [3] * (channels <= 64))
    if kind == 0:
        return [Conv2d(channels, channels, 3, padding=1), ReLU()]
    if kind == 1:
        return [ReLU()]
    if kind == 2:
        return [Skip(Conv2d(channels, channels, 3, padding=1), ReLU(), Conv2d(channels, channels, 3, padding=1))]
    if kind == 3:
        wide = 2 * channels
        down, up = Conv2d(channels, wide, 2, stride=2), Upsampling(wide, channels, 2, stride=2)
        return [Skip(down, *blocks(draws, wide), up)]
    if kind == 4:
        return [Sequential(*blocks(draws, channels), Conv2d(channels, channels, 1))]
    return [Skip(Conv2d(channels, channels, 1), cat=True), Conv2d(2 * channels, channels, 1)]


@pytest.mark.parametrize("rounded", [False, True])
@given(draws=st.randoms(use_true_random=False), n=st.integers(1, 3))
def test_rows_predict_what_their_modules_do_one_by_one(rounded, draws, n):
    torch.manual_seed(draws.randint(0, 2**30))
    network = Sequential(*[module for _ in range(draws.randint(1, 4)) for module in blocks(draws, 32)])
    images = torch.randn(n, 32, 24, 28)
    before = images.clone()

    def one_by_one(modules, images):
        for module in modules:
            if type(module) is Sequential:
                images = one_by_one(module, images)
            elif type(module) is Skip:
                made = one_by_one(module.branch, images)
                images = torch.cat([images, made], 1) if module.cat else images + made
            else:
                images = module(images)
        return images

    with rounding(network) if rounded else contextlib.nullcontext():
        expected, nothing_kept = one_by_one(network, images), contextvars.copy_context()
        nothing_kept.run(keeping.set, False)
        found = nothing_kept.run(network, images)
    assert torch.equal(images, before)
    assert torch.equal(found, expected) and found.dtype == torch.float32


def test_what_does_not_fit_is_refused_as_ever():
    wrong = Sequential(Skip(Conv2d(32, 32, 3), ReLU(), Conv2d(32, 32, 3)))
    model = Model()
    model.network = Sequential(Conv2d(3, 32, 1), *wrong, Conv2d(32, 3, 1))
    with pytest.raises(ValueError, match="don't fit together"):
        model.predict(torch.zeros(2, 3, 40, 40, dtype=torch.uint8))
    model.network = Sequential(Conv2d(3, 32, 1), ReLU(), Conv2d(31, 3, 1))
    with pytest.raises(ValueError, match="expected shape"):
        model.predict(torch.zeros(2, 3, 40, 40, dtype=torch.uint8))


# ----------------------------------------------------------------------------------------------------------
# Tiles and threads


@given(size=st.integers(1, 700), grid=st.sampled_from([1, 2, 4, 8]), halo=st.integers(0, 40), room=st.integers(1, 200))
def test_tiles_of_one_size_cover_an_axis_once_with_what_each_pixel_needs(size, grid, halo, room):
    model = Model()
    model.GRID, model.HALO = grid, halo
    model.SIDE = model.on_grid(2 * model.on_grid(halo) + room)
    seen, done = set(), 0
    for outer, inner, place in tiles(model, size):
        assert place.start == done and place.stop > done and outer.start % grid == 0
        done = place.stop
        assert inner.start + outer.start == place.start and inner.stop + outer.start == place.stop
        assert outer.start <= max(0, place.start - halo) and outer.stop >= min(size, place.stop + halo)
        seen.add(outer.stop - outer.start)
    assert done == size and len(seen) == 1 and max(seen) <= max(model.SIDE, 0)


@pytest.fixture
def threads():
    """To change how many torch has."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [CameraUNet, UNet])
def test_two_threads_predict_what_one_does(kind, threads):
    model = kind()
    model.load_pretrained_model()
    model.SIDE, model.VIEWS = 2 * model.HALO + 40, 1
    images, found = torch.randint(256, (1, 3, 170, 190), dtype=torch.uint8), []
    for number in (1, 2, 3):
        threads(number)
        found.append(model.predict(images))
        assert torch.get_num_threads() == number == in_a_new_thread(torch.get_num_threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def in_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_each_thread_multiplies_alone_and_in_order(threads):
    threads(3)
    assert list(in_threads(lambda i: (i, torch.get_num_threads()), range(20))) == [(i, 1) for i in range(20)]
    assert list(in_threads(lambda i: i, iter(range(5)), 5)) == [*range(5)] and list(in_threads(str, [])) == []


def test_who_computes_alone_still_shares_out(threads):
    threads(3)
    with alone():
        assert torch.get_num_threads() == 1 and in_a_new_thread(torch.get_num_threads) == 3
        begun = list(in_threads(lambda i: (threading.get_ident(), torch.get_num_threads()), range(50)))
        assert {number for _, number in begun} == {1} and threading.get_ident() not in dict(begun)
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 3


def test_ctrl_c_and_errors_leave_the_rest_undone(threads):
    threads(2)
    begun = []

    def one(i):
        begun.append(i)
        if i == 3:
            raise KeyboardInterrupt
        return i

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(one, range(1000)))
    assert 3 in begun and len(begun) < 10


def test_the_pieces_are_the_textbooks_but_for_their_tiles():
    """Also of many small images, some at a time, and whatever is in the way of the seams."""
    model, reference = CameraUNet(), CameraUNet()
    for each in (model, reference):
        each.load_pretrained_model()
    reference.pieces = textbook.Model.pieces.__get__(reference)
    for images in (torch.randint(256, (1, 3, 700, 90)), torch.randint(256, (70, 3, 32, 33))):
        assert (model.predict(images.byte()) - reference.predict(images.byte())).abs().max() < 0.02

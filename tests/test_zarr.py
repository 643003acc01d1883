"""OME-Zarr: blocks that leave no seam, levels, several processes, a crash, and what can't be taken."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api import blocks, weights
from Proj_Miniproject2.others.api.blocks import denoise_blocks, noise_of
from Proj_Miniproject2.others.api.way import denoise_array
from Proj_Miniproject2.others.api.weights import trained
from Proj_Miniproject2.others.formats import PLAIN
from Proj_Miniproject2.others.formats import zarr as ours
from Proj_Miniproject2.others.formats.zarr import PART, Copy, Zarr

from .test_denoise import refused
from .test_measured import Darkening

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A network that is quick, and small blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "SIDE", 40)
        patch.setattr(Darkening, "VIEWS", 1)
        model = Darkening()
        model.even = True  # it is told what the noise is, as those shipped are
        patch.setattr(weights, "trained", lambda network, path=None: model)
        yield


def values(*shape, dtype="uint16"):
    return (np.random.default_rng(0).random(shape) * 30_000).astype(dtype)


def draw(path, data, version="0.4", levels=2, axes="czyx", factor=2, **options):
    """An OME-Zarr as others write it, whose levels are every second value, with labels of two levels."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    fill(group, data, version, levels, axes, factor, **options)
    labels = group.create_group("labels", attributes={"labels": ["cells"]}).create_group("cells")
    fill(labels, (data > 9_000).astype("int32"), version, levels, axes, factor, **options)
    return path


def fill(group, data, version, levels, axes, factor, **options):
    datasets, scale = [], np.ones(data.ndim)
    options = {"chunks": (1,) * (data.ndim - 2) + (16, 24)} | options
    for level in range(levels):
        group.create_array(str(level), shape=data.shape, dtype=data.dtype, **options)[...] = data
        steps = [{"type": "scale", "scale": scale.tolist()}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
        data, scale = data[..., ::factor, ::factor], scale * ([1] * (data.ndim - 2) + [factor] * 2)
    scales = [{"axes": [{"name": name} for name in axes], "datasets": datasets, "version": version}]
    group.attrs.update({"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}})


def smooth(plane):
    """The mean of 3 x 3 pixels: what it makes of a block is what it makes of the whole, but for the block's rim."""
    wide = np.pad(plane.astype(float), 1, mode="edge")
    return np.rint(sum(wide[i : i + len(plane), j : j + plane.shape[1]] for i in range(3) for j in range(3)) / 9)


def make(copy, picture, stop=None):
    """A copy in which planes are smoothed; stop: after so many blocks, as if it were killed."""
    for image in picture.images:
        with copy.step():
            for number, block in enumerate(copy.own(picture.blocks(image, 8, 8))):
                if number == stop:
                    raise KeyboardInterrupt
                before, missing = picture.read(block)
                after = np.stack([smooth(plane) for plane in before.reshape(-1, *before.shape[-2:])])
                copy.write(block, np.where(missing, before, after.reshape(before.shape))[block.inner])
        copy.build_levels(image)
    copy.finish()


@pytest.mark.parametrize("gain", [0, 5])
def test_no_seams(gain, tmp_path, monkeypatch):
    """Blocks are what they are in the array denoised as one, to 0.02 of the noise: a network that is shipped."""
    rows, columns = np.mgrid[:150, :260]
    scene = 300 + 150 * np.sin(rows / 23) * np.cos(columns / 31) + columns
    draws = np.random.default_rng(0)
    noisy = draws.poisson(scene / gain) * gain if gain else scene + draws.normal(0, 30, scene.shape)
    data, sd = noisy.astype(np.float32), (noisy - scene).std()
    picture = Zarr(draw(tmp_path / "a.zarr", data[None, None], levels=1, chunks=(1, 1, 75, 87)), PLAIN)
    monkeypatch.setattr(weights, "trained", trained)
    models = weights.chosen(views=1)
    monkeypatch.setattr(ours, "SIDE", 75)
    denoise_blocks(models, picture, Copy(picture, tmp_path / "b.zarr", {}))
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")["0"][0, 0]
    noise = noise_of(picture, picture.images[0], 0, {})
    expected = denoise_array(models, data, noise=noise, whole=False)
    assert len(picture.blocks(picture.images[0])) == 6 and (found - scene).std() < 0.3 * sd
    assert np.abs(found - expected).max() < 0.02 * sd


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mean_of(data, *factors):
    """The mean of blocks, by numpy alone: the last ones may be smaller."""
    shape = [-(-n // f) for n, f in zip(data.shape, factors, strict=True)]
    wide = np.full([n * f for n, f in zip(shape, factors, strict=True)], np.nan)
    wide[tuple(map(slice, data.shape))] = data
    split = wide.reshape([k for n, f in zip(shape, factors, strict=True) for k in (n, f)])
    return np.rint(np.nanmean(split, axis=tuple(range(1, split.ndim, 2)))).astype(data.dtype)


LAYOUTS = {
    "0.4": ("0.4", {}),
    "0.5": ("0.5", {"dimension_names": list("czyx")}),
    "shards": ("0.5", {"chunks": (1, 1, 16, 24), "shards": (1, 2, 32, 24), "compressors": zarr.codecs.GzipCodec()}),
    "factor 3": ("0.4", {"factor": 3, "levels": 3}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_levels_and_all_else(layout, tmp_path):
    version, options = LAYOUTS[layout]
    data, factor = values(2, 3, 53, 61), options.get("factor", 2)
    path, out = draw(tmp_path / "a.zarr", data, version, **options), tmp_path / "b.zarr"
    picture, before = Zarr(path, PLAIN), files(path)
    make(Copy(picture, out, {}), picture)
    expected = np.stack([smooth(plane) for plane in data.reshape(-1, 53, 61)]).reshape(data.shape)
    found = zarr.open_group(out, mode="r")
    for level in range(options.get("levels", 2)):
        assert np.array_equal(found[str(level)][...], expected) and found[str(level)].dtype == data.dtype
        expected = mean_of(expected, 1, 1, factor, factor)
    after = files(out)
    assert after.keys() == before.keys() == files(path).keys() and files(path) == before
    same = {name for name in before if name.name in ours.METADATA or name.parts[0] == "labels"}
    assert len(same) > 6 and all(after[name] == before[name] for name in same)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]


def test_levels_that_lost_an_odd_end(tmp_path):
    """As those who cut an odd row and column make them."""
    path = draw(tmp_path / "a.zarr", values(1, 1, 41, 33), levels=1)
    root = zarr.open_group(path)
    root.create_array("1", shape=(1, 1, 20, 16), chunks=(1, 1, 9, 9), dtype="uint16")
    scales = root.attrs["multiscales"]
    scales[0]["datasets"].append({"path": "1"})
    root.attrs["multiscales"] = scales
    picture = Zarr(path, PLAIN)
    make(Copy(picture, tmp_path / "b.zarr", {}), picture)
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert np.array_equal(found["1"][...], mean_of(found["0"][..., :40, :32], 1, 1, 2, 2))


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 1, 16, 24), "shards": (1, 1, 32, 48)}])
def test_what_was_never_stored_stays_so(options, tmp_path):
    """An array of 10^16 pixels, of which two chunks are there."""
    group = zarr.create_group(tmp_path / "a.zarr")
    fill(group, values(1, 1, 16, 24), "0.5", 1, "czyx", 2)
    shutil.rmtree(tmp_path / "a.zarr" / "0")
    options = {"chunks": (1, 1, 16, 24), "fill_value": 7} | options
    array = group.create_array("0", shape=(1, 1, 10**8, 10**8), dtype="uint16", **options)
    array[0, 0, :16, :24] = array[0, 0, -64:-48, 480:504] = values(16, 24)
    picture = Zarr(tmp_path / "a.zarr", PLAIN)
    make(Copy(picture, tmp_path / "b.zarr", {}), picture)
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")["0"]
    assert files(tmp_path / "a.zarr").keys() == files(tmp_path / "b.zarr").keys()
    assert (found[0, 0, 16:32, :24] == 7).all() and not np.array_equal(found[0, 0, :16, :24], array[0, 0, :16, :24])


def test_a_crash_and_on(tmp_path):
    data, out = values(1, 2, 90, 61), tmp_path / "b.zarr"
    picture = Zarr(draw(tmp_path / "a.zarr", data), PLAIN)
    with pytest.raises(KeyboardInterrupt):
        make(Copy(picture, out, {"strength": 1}), picture, stop=3)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", f"b.zarr{PART}"]
    stale = tmp_path / f"b.zarr{PART}" / "b.zarr" / "0" / f"0.0.0{ours.LEFT}"  # as zarr leaves one
    stale.write_bytes(b"half")
    copy, whole = Copy(picture, out, {"strength": 1}, resume=True), len(picture.blocks(picture.images[0]))
    assert len(copy.own(picture.blocks(picture.images[0]))) == whole - 3 > 3
    make(copy, picture)
    make(Copy(picture, tmp_path / "c.zarr", {}), picture)
    assert files(out) == files(tmp_path / "c.zarr") and sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr", "c.zarr"]
    for about, resume in (({"strength": 2}, True), ({"strength": 1}, False)):  # of another run; or from the beginning
        with pytest.raises(KeyboardInterrupt):
            make(Copy(picture, out, {"strength": 1}), picture, stop=3)
        assert len(Copy(picture, out, about, resume).own(picture.blocks(picture.images[0]))) == whole


def test_two_runs_do_not_get_into_each_others_way(tmp_path):
    data, out = values(1, 2, 90, 61), tmp_path / "b.zarr"
    picture = Zarr(draw(tmp_path / "a.zarr", data), PLAIN)
    first = Copy(picture, out, {"strength": 1})
    for resume in (False, True):
        with pytest.raises(OSError, match="another run is at work"):
            Copy(picture, out, {"strength": 2}, resume)
    make(first, picture)
    make(Copy(picture, tmp_path / "c.zarr", {}), picture)
    assert files(out) == files(tmp_path / "c.zarr") and sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr", "c.zarr"]


def test_three_processes_share_a_zarr(tmp_path):
    """Here as threads; each block is done once."""
    picture = Zarr(draw(tmp_path / "a.zarr", values(1, 2, 90, 61)), PLAIN)
    make(Copy(picture, tmp_path / "b.zarr", {}), picture)
    barrier, written = threading.Barrier(3, timeout=60), []

    @contextlib.contextmanager
    def together():
        yield
        barrier.wait()

    class Counted(Copy):
        def write(self, block, values):
            written.append((self.share[0], ours.name_of(block)))
            super().write(block, values)

    def one(number):
        make(Counted(picture, tmp_path / "c.zarr", {}, share=(number, 3), together=together), picture)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert files(tmp_path / "c.zarr") == files(tmp_path / "b.zarr")
    assert len({name for _, name in written}) == len(written) and {number for number, _ in written} == {0, 1, 2}


def run(folder, *options):
    main(["denoise", str(folder / "in"), "--out", str(folder / "out"), *options])


def test_the_command(tmp_path):
    data = values(2, 1, 53, 61)
    (tmp_path / "in").mkdir()
    draw(tmp_path / "in" / "a.zarr", data)
    np.save(tmp_path / "in" / "b.npy", data[0, 0])
    run(tmp_path, "--compare")
    found, both = (zarr.open_group(tmp_path / "out" / name, mode="r") for name in ("a.zarr", "a-compare.zarr"))
    assert not np.array_equal(found["0"][...], data)
    assert np.array_equal(both["0"][...], np.concatenate([data, found["0"][...]], 3)) and both["1"].shape[-1] == 61
    again = files(tmp_path / "out")
    run(tmp_path, "--compare", "--resume")
    assert files(tmp_path / "out") == again
    with pytest.raises(SystemExit):
        run(tmp_path)
    run(tmp_path, "--overwrite")
    assert {name: content for name, content in again.items() if "compare" not in str(name)}.items() <= files(
        tmp_path / "out"
    ).items()


def test_a_few_chunks_are_asked_for_at_a_time(tmp_path, monkeypatch):
    """Of chunks that are deep fewer rows and columns: of none is more read than MOST and what is around that."""
    monkeypatch.setattr(ours, "MOST", 2 * 8 * 40**2)
    monkeypatch.setattr(ours, "SIDE", 400)
    monkeypatch.setattr(blocks, "AROUND", 1)
    monkeypatch.setattr(Darkening, "HALO", 7)
    monkeypatch.setattr(blocks, "denoise_array", lambda models, array, **options: array)
    asked, get = [], zarr.Array.__getitem__

    def counted(array, place):
        values = get(array, place)
        asked.append(values.nbytes)
        return values

    path = draw(tmp_path / "a.zarr", values(1, 8, 180, 120), levels=1, chunks=(1, 8, 60, 20))
    monkeypatch.setattr(zarr.Array, "__getitem__", counted)
    main(["denoise", str(path), "--out", str(tmp_path / "out"), "--overwrite"])
    main(["noise", str(path)])
    around = 2 * 8 + 15  # the network's halo, from a multiple of 16 on
    assert max(asked) <= 2 * 8 * (60 + around) * (40 + around) and sum(asked) > 2 * 8 * 180 * 120


def test_channels_have_noise_of_their_own_and_an_empty_one_has_none(tmp_path, capsys):
    """One of three was never stored: it stays so, and the others are denoised."""
    draws = np.random.default_rng(0)
    data = np.stack([draws.normal(500, 20, (2, 64, 64)), np.zeros((2, 64, 64)), draws.normal(900, 80, (2, 64, 64))])
    (tmp_path / "in").mkdir()
    path = draw(tmp_path / "in" / "a.zarr", data.astype("uint16"), levels=1)
    main(["noise", str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("a.zarr: 6 pages") and lines[4:6] == ["  channel 2:", "  empty"]
    for line, name, sd in ((1, "channel 1:", 20), (6, "channel 3:", 80)):
        found = float(lines[line + 1].rpartition(" ")[2])
        assert lines[line].strip() == name and found == pytest.approx(sd, rel=0.1)
    run(tmp_path)
    found = zarr.open_group(tmp_path / "out" / "a.zarr", mode="r")["0"][...]
    assert [np.array_equal(*both) for both in zip(found, data.astype("uint16"), strict=True)] == [False, True, False]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_floats_for_integers_block_by_block(version, tmp_path, monkeypatch):
    data = values(1, 2, 90, 61)
    (tmp_path / "in").mkdir()
    draw(tmp_path / "in" / "a.zarr", data, version)
    run(tmp_path)
    rounded = zarr.open_group(tmp_path / "out" / "a.zarr", mode="r")["0"][...]
    monkeypatch.setattr(Zarr, "pages", None)  # which are larger than memory
    run(tmp_path, "--dtype", "float32", "--overwrite")
    found, smaller = (zarr.open_group(tmp_path / "out" / "a.zarr", mode="r")[level][...] for level in "01")
    assert found.dtype == np.float32 and (found % 1 > 0).mean() > 0.9
    assert np.abs(found.clip(0, 65535) - rounded).max() < 0.51
    assert smaller.dtype == np.float32 and smaller[0, 0, 0, 0] == pytest.approx(found[0, 0, :2, :2].mean())


def test_nothing_is_written_into_an_input(tmp_path, capsys):
    path = draw(tmp_path / "a.zarr", values(1, 1, 20, 20))
    before = files(path)
    for out in (path, path / "0", tmp_path):
        refused(capsys, lambda out=out: main(["denoise", str(path), "--out", str(out), "--overwrite"]), 2)
        assert files(path) == before


def test_torchrun(tmp_path):
    """Two processes: the files by turns, the blocks of a zarr together, and a line for what failed in either."""
    data = values(1, 2, 53, 61)
    (tmp_path / "in").mkdir()
    draw(tmp_path / "in" / "a.zarr", data, levels=1)
    shutil.copytree(tmp_path / "in" / "a.zarr", tmp_path / "in" / "bad.zarr")
    (tmp_path / "in" / "bad.zarr" / "0" / "0.1.2.1").write_bytes(b"bad")
    for number in range(3):
        np.save(tmp_path / "in" / f"{number}.npy", data[0, 0, :20])
    (tmp_path / "in" / "x.npy").write_bytes(b"\x93NUMPY\x01\0v\0")
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2 -m -- Proj_Miniproject2.others denoise"
    command = [sys.executable, *torchrun.split(), tmp_path / "in", "--out", tmp_path / "out", "--views", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode and "4 pictures denoised" in done.stdout, done.stderr
    assert "2 of 6 pictures failed" in done.stderr and done.stderr.count("bad.zarr: 0 is damaged") == 1
    assert sorted(os.listdir(tmp_path / "out")) == ["0.npy", "1.npy", "2.npy", "a.zarr"]
    assert not np.array_equal(zarr.open_group(tmp_path / "out" / "a.zarr", mode="r")["0"][...], data)


# ----------------------------------------------------------------------------------------------------------
# What can't be taken


def loop(path):
    draw(path, values(1, 1, 20, 20))
    (path / "labels" / "cells" / "more").symlink_to(path)


def pipe(path):
    draw(path, values(1, 1, 20, 20))
    os.mkfifo(path / "0" / "0.0.5.5")


def damaged(path):
    draw(path, values(1, 1, 90, 60))
    (path / "0" / "0.0.4.1").write_bytes(b"no chunk")


def too_large(path):
    draw(path, values(1, 1, 20, 20))
    (path / "0" / "0.0.0.0").write_bytes(bytes(2**21))


def huge(path):
    draw(path, values(1, 1, 20, 20))
    zarr.open_group(path).create_array(
        "0", shape=(1, 1, 10**6, 10**6), chunks=(1, 1, 10**6, 10**6), dtype="uint16", overwrite=True
    )


def uneven(path):
    draw(path, values(1, 1, 20, 20))
    zarr.open_group(path).create_array("1", shape=(1, 1, 10, 9), dtype="uint16", overwrite=True)


def nowhere(path):
    root = zarr.open_group(draw(path, values(1, 1, 20, 20)))
    scales = root.attrs["multiscales"]
    scales[0]["datasets"][0]["path"] = "../b.zarr/0"
    root.attrs["multiscales"] = scales


BAD = {
    "a loop": (loop, "labels/cells/more is a link that leads back"),
    "a pipe": (pipe, "0/0.0.5.5 is no file"),
    "damaged": (damaged, "0 is damaged in 0 to 1, 0 to 1"),
    "too large": (too_large, "0/0.0.0.0 is larger than what it should hold"),
    "huge": (huge, "0 has chunks of 1.86e+03 GiB"),
    "uneven": (uneven, "1 has an axis of 9 made of 20: expected levels that are smaller by whole factors"),
    "nowhere": (nowhere, "has no array '../b.zarr/0'"),
    "complex": (lambda path: draw(path, values(1, 1, 20, 20, dtype=complex)), "0 holds complex128"),
    "axes": (lambda path: draw(path, values(1, 1, 20, 20), axes="yxcz"), "expected the last two to be y, x"),
    "array alone": (lambda path: zarr.create_array(path, data=values(20, 20)), "holds no image of OME-Zarr"),
    "group alone": (lambda path: zarr.create_group(path), "holds no image of OME-Zarr"),
    "empty": (lambda path: path.mkdir(), "holds no image of OME-Zarr"),
    "no json": (lambda path: draw(path, values(1, 1, 20, 20)) and (path / "0" / ".zarray").write_text("{"), "0"),
}  # fmt: skip


def test_what_cannot_be_taken_is_named_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name, (make_bad, _) in BAD.items():
        make_bad(tmp_path / "in" / f"{name}.zarr")
    np.save(tmp_path / "in" / "good.npy", values(31, 20))
    printed = refused(capsys, lambda: run(tmp_path), 1)
    lines = dict(line.removeprefix(f"{tmp_path}/in/").split(".zarr: ", 1) for line in printed.splitlines()[1:])
    assert lines.keys() == BAD.keys() and os.listdir(tmp_path / "out") == ["good.npy"]
    for name, (_, message) in BAD.items():
        assert message in lines[name]

"""The command `noise2noise denoise`, whole processes, beside an earlier version of it, in alternation.

    python -m benchmarks.command [--quick] [--before COMMIT] [--rounds N] [TASK ...]

The other version is checked out to a temporary folder by `git worktree`. Each task is done by both in turn, on a quiet
machine and while one other process keeps a core busy, with all threads and with one: the median of the seconds, their
ratio, the processor's seconds and the peak of memory in MB. All pictures are drawn. The result,
benchmarks/results/command-UNITS.json, is named by the processor's vector units. Keep the machine quiet: half an hour.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.noise.kinds import gaussian_noise
from Proj_Miniproject2.others.pairs.scenes import draw_scenes

from .speed import RESULTS, machine

BEFORE = "1f0b087"
ROOT = Path(__file__).parents[1]
BUSY = "while True: pass"
# A small process that starts another one and says what it used: of a process that a large one starts, Linux counts that
# one's memory, too.
STARTER = """import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)"""


def photo(folder):
    """A JPEG of 12 megapixels"""
    save(draw_scenes(1, size=1000, seed=1)[0].repeat(1, 3, 4), 15, folder / "photo.jpg")


def folder_of_photos(folder):
    """20 JPEGs of 0.15 megapixels"""
    for i, scene in enumerate(draw_scenes(20, size=480, seed=2)):
        save(scene[:, :320], 15, folder / f"{i:02}.jpg", i)


def stack(folder):
    """A .npy of 60 pages of 512 x 512, uint16"""
    pages = [scene[0] for scene in draw_scenes(60, size=512, seed=3)]
    noise = np.random.default_rng(0).normal(0, 600, (60, 512, 512))
    np.save(folder / "stack.npy", (100.0 * torch.stack(pages).numpy() + noise).clip(0, 65535).astype(np.uint16))


def save(scene, sigma, path, seed=0):
    from PIL import Image

    noisy = gaussian_noise(scene, sigma, torch.Generator().manual_seed(seed))
    Image.fromarray(noisy.permute(1, 2, 0).numpy()).save(path, quality=92)


TASKS = {"photo of 12 MP": photo, "20 photos of 0.15 MP": folder_of_photos, "60 x 512 x 512, uint16": stack}


@contextlib.contextmanager
def checked_out(commit):
    """A folder with another version of this repository."""
    with tempfile.TemporaryDirectory() as folder:
        there = str(Path(folder, "there"))
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--quiet", there, commit], check=True)
        try:
            yield there
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", there], check=True)


@contextlib.contextmanager
def other_process(busy):
    """With a process beside us that keeps a core busy, if asked for."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def measured(version, pictures, threads):
    """(seconds, the processor's seconds, peak in MB) of the command in the folder of a version."""
    out = tempfile.mkdtemp()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "Proj_Miniproject2.others", "denoise", str(pictures), "--out", out]
    begin = time.perf_counter()
    starter = [sys.executable, "-S", "-c", STARTER, *command]
    said = subprocess.run(starter, cwd=version, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds = time.perf_counter() - begin
    shutil.rmtree(out)
    status, used, peak = map(float, said.split())
    if status:
        raise RuntimeError(f"{' '.join(command)} in {version} ended with status {status:.0f}")
    return seconds, used, peak


def compared(versions, pictures, threads, busy, rounds):
    """The medians of both versions, in turn, and the ratio of their seconds."""
    found = {name: [] for name in versions}
    with other_process(busy):
        for _ in range(rounds):
            for name, version in versions.items():
                found[name].append(measured(version, pictures, threads))
    names = "seconds", "processor seconds", "MB"
    medians = {
        name: dict(zip(names, map(statistics.median, zip(*runs, strict=True)), strict=True))
        for name, runs in found.items()
    }
    return medians | {"ratio": medians["before"]["seconds"] / medians["now"]["seconds"]}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"some of {', '.join(TASKS)}, instead of all")
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help="the other version (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each has its turn (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small task and no results file: does it run?")
    args = parser.parse_args(args)
    tasks = {name: TASKS[name] for name in args.tasks or TASKS}
    results = {"machine": machine(), "before": args.before, "tasks": {}}
    with checked_out(args.before) as before, tempfile.TemporaryDirectory() as folder:
        versions = {"before": before, "now": str(ROOT)}
        for number, (name, draw) in enumerate(tasks.items()):
            pictures = Path(folder, str(number))
            pictures.mkdir()
            draw(pictures)
            found = results["tasks"][name] = {}
            for busy in (False, True):
                for threads in sorted({1, os.cpu_count()}, reverse=True):
                    label = f"{'busy' if busy else 'quiet'}, {threads} threads"
                    found[label] = compared(versions, pictures, threads, busy, 1 if args.quick else args.rounds)
                    now, then = found[label]["now"], found[label]["before"]
                    shown = ", ".join(f"{k} {then[k]:.1f} -> {now[k]:.1f}" for k in now)
                    print(f"{name}, {label}: {found[label]['ratio']:.2f} times as fast; {shown}", flush=True)
                    if args.quick:
                        return
    if not args.tasks:
        write_json(results, RESULTS / f"command-{results['machine']['units']}.json")


if __name__ == "__main__":
    main()

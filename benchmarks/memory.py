"""Peak memory of the report's network beside torch.nn, each task in a process of its own.

    python -m benchmarks.memory

MiB above what the process holds when the network is made and the data are drawn, the median of several processes, as
malloc's leftovers differ from one to the next: benchmarks/results/memory.json. Seven minutes. Linux and macOS.
"""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.formats.files import write_json

from .speed import RESULTS, VERSIONS, machine

TASKS = {
    "training step, batch 64": (64, 3, 32, 32),
    "predict 1000 x 32 x 32": (1000, 3, 32, 32),
    "predict 1 x 512 x 512": (1, 3, 512, 512),
    "predict 1 x 4096 x 4096": (1, 3, 4096, 4096),
}
OURS_ALONE = "predict 1 x 4096 x 4096"  # torch.nn takes all of the image at once, some 30 GB
PROCESSES = 9
COMPARED = ("ours", "torch.nn", "torch.nn, channels_last")


def peak():
    """MiB that this process has held at most."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(task, version):
    """MiB that a task takes, in this process: it should be a fresh one."""
    network = VERSIONS[version](m.Model())
    images = torch.randint(256, TASKS[task], dtype=torch.uint8)
    if task.startswith("training"):
        images = images / 255
        network.step(images[:1], images[:1])  # makes the optimiser's state, and loads torch's libraries
    else:
        network.predict(images[:1, :, :32, :32])
    before = peak()
    network.step(images, images) if task.startswith("training") else network.predict(images)
    return peak() - before


def main(args=None):
    args = sys.argv[1:] if args is None else args
    if args:  # a child
        print(json.dumps(measure(*args)))
        return
    results = {"machine": machine(), "MiB": {}}
    for task in TASKS:
        for version in ("ours",) if task == OURS_ALONE else COMPARED:
            command = [sys.executable, "-m", "benchmarks.memory", task, version]
            runs = [
                subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
                for _ in range(PROCESSES)
            ]
            peaks = [json.loads(run.stdout) for run in runs]
            results["MiB"].setdefault(task, {})[version] = round(statistics.median(peaks))
        print(task, results["MiB"][task], flush=True)
    write_json(results, RESULTS / "memory.json")


if __name__ == "__main__":
    main()

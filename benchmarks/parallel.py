"""Training by two processes with a thread each, beside one process with two threads, on this machine.

    python -m benchmarks.parallel [--quick]

Images a second for several batches (of both processes together), the bytes of a step's message, and the share of the
time that goes in it, waiting for the other process included. The result, benchmarks/results/parallel-UNITS.json, is
named as that of benchmarks.speed. `speedup` makes a prediction of it for many machines. Keep the machine quiet: about
five minutes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import distributed

from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.networks import NETWORKS
from Proj_Miniproject2.others.training import processes
from Proj_Miniproject2.others.training.recipe import Recipe

from .speed import RESULTS, machine

STEPS = {"report": {8: 100, 32: 50, 128: 15}, "unet": {8: 20, 32: 8, 128: 3}}  # network: batch: steps
ROUNDS = 3  # in each of which both have their turn; the median counts
BANDWIDTH = 10e9 / 8  # bytes a second between machines
LATENCY = 50e-6  # seconds until a machine's neighbour has the first of them


def measure(network, batch, steps):
    """Seconds a step in this process, the share of them in messages, and a message's bytes: a dict for JSON."""
    seconds, sizes, begin = [], [], 0
    all_reduce = distributed.all_reduce

    def timed(message):
        start = time.perf_counter()
        all_reduce(message)
        seconds.append(time.perf_counter() - start)
        sizes.append(message.nbytes)

    def pairs(epoch):  # a first epoch to warm up
        nonlocal begin
        seconds.clear()
        images = torch.randint(256, (2, processes.part(batch) * (steps if epoch else 2), 3, 32, 32), dtype=torch.uint8)
        begin = time.perf_counter()
        return tuple(images)

    distributed.all_reduce = timed
    try:
        recipe = Recipe(num_epochs=2, batch_size=batch, precision="float32")
        processes.joined(NETWORKS[network])().fit(pairs, recipe=recipe)
    finally:
        distributed.all_reduce = all_reduce
    total = time.perf_counter() - begin
    return {"seconds": total / steps, "share": sum(seconds) / total, "bytes": max(sizes, default=0)}


def in_processes(count, threads, *task):
    """What `measure` gives in the first of so many fresh processes, which train together."""
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {count}".split() if count > 1 else []
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "benchmarks.parallel", "--task", *map(str, task)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def median(runs):
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


# On paper


def message_seconds(size, machines):
    """What averaging so many bytes takes in a ring: each machine sends its neighbour 2 (n - 1) parts of 1 / n."""
    return 2 * (machines - 1) * (size / machines / BANDWIDTH + LATENCY)


def speedup(batches, batch, machines):
    """How many times as fast as one machine, which takes a + b batch seconds, so many are if they share the batch.

    batches: a network's results, from which a and b are
    """
    alone = {int(size): found["one"]["seconds"] for size, found in batches.items()}
    b, a = statistics.linear_regression(list(alone), list(alone.values()))
    size = max(found["two"]["bytes"] for found in batches.values())
    a = max(a, 0)
    return (a + b * batch) / (a + b * batch / machines + message_seconds(size, machines))


def batch_for(batches, machines, goal):
    """The smallest batch, of powers of two, with which so many machines are `goal` times as fast as one."""
    sizes = (2**k for k in range(math.ceil(math.log2(machines)), 40))
    return next(batch for batch in sizes if speedup(batches, batch, machines) > goal)


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two steps of each and no results file: does it run?")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)  # a child's: network, batch, steps
    args = parser.parse_args(args)
    if args.task:
        network, batch, steps = args.task
        with processes.only_first_speaks(), processes.group():
            print(json.dumps(measure(network, int(batch), int(steps))))
        return
    results = {"machine": machine(), "networks": {}}
    tasks = [(network, batch, steps) for network, batches in STEPS.items() for batch, steps in batches.items()]
    for network, batch, steps in [("report", 4, 2)] if args.quick else tasks:
        runs = {"one": [], "two": []}
        for _ in range(1 if args.quick else ROUNDS):
            runs["one"].append(in_processes(1, 2, network, batch, steps))
            runs["two"].append(in_processes(2, 1, network, batch, steps))
        found = {name: median(several) for name, several in runs.items()}
        results["networks"].setdefault(network, {})[str(batch)] = found
        speeds = {name: f"{batch / run['seconds']:.0f} images/s" for name, run in found.items()}
        print(f"{network}, batch {batch}: {speeds}, {found['two']['share']:.0%} in messages", flush=True)
    if not args.quick:
        write_json(results, RESULTS / f"parallel-{results['machine']['units']}.json")


if __name__ == "__main__":
    main()

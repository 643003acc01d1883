"""The benchmark runs, counts right, and notices a version that computes something else. No timing is asserted."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import speed

CPU = torch.device("cpu")
TINY = speed.Sizes(
    batches=(2,), images=3, side=20, huge=24, memory_batch=2, products=((8, 16, 4),),
    imports=1, pairs=2, fits=1, seconds=0, rounds=2,
)  # fmt: skip
linux = pytest.mark.skipif(not speed.CLEAR_REFS.exists(), reason="peak memory is measured on Linux")


@pytest.mark.parametrize("side", [8, 32])
def test_direct_flops_are_torchs_count(side):
    network, x = speed.reference(), torch.rand(1, 3, side, side)
    with FlopCounterMode(display=False) as forward:
        output = network(x)
    with FlopCounterMode(display=False) as backward:
        F.mse_loss(output, x).backward()
    counts = forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()
    assert speed.direct_flops(side) == counts


def test_all_versions_agree():
    differences = speed.check(CPU, TINY, 1e-5)
    assert list(differences) == speed.VERSIONS
    # two versions that were one and the same would agree to the last bit
    for name, found in differences.items():
        assert name == "torch, contiguous" or all(0 < found[what] for what in ("outputs", "gradients")), name


@pytest.mark.parametrize(
    "name, what", [("ours", "gradients"), ("autocast, channels_last", "outputs"), ("textbook", "predictions")]
)
def test_a_wrong_version_is_found(name, what, monkeypatch):
    make = speed.make

    def spoil(wanted, device):
        version = make(wanted, device)
        if wanted == name:
            method = {"outputs": "backward", "gradients": "grads", "predictions": "predict"}[what]
            right = getattr(version, method)
            wrong = {
                "outputs": lambda x, target: right(x, target) * 1.1,
                "gradients": lambda: [*right()[:-1], right()[-1] * math.nan],
                "predictions": lambda images: right(images).roll(1, 3),
            }[what]
            setattr(version, method, wrong)
        return version

    monkeypatch.setattr(speed, "make", spoil)
    monkeypatch.setattr(speed, "VERSIONS", ["torch, contiguous", name])
    with pytest.raises(SystemExit, match=f"{name} differs from torch.nn in its {what}"):
        speed.check(CPU, TINY, 1e-5)


def test_versions_are_measured_in_turn():
    calls = []
    functions = {name: lambda repeats, name=name: calls.append(name) for name in "abc"}
    rounds = speed.alternate(functions, CPU, speed.replace(TINY, rounds=4))
    assert calls == list("aabbcc") + 4 * list("abc")  # each twice to warm up
    assert [set(r) for r in rounds] == 4 * [{"a", "b", "c"}]


def test_table():
    rounds = [
        {"ours": 1 * k, "ours bf16": 0.5 * k, "torch, contiguous": 2 * k, "torch, channels_last": ratio * k}
        for k, ratio in zip((1, 10, 100, 1, 1), (1, 1.5, 4, 3, 2.5), strict=True)  # the machine was busy
    ]
    result = speed.table(rounds, images=8, flops=1e9, best_product=16)
    assert result["best"]["torch"] == "torch, contiguous" and result["rounds"] == 5
    row = result["versions"]["torch, channels_last"]
    assert row["ours_faster"] == {"median": 2.5, "quartiles": [1.5, 3]}
    assert row["ours_bf16_faster"] == {"median": 5, "quartiles": [3, 6]}
    row = result["versions"]["torch, contiguous"]
    assert row["images_per_second"] == 4 and row["gflops"] == 4 and row["share_of_best_product"] == 0.25


@linux
@pytest.mark.parametrize("task", ["train: ours", "batch: ours"])
def test_peak_memory(task, monkeypatch):
    """A version that holds 40 MiB all the time and needs 64 MiB more in passing has a peak of 64 MiB."""

    class Hungry:
        held = torch.ones(10 * 2**20)

        def predict(self, images):
            if len(images) > 1:
                torch.ones(16 * 2**20)

    monkeypatch.setattr(speed, "make", lambda name, device: Hungry())
    monkeypatch.setattr(speed, "train", lambda version, x, target, steps: version.predict(x))
    assert 63 < speed.peak_memory(task, TINY)["peak_mib"] < 80


@linux
def test_main(tmp_path, monkeypatch, capsys):
    started = []

    def child(*arguments):
        """The first process of two kinds is real; the others' answers are made up."""
        started.append(arguments)
        kinds = [a[0] if a[0] == "-c" else a[3].partition(":")[0] for a in started]
        real = kinds.count(kinds[-1]) == 1 and kinds[-1] in ("-c", "train")
        return run_child(*arguments) if real else {"peak_mib": 1.0, "seconds": 1.0}

    run_child = speed.child
    monkeypatch.setattr(speed, "child", child)
    monkeypatch.setattr(speed, "QUICK", TINY)
    monkeypatch.setattr(speed, "TURN", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state()
    out = tmp_path / "new" / "speed.json"
    speed.main(["--quick", "--out", str(out)])
    after = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state()
    assert before[:2] == after[:2] and [path.name for path in out.parent.iterdir()] == ["speed.json"]

    results = json.loads(out.read_text())
    assert {"machine", "sizes", "cpu", "memory", "recipe", "import_seconds", "goals"} <= set(results)
    assert set(results["machine"]) == {"processor", "threads", "torch", "system"}
    assert set(results["cpu"]["training"]["2"]["versions"]) == set(speed.VERSIONS)
    assert set(results["cpu"]["predict"]) == {"3 x 32 x 32", "1 x 20 x 20"}
    assert all(math.isfinite(value) and value > 0 for _, value, _, _ in results["goals"])
    printed = capsys.readouterr().out
    assert "training step, batch 2" in printed and "written to" in printed
    # the processes work with the same number of threads and the same sizes
    assert all(a[-3:] == ("--threads", str(before[0]), "--quick") for a in started if a[0] == "-m")


@pytest.mark.parametrize(
    "arguments",
    [["--threads", "0"], ["--threads", "two"], ["--fast"], ["--memory", "ours"], ["--memory", "train: theirs"]],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        speed.main(arguments)
    assert error.value.code == 2 and "error:" in capsys.readouterr().err


def test_a_failing_child_is_an_error():
    with pytest.raises(speed.subprocess.CalledProcessError):
        speed.child("-c", "import sys; sys.exit(3)")
    assert speed.child("-c", "print(2.5)") == 2.5

"""Settings of the whole suite, for machines that may be busy, and what the textbook's tests run with and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from Proj_Miniproject2.others.fast import convolution

from .textbook import take_out

# A fixture is set up once for all examples of a test; those here hold nothing that an example changes.
UNCHECKED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("suite", deadline=None, suppress_health_check=UNCHECKED)
# For `tests.mutations`, to whom it is enough that a test fails.
settings.register_profile("unshrunk", settings.get_profile("suite"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("suite")

# The tensors are small, and a thread that waits for a busy core costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def predictions_in_float32():
    """On every machine, so that tests may ask for the last digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "fastest_dtype", lambda device: torch.float32)
        yield


@pytest.fixture(params=[True, False], ids=["put in", "textbook"])
def put_in(request):
    """Whether model.py has what the package puts in: a test that asks for this runs with all of it and with none."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            take_out(patch)
        yield request.param


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with the course's two files: smooth images, 103 of them for the last batch to be short."""
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(103, 3, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3) * 155 + 50
    noisy = [(clean + 15 * torch.randn(clean.shape, generator=generator)).clamp(0, 255).byte() for _ in range(2)]
    torch.save(tuple(noisy), folder / "train_data.pkl")
    torch.save((noisy[0], clean.byte()), folder / "val_data.pkl")
    return folder


@pytest.fixture
def grade_apart(data):
    """`python test.py -p folder`, as people run it, but on fewer images: the finished process."""

    def run(folder, cwd):
        command = [sys.executable, Path(__file__).parents[1] / "test.py", "-p", folder, "-d", data]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)

    return run

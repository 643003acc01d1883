"""Settings of the whole suite, for machines that may be busy, and what the textbook's tests run with and without."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from .textbook import take_out

# A fixture is set up once for all examples of a test; those here hold nothing that an example changes.
UNCHECKED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("suite", deadline=None, suppress_health_check=UNCHECKED)
# For `tests.mutations`, to whom it is enough that a test fails.
settings.register_profile("unshrunk", settings.get_profile("suite"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("suite")

# The tensors are small, and a thread that waits for a busy core costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture(params=[True, False], ids=["put in", "textbook"])
def put_in(request):
    """Whether model.py has what the package puts in: a test that asks for this runs with all of it and with none."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            take_out(patch)
        yield request.param

"""Settings of the whole suite, for machines that may be busy."""

import torch
from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# The tensors are small, and a thread that waits for a busy core costs more than it brings.
torch.set_num_threads(1)

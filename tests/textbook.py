"""The textbook alone, for tests and fuzzer: `model.py` without what the package's `__init__.py` puts into it."""

import importlib.util

from Proj_Miniproject2 import model as m

spec = importlib.util.spec_from_file_location("textbook", m.__file__)
textbook = importlib.util.module_from_spec(spec)
spec.loader.exec_module(textbook)


def take_out(patch):
    """Put the textbook's own parts back, by a `pytest.MonkeyPatch` that remembers the better ones."""
    patch.setattr(m.Convolution, "faster", textbook.Convolution.faster)
    patch.setattr(m.Sequential, "forward", textbook.Sequential.forward)
    patch.setattr(m.Model, "running", textbook.Model.running)
    patch.setattr(m.Model, "pieces", textbook.Model.pieces)
    patch.setattr(m.Model, "Training", m.Training)
    for name in ("read", "write"):
        patch.setattr(m.Model, name, vars(textbook.Model)[name])

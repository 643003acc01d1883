"""Convolutions in less time: `faster` is for `model.Convolution.faster`, `shortcut` for `model.Sequential.shortcut`,
`running` and `pieces` for `model.Model`'s."""

from .convolution import faster, running
from .pieces import pieces
from .prediction import shortcut

__all__ = ["faster", "pieces", "running", "shortcut"]

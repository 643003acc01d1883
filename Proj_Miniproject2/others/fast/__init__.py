"""Convolutions in less time: `faster` is for `model.Convolution.faster`, `forward` for `model.Sequential.forward`,
`running` and `pieces` for `model.Model`'s."""

from .convolution import faster, running
from .pieces import pieces
from .prediction import forward

__all__ = ["faster", "forward", "pieces", "running"]

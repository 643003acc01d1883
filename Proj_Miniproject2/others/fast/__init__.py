"""Convolutions in less time: `faster` is for `model.Convolution.faster`, and `running` for `model.Model.running`."""

from .convolution import faster, running

__all__ = ["faster", "running"]

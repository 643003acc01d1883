"""How networks learn more: `Training` is what `model.Model.Training` becomes in this package."""

from .by_recipe import Training

__all__ = ["Training"]

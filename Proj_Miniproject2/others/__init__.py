"""Data, noise and measures around the framework. `model.py` needs none of it."""

"""Noise2Noise image denoising with a framework written from scratch: see `model.py`."""

"""Reading and writing: pairs as the course's files hold them, and results."""

import json
import math
import os
from pathlib import Path

import torch


def photo_paths(folder):
    """The files in a folder and its subfolders whose endings are of formats that Pillow reads, sorted."""
    from PIL import Image

    readable = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN}
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in readable and path.is_file())


def read_pair(path):
    """The (noisy, clean) of a file; ValueError if it holds anything but two equal uint8 (N, 3, H, W)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        pair = torch.load(path, weights_only=True)
        noisy, clean = pair
        fits = noisy.dtype == clean.dtype == torch.uint8 and noisy.shape == clean.shape and noisy.dim() == 4
    except Exception as error:  # torch raises many kinds for files that it can't read, with advice that is no good here
        raise ValueError(f"{path} is not a file of two tensors") from error
    if not fits or noisy.shape[1] != 3:
        raise ValueError(f"{path} should hold two uint8 tensors of one shape (N, 3, H, W)")
    return noisy, clean


def write_json(content, path):
    """Write `content` as JSON, with null for infinities and NaN; the file is replaced in one go."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(v) for key, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    partial = Path(f"{path}.{os.getpid()}.part")
    try:
        partial.write_text(json.dumps(finite(content), indent=1, allow_nan=False) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_outputs(*paths):
    """OSError unless each path (None is passed over) can be written as a file: found out before any work is done."""
    for path in paths:
        if path is None:
            continue
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, not a file to write")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path.parent} is a folder that can't be written to")

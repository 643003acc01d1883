"""Reading and writing: what torch saves, pairs as the course's files hold them, and results.

`load` and `save` are what `model.Model.read` and `write` become in this package.
"""

import io
import json
import math
import os
import tempfile
import zipfile
from pathlib import Path

import torch


def write_whole(content, path):
    """Write bytes to a file, which is replaced in one go: it is there whole or not at all. OSError if it can't be."""
    partial = Path(path).with_name(f"{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save(content, path):
    """torch.save by `write_whole`. The same content makes the same file, as torch doesn't see its name."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(buffer.getbuffer(), path)


def load(path, device, kind=dict):
    """torch.load for what comes from outside, a dict or something of another `kind`: no code in the file is run.

    Raises FileNotFoundError, or ValueError for any other file, such as a compressed one, which could be of any size.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("the file is compressed")
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds, with advice that is no good here
        raise ValueError(f"{path} can't be read, is damaged, or was not written by torch.save") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} should hold a {kind.__name__}, got {type(content).__name__}")
    return content


class Incomplete(Exception):
    """A command did a part of its work only, or is not content with it."""


def read_pair(path):
    """The (noisy, clean) of a file; ValueError if it holds anything but two equal uint8 (N, 3, H, W)."""
    pair = load(path, "cpu", tuple)
    kinds = [(t.dtype, t.dim(), *t.shape) if isinstance(t, torch.Tensor) else None for t in pair]
    if len(pair) != 2 or kinds[0] != kinds[1] or not kinds[0] or kinds[0][:2] != (torch.uint8, 4) or kinds[0][3] != 3:
        raise ValueError(f"{path} should hold two uint8 tensors of one shape (N, 3, H, W)")
    return pair


def write_json(content, path):
    """Write `content` as JSON, with null for infinities and NaN; the file is replaced in one go."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(v) for key, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    write_whole((json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode(), path)


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
        with tempfile.TemporaryFile(dir=path.parent):
            pass

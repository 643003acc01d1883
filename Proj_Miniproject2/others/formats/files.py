"""Reading and writing: what torch saves, pairs as the course's files hold them, and results.

`load` and `save` are what `model.Model.read` and `write` become in this package.
"""

import contextlib
import errno
import io
import json
import math
import os
import pickletools
import secrets
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch

from ...model import check_kind


def write_whole(content, path):
    """Write bytes to a file by `whole`. What is no file but takes bytes as they come, see `is_stream`, is written as it
    is. OSError if it can't be."""
    with open(path, "wb") if is_stream(path) else whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole(path):
    """A new binary file for what `path` will hold, see `whole_path`."""
    with whole_path(path) as new, open(new, "xb") as file:
        yield file


@contextlib.contextmanager
def whole_path(path):
    """A new path, of the same name, for the file or folder that `path` will be, which is replaced in one go when all is
    written: it is there whole or not at all, even if the machine fails.

    A link stays, and its target is written; the old file's mode stays, and its owner where that is allowed. OSError if
    it can't be written.
    """
    path = Path(os.path.realpath(path))
    room = path.with_name(f"{secrets.token_hex(8)}.part")  # nobody else's, in this or another process or machine
    room.mkdir(mode=0o700)
    try:
        yield room / path.name
        for here, _, names in os.walk(room):
            for name in names:
                flush(Path(here, name))
        new, old = room / path.name, room / "old"
        if path.exists():
            keep_owner(path, new)
        if path.is_dir():
            os.replace(path, old)  # a folder takes no other's place
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(room, ignore_errors=True)
    with contextlib.suppress(OSError):  # some file systems know no folders to flush
        flush(path.parent)


def flush(path):
    """Wait until a file or folder is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def keep_owner(path, new):
    """Give a new file the owner and mode of one that is there, as far as that is allowed and known."""
    with contextlib.suppress(OSError):
        os.chown(new, path.stat().st_uid, path.stat().st_gid)
    with contextlib.suppress(OSError):
        shutil.copymode(path, new)


def is_stream(path):
    """Whether a path is a character device or a pipe, which hold nothing that could be lost. OSError for what is there
    but no place to write to: a folder, a disk, a socket."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file to write")
    if path.is_block_device() or path.is_socket():
        raise OSError(f"{path} is a disk or a socket, not a file to write")
    return path.is_char_device() or path.is_fifo()


def save(content, path):
    """torch.save by `write_whole`. The same content makes the same file, as torch doesn't see its name."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(buffer.getbuffer(), path)


def save_somewhere(save, path):
    """save(path). Where that fails what would be lost goes into a new folder in one of the places at hand.

    Raises OSError then, too, which names the file that was written.
    """
    try:
        save(path)
    except OSError as error:
        for place in (None, os.curdir, os.path.expanduser("~"), "/var/tmp"):  # None is $TMPDIR, or /tmp
            try:
                rescued = Path(tempfile.mkdtemp(dir=place), Path(path).name).absolute()
            except OSError:
                continue
            try:
                save(rescued)
            except OSError:
                rescued.parent.rmdir()
                continue
            raise OSError(f"{path} can't be written, instead {rescued} was: {error}") from error
        raise


def load(path, device, kind=dict):
    """torch.load for what comes from outside, a dict or something of another `kind`: no code in the file is run.

    Raises FileNotFoundError, or ValueError for any other file: a damaged one, or one that could become of any size.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > os.path.getsize(path):
                raise ValueError("the file is compressed")
            # torch neither looks at the sums nor reads what is marked as a folder, in whose place stands what was there
            if archive.testzip() or any(entry.external_attr & 0x10 for entry in entries):
                raise ValueError("the file is damaged")
            for entry in entries:
                if entry.filename.endswith("data.pkl"):
                    check_pickle(archive.read(entry))
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds, with advice that is no good here
        raise ValueError(f"{path} can't be read, is damaged, or was not written by torch.save 1.6 or later") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} should hold a {kind.__name__}, got {type(content).__name__}")
    return content


def check_pickle(content):
    """ValueError for a pickle in which a tuple stands twice, which torch writes none of: by tuples that hold the one
    before twice, a few bytes become a key of a dict that takes for ever to hash."""
    tuples, last = set(), ""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" not in opcode.name:
            last = opcode.name
        elif "TUPLE" in last:
            tuples.add(argument)
        if "GET" in opcode.name and argument in tuples:
            raise ValueError("a tuple stands twice in the file")


class Incomplete(Exception):
    """A command did a part of its work only, or is not content with it."""


def read_pair(path):
    """The (noisy, clean) of a file; ValueError or TypeError if it holds anything but two equal uint8 (N, 3, H, W)."""
    pair, expected = load(path, "cpu", tuple), f"{path} should hold two uint8 tensors of one shape (N, 3, H, W)"
    if len(pair) != 2:
        raise ValueError(f"{expected}, got {len(pair)} things")
    for images in pair:
        check_kind(path, images, dtypes=(torch.uint8,))
        if images.untyped_storage().nbytes() < images.nbytes:
            raise ValueError(f"{path} holds an expanded tensor, whose {tuple(images.shape)} values are not all there")
    one, other = (tuple(images.shape) for images in pair)
    if one != other or len(one) != 4 or one[1] != 3 or 0 in one:
        raise ValueError(f"{expected}, got {one} and {other}")
    return pair


def read_json(path):
    """What a JSON file holds. OSError, or ValueError for one of anything else."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no JSON, or none that can be read: {error}") from error


def write_json(content, path):
    """Write `content` as JSON, with null for infinities and NaN; the file is replaced in one go."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(v) for key, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    write_whole((json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode(), path)


def check_outputs(outputs, inputs=(), overwrite=False, resumed=(), make_folders=False, whole_folders=()):
    """Raise unless all outputs can be written, and nothing is lost by that: what every command asks before any work.

    outputs: the files that will be written; those that are there already must be meant to be replaced, by `overwrite`
    inputs: the files that are read, none of which may be written
    resumed: outputs that go on from what they hold
    make_folders: whether folders that aren't there will be made
    whole_folders: those of the outputs that will be folders themselves

    None stands for no file. ValueError for what is an input or another output, FileExistsError for what is there, and
    other OSErrors for what can't be written.
    """
    read, written, folders = {_identity(path) for path in inputs if path}, {}, {}
    asked = [*((path, overwrite) for path in outputs if path), *((path, True) for path in resumed if path)]
    for path, may_be_there in asked:
        path, file = Path(path), _identity(path)
        if file in read:
            raise ValueError(f"{path} is an input: it would be overwritten")
        stream = not (path in whole_folders and path.is_dir()) and is_stream(path)
        if file in written and not stream:
            raise ValueError(f"{written[file]} and {path} are one file: expected another one for each output")
        written[file] = path
        if path.exists() and not stream and not may_be_there:
            raise FileExistsError(f"{path} is there already: --overwrite replaces it")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(f"{path} may not be written")
        if not stream:
            folders.setdefault(Path(os.path.realpath(path)).parent, []).append(path)
    for folder, paths in folders.items():
        while make_folders and not folder.exists():
            folder = folder.parent
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"expected a folder to write to, got the file {folder}")
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder {folder} to write {paths[0].name} to")
        for path in paths:
            if len(os.fsencode(path.name)) > os.pathconf(folder, "PC_NAME_MAX"):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
        with tempfile.TemporaryFile(dir=folder):
            pass


def _identity(path):
    """By what a file is known under all its names: (device, inode), or if there is none yet, the path without links."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino

"""Denoise without clean images: the tools around `model.py`, in one command."""

import argparse
import contextlib
import logging
import signal
import sys
import threading
import warnings
from datetime import timedelta

try:
    from .commands import ablate, denoise, evaluate, export, noise, pairs, plot, train
    from .formats.files import Incomplete
    from .training import processes
except KeyboardInterrupt:  # as in the package's own file
    print("noise2noise: stopped", file=sys.stderr)
    sys.exit(130)

COMMANDS = {
    "denoise": denoise,
    "noise": noise,
    "train": train,
    "evaluate": evaluate,
    "plot": plot,
    "pairs": pairs,
    "export": export,
    "ablate": ablate,
}
# What several processes share, and how long one of them may wait for another.
TOGETHER = {"train": None, "denoise": timedelta(days=7)}
EXTRAS = {"matplotlib": "figures", "onnx": "export", "onnx_ir": "export", "onnxscript": "export"}  # else "photos"


def main(args=None):
    """Runs one command. Exit status 2 for bad arguments or files, with one line on stderr; 1 where only a part could be
    done, or the weights are bad; 130 after Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="noise2noise", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        text = module.__doc__ or ""  # which is missing under `python -OO`
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    with processes.only_first_speaks():
        args = parser.parse_args(args)
    try:
        with processes.only_first_speaks(), short_warnings(args), ended(), processes.group(TOGETHER.get(args.command)):
            if processes.processes() > 1 and args.command not in TOGETHER:
                raise ValueError("uses all cores in one process: run it without torchrun")
            COMMANDS[args.command].main(args)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name.partition(".")[0], "photos")
        fail(args, f"{error.name} is missing: pip install '.[{extra}]' in this project's folder brings it", 2)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        fail(args, error, 2)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):  # torch has no kind of its own for it
            raise
        fail(args, "this takes more memory than there is", 2)
    except Incomplete as error:
        fail(args, error, 1)
    except KeyboardInterrupt:
        checkpoint = getattr(args, "checkpoint", None)
        kept = f": {checkpoint} holds what was trained" if checkpoint and checkpoint.exists() else ""
        kept = ": --resume goes on with what is missing" if "resume" in args else kept
        kept = f": {args.best} holds the best weights so far" if "best" in args else kept
        fail(args, f"stopped{kept}", 130)


@contextlib.contextmanager
def ended():
    """SIGTERM, which `timeout` and batch systems send when the time is over, is like Ctrl-C: what was done is kept, and
    nothing half written stays. torchrun's processes end as it wants."""
    if processes.launched() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def short_warnings(args):
    """Warnings in one line, without that of the source; and nothing that tifffile logs of what is raised then."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda warning, *_: say(args, f"warning: {' '.join(str(warning).split())}")
            yield
    finally:
        logger.disabled = before


def fail(args, message, status):
    if processes.should_say(message):
        say(args, message)
    sys.exit(status)


def say(args, message):
    if sys.stderr:  # None where it is closed: `print` would take stdout
        with contextlib.suppress(OSError):
            print(f"noise2noise {args.command}: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""`--help` of the command and of each of its parts, without what takes seconds to import.

The texts beside commands/*.py are what argparse makes of them: `python -m tests.test_help` writes them anew.
"""

import sys
from pathlib import Path

TEXTS = Path(__file__).with_name("commands")
WHOLE = "noise2noise"  # the text of the command itself, which no part is named


def text_for(arguments):
    """The file of the help that is asked for by the command's arguments; None if it is none, or not clear."""
    first, *others = [*arguments, None]
    if first in ("-h", "--help"):
        return TEXTS / f"{WHOLE}.txt"
    before = others[: others.index("--")] if "--" in others else others
    if {"-h", "--help"}.isdisjoint(before) or not str(first).isidentifier() or first == WHOLE:
        return None
    return TEXTS / f"{first}.txt"


def help_and_exit():
    """Print the help that this process was asked for, and end it; if it wasn't, nothing."""
    text = text_for(sys.argv[1:])
    runs = sys.argv[0] != "-m" or __package__ in sys.orig_argv  # not another module, of which this is the package
    if runs and text and text.exists():
        print(text.read_text(encoding="utf-8"), end="", flush=True)
        sys.exit(0)

"""Bars that show how far something is."""

import sys


def progress(things, **options):
    """The things, one after the other, with a bar on stderr if that is a terminal. options: those of tqdm."""
    from tqdm import tqdm

    # None: on terminals alone. Where stderr is closed there is nothing to ask, nor to write to.
    return tqdm(things, disable=sys.stderr is None or None, **options)

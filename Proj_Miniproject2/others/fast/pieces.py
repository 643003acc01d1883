"""The pieces of a prediction, shared out to threads: `pieces` is for `model.Model.pieces`."""

import contextvars
import math
from itertools import product

from ...model import keeping
from .machine import in_threads


def pieces(model, test_input, progress=iter):
    """As the textbook's, but in tiles of one size, and each by a thread that multiplies alone. On a GPU they go one by
    one, and a single one has all threads in its products."""
    n, _, height, width = test_input.shape
    batch = max(1, model.BATCH_PIXELS // math.prod(model.on_grid(min(n, model.SIDE)) for n in (height, width)))
    places = list(product(range(0, n, batch), tiles(model, height), tiles(model, width)))
    predicting = contextvars.copy_context()  # in which forward keeps nothing
    predicting.run(keeping.set, False)

    def made(place):
        first, (rows, inner_rows, _), (columns, inner_columns, _) = place
        images = model.prepared(test_input[first : first + batch, :, rows, columns])
        return predicting.copy().run(model.denoise, images)[:, :, inner_rows, inner_columns].mul_(255)

    share = map if model.device.type == "cuda" or len(places) == 1 else in_threads
    with model.running(frozen=True):
        for (first, (*_, rows), (*_, columns)), piece in zip(progress(places), share(made, places), strict=True):
            yield (slice(first, first + batch), slice(None), rows, columns), piece


def tiles(model, size):
    """As `Model.tiles`, but all see as much: what multiplies keeps code and memory for each size that it meets."""
    cells, halo, most = (model.on_grid(n) // model.GRID for n in (size, model.HALO, model.SIDE))
    n = max(1, math.ceil((cells - 2 * halo) / (most - 2 * halo)))
    seen = math.ceil((cells - 2 * halo) / n) + 2 * halo
    firsts = [i * (cells - seen) // max(n - 1, 1) for i in range(n)]
    starts = [0, *(first + halo for first in firsts[1:])]
    for first, start, stop in zip(firsts, starts, [*starts[1:], cells], strict=True):
        first, start, stop = first * model.GRID, start * model.GRID, min(stop * model.GRID, size)
        yield slice(first, first + seen * model.GRID), slice(start - first, stop - first), slice(start, stop)

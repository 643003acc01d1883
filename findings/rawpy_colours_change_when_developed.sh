#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22.0): `raw_pattern`, `raw_colors` and `raw_colors_visible` of an open file are not the same
# before and after `postprocess()`.
#
# Before, the second green of a Bayer sensor has a number of its own, 3; after, it has the first one's, 1, since LibRaw
# merges both for its demosaicing. `black_level_per_channel` stays, with four entries. So black levels that are looked up by
# `black_level_per_channel[raw_colors_visible]` change as well, where the greens have different ones: whoever takes
# them after a first development is off in a quarter of all pixels, by that difference.
#
# Seen:
#   before [[0, 1], [3, 2]] black levels [[500.0, 512.0], [520.0, 530.0]]
#   after  [[0, 1], [1, 2]] black levels [[500.0, 512.0], [512.0, 530.0]]
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q rawpy==0.28.0 tifffile==2026.3.3 numpy==2.4.6
cd "$here"
cat > dng.py <<'PY'
import numpy as np
import tifffile


def write(path, mosaic, black):
    """A small DNG, RGGB, of 14 bits."""
    matrix = 7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758
    tags = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True), (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Drawn", True), (50713, "H", 2, (2, 2), True), (50714, "I", 4, black, True),
        (50717, "I", 1, 16383, True), (50721, "2i", 9, [n for m in matrix for n in (m, 10_000)], True),
        (50728, "2I", 3, (1, 2, 1, 1, 2, 3), True),
    ]
    tifffile.imwrite(path, mosaic, photometric="cfa", metadata=None, extratags=tags)
PY
"$here/venv/bin/python" - <<'PY'
import numpy as np
import rawpy

import dng

dng.write("a.dng", np.full((64, 96), 3000, np.uint16), (500, 512, 520, 530))


def seen(raw):
    numbers = raw.raw_colors_visible[:2, :2]
    return numbers.tolist(), np.array(raw.black_level_per_channel)[numbers].astype(float).tolist()


with rawpy.imread("a.dng") as raw:
    before = seen(raw)
    raw.postprocess()
    after = seen(raw)
print("before", before[0], "black levels", before[1])
print("after ", after[0], "black levels", after[1])
assert before == ([[0, 1], [3, 2]], [[500, 512], [520, 530]])
assert after == ([[0, 1], [1, 2]], [[500, 512], [512, 530]])
PY

#!/usr/bin/env bash
# tifffile 2026.3.3: `imwrite(path, picture, imagej=True)` of a colour picture (H, W, 3) of 16 bits writes H pages of
# W rows and 3 columns, without a warning; of 8 bits, one page in colours.
#
# ImageJ's format has no RGB of 16 bits, and with `photometric="rgb"` tifffile says so. Left to itself it takes the shape for
# a stack instead: what reads page after page sees rows of the picture as pictures of three columns.
#
# Seen:
#   uint8  1 page(s) of (31, 20, 3)
#   uint16 31 page(s) of (20, 3)
#   with photometric="rgb": ValueError the ImageJ format does not support data type dtype('uint16') for RGB
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q tifffile==2026.3.3 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" -W error - <<'PY'
import numpy as np
import tifffile

found = {}
for dtype in ("uint8", "uint16"):
    tifffile.imwrite("a.tif", np.zeros((31, 20, 3), dtype), imagej=True)
    with tifffile.TiffFile("a.tif") as tiff:
        found[dtype] = len(tiff.pages), tiff.pages[0].shape
    print(f"{dtype:6} {found[dtype][0]} page(s) of {found[dtype][1]}")
assert found == {"uint8": (1, (31, 20, 3)), "uint16": (31, (20, 3))}
try:
    tifffile.imwrite("a.tif", np.zeros((31, 20, 3), "uint16"), imagej=True, photometric="rgb")
except ValueError as error:
    print('with photometric="rgb": ValueError', error)
else:
    raise SystemExit("it was written")
PY

#!/usr/bin/env bash
# rawpy 0.28.0 (LibRaw 0.22.0): `postprocess(user_sat=...)`, "saturation adjustment (custom white level)", counts from the
# black level, while `white_level` of the same file, and its own `user_black`, count from zero.
#
# So to say again what the file says, `user_sat=raw.white_level`, makes the picture darker and clips less; what the
# file means is `user_sat=raw.white_level - black`. A second thing that depends on what is in the picture hides it: without
# `user_sat` LibRaw takes the brightest pixel for white if it is above 0.75 (`adjust_maximum_thr`) of the white level. One
# pixel then sets the brightness of all of them, even with `no_auto_bright=True`.
#
# Seen, of a file with black 2048 and white 16383, the mean of the developed 16 bits:
#   as it is 36824, user_sat=white_level 34302, user_sat=white_level - black 36824
#   one pixel brighter by 1500 counts: 39949 and 37713
# (the second line: a picture whose brightest pixel is at 0.85 of white, before and after)
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

BLACK = 2048


def mean(mosaic, **options):
    dng.write("a.dng", mosaic, (BLACK,) * 4)
    with rawpy.imread("a.dng") as raw:
        assert raw.white_level == 16383
        picture = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, **options)
    return round(float(picture.mean()))


rows, columns = np.mgrid[:64, :96]
mosaic = (BLACK + 3000 + 2000 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.uint16)
own, white, above = mean(mosaic), mean(mosaic, user_sat=16383), mean(mosaic, user_sat=16383 - BLACK)
print(f"as it is {own}, user_sat=white_level {white}, user_sat=white_level - black {above}")
bright = mosaic.copy()
bright[32, 33] = BLACK + round(0.85 * (16383 - BLACK))
brighter = bright.copy()
brighter[32, 33] += 1500
one, other = mean(bright), mean(brighter)
print(f"one pixel brighter by 1500 counts: {one} and {other}")
assert own == above and white < 0.97 * own and other < 0.97 * one
PY

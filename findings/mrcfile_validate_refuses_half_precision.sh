#!/usr/bin/env bash
# mrcfile 1.5.4: `mrcfile.validate` calls files of half-precision floats (mode 12) inaccurate that mrcfile itself has written,
# and that are right: it takes their standard deviation in half precision, where the sum of squares overflows at 65,504; the
# writer takes it in single precision. A few hundred pixels of usual values are enough.
#
# Seen:
#   Data statistics appear to be inaccurate: RMS deviation is inf but the value in the header is 11.95...
#   False, and for the same values as float32 True
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q mrcfile==1.5.4 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import warnings

import mrcfile
import numpy as np

warnings.simplefilter("ignore")  # of the overflow
array = np.random.default_rng(0).normal(60, 12, (4, 64, 64)).astype("f2")
valid = {}
for dtype in ("f2", "f4"):
    mrcfile.write(f"{dtype}.mrc", array.astype(dtype))
    valid[dtype] = mrcfile.validate(f"{dtype}.mrc")
    with mrcfile.open(f"{dtype}.mrc") as file:
        assert abs(file.header.rms - array.astype("f8").std()) < 1e-3
print(valid)
assert valid == {"f2": False, "f4": True}
PY

#!/usr/bin/env bash
# mrcfile 1.5.4: `mrcfile.write(path, data, overwrite=True)` with a dtype that MRC has no mode for, as NumPy's own float64,
# raises a ValueError, but only after the file that was there has been emptied: it is lost, and none is in its place.
#
# Seen:
#   1792 bytes before, "dtype 'float64' cannot be converted to an MRC file mode", 0 bytes after
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q mrcfile==1.5.4 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import os

import mrcfile
import numpy as np

mrcfile.write("a.mrc", np.ones((3, 8, 8), "f4"))
before = os.path.getsize("a.mrc")
try:
    mrcfile.write("a.mrc", np.ones((3, 8, 8)), overwrite=True)
    raise SystemExit("it is taken now")
except ValueError as error:
    after = os.path.getsize("a.mrc")
    print(before, "bytes before,", error, after, "bytes after")
assert before == 1792 and after < 1024  # less than a header
PY

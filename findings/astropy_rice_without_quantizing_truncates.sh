#!/usr/bin/env bash
# astropy 8.0.2: `CompImageHDU(floats, quantize_level=0)` says, as in cfitsio, that floats are not to be quantized, so that
# nothing is lost. With the default RICE_1, which knows integers alone, all fractions are cut off, without an
# error. Only GZIP_1 and GZIP_2 lose nothing so.
#
# Seen:
#   RICE_1: 100.628654 -> 100.0, everywhere the integer part alone; GZIP_2: nothing changed
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q astropy==8.0.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import warnings

import numpy as np
from astropy.io import fits

picture = np.random.default_rng(0).normal(100, 5, (64, 64)).astype("f4")
found = {}
for kind in ("RICE_1", "GZIP_2"):
    compressed = fits.CompImageHDU(picture, compression_type=kind, quantize_level=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none is given
        fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(f"{kind}.fits")
    found[kind] = fits.getdata(f"{kind}.fits")
    print(kind, picture[0, 0], "->", found[kind][0, 0])
assert found["RICE_1"].dtype == "f4" and np.array_equal(found["RICE_1"], np.trunc(picture))
assert np.array_equal(found["GZIP_2"], picture)
PY

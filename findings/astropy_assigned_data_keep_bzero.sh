#!/usr/bin/env bash
# astropy 8.0.2: who opens a FITS of unsigned integers (BZERO 32768) and puts new data of another dtype in the place of the
# old, gets a file whose values are all 32768 too high, if the old ones were never read: BZERO stays, and counts for the new
# data, too. Had `hdu.data` been looked at once before, it would be gone, and the values right.
#
# Seen, for new data that are 101 everywhere:
#   float32, old data not read: 32869.0, BZERO 32768;  read before: 101.0, BZERO None
#   int16,   old data not read: 32869,   BZERO 32768;  read before: 101,   BZERO None
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q astropy==8.0.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import numpy as np
from astropy.io import fits

fits.PrimaryHDU(np.full((4, 4), 100, "u2")).writeto("a.fits")
for dtype in ("f4", "i2"):
    found = []
    for read in (False, True):
        with fits.open("a.fits") as file:
            if read:
                file[0].data
            file[0].data = np.full((4, 4), 101, dtype)
            file.writeto("b.fits", overwrite=True)
        found.append((float(fits.getdata("b.fits")[0, 0]), fits.getheader("b.fits").get("BZERO")))
    print(dtype, found)
    assert found == [(32869, 32768), (101, None)]
PY

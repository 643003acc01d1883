#!/usr/bin/env bash
# astropy 8.0.2: `hdu.scale("int16", bscale=..., bzero=...)` with the file's own scale, which is to bring data back into the
# integers that they were, makes ordinary numbers of blank pixels: they are NaN once read, these are cast to integers, and
# BLANK is taken from the header. What was no measurement is then one, of BZERO (the result of such a cast is not even
# defined). `scale_back=True` at opening keeps BLANK.
#
# Seen:
#   BLANK 7 before, None after; the blank pixel is nan before, 10.0 after, a number
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q astropy==8.0.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits


def scaled(path, **cards):
    """Integers of 16 bits, with these cards."""
    fits.PrimaryHDU(np.arange(100, dtype="i2").reshape(10, 10)).writeto(path)
    content = path.read_bytes()
    header = fits.Header.fromstring(content[:2880])
    header.update(cards)
    path.write_bytes(header.tostring().encode() + content[2880:])



scaled(Path("a.fits"), BSCALE=0.5, BZERO=10.0, BLANK=7)
with fits.open("a.fits") as file, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the cast
    assert np.isnan(file[0].data).sum() == 1 and np.isnan(file[0].data[0, 7])
    file[0].scale("int16", bscale=0.5, bzero=10.0)
    file.writeto("b.fits")
after = fits.getdata("b.fits")
print("BLANK", fits.getheader("b.fits").get("BLANK"), "and the pixel", after[0, 7])
assert fits.getheader("b.fits").get("BLANK") is None and np.isfinite(after).all()
PY

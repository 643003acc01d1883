#!/usr/bin/env bash
# astropy 8.0.2: a FITS of scaled integers (BSCALE, BZERO) that is opened and written comes out as float32, BITPIX -32,
# without BSCALE and BZERO, though nobody has read or changed the data.
#
# Only pure unsigned integers (BSCALE 1, BZERO 32768) come out as they came in; for all others it takes
# `do_not_scale_image_data=True` or `scale_back=True`. Integers of 32 bits lose digits that way.
#
# Seen:
#   before: BITPIX 16, BSCALE 0.5, BZERO 10.0; after: BITPIX -32, BSCALE None, BZERO None
#   with do_not_scale_image_data: BITPIX 16, BSCALE 0.5, BZERO 10.0
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q astropy==8.0.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
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



def cards(path):
    header = fits.getheader(path)
    return [header.get(key) for key in ("BITPIX", "BSCALE", "BZERO")]


scaled(Path("a.fits"), BSCALE=0.5, BZERO=10.0)
with fits.open("a.fits") as file:
    file.writeto("b.fits")
with fits.open("a.fits", do_not_scale_image_data=True) as file:
    file.writeto("c.fits")
print(cards("a.fits"), cards("b.fits"), cards("c.fits"))
assert cards("a.fits") == cards("c.fits") == [16, 0.5, 10]
assert cards("b.fits") == [-32, None, None]
PY

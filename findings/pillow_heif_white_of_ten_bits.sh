#!/usr/bin/env bash
# pillow-heif 1.8.1: of a HEIC of 10 bits `open_heif(path, convert_hdr_to_8bit=False)` gives a picture of mode RGB;16
# whose white is 65472, not 65535: the ten bits are moved up by six, and zeros stand below.
#
# Who writes these values to a PNG of 16 bits, whose white is 65535, makes the picture darker by a thousandth, and white
# is white no more. `info["bit_depth"]` says 10, by which the values can be stretched: (v >> 6) * 65535 / 1023.
# The class for Pillow gives 8 bits of the same file, without a word, in the mode RGB.
#
# Seen:
#   RGB;16 bit_depth 10 white 65472 steps of 64
#   HeifImageFile: RGB
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q pillow-heif==1.8.1 pillow==13.0.0 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import numpy as np
import pillow_heif

ramp = np.repeat(np.repeat(np.linspace(0, 1023, 8).astype(np.uint16), 8)[None], 64, 0)
colours = np.stack([ramp] * 3, 2)
pillow_heif.from_bytes("RGB;10", (64, 64), colours.tobytes()).save("a.heic", quality=-1, chroma=444)

heif = pillow_heif.open_heif("a.heic", convert_hdr_to_8bit=False)
values = np.asarray(heif)
step = int(np.gcd.reduce(values.ravel()))
print(heif.mode, "bit_depth", heif.info["bit_depth"], "white", values.max(), "steps of", step)
assert (heif.mode, heif.info["bit_depth"], int(values.max())) == ("RGB;16", 10, 65472) and step % 64 == 0
image = pillow_heif.HeifImageFile("a.heic")
print("HeifImageFile:", image.mode)
assert image.mode == "RGB"
PY

#!/usr/bin/env bash
# pydicom 3.0.2: HighBit is not looked at when pixels are decoded. Of 12 bits that stand at the upper end of 16 (BitsStored 12,
# HighBit 15, as DICOM allowed once, and old files have) `pixel_array` gives the lower 12: four bits of each value are lost at
# the top, and four bits of something else are at its low end, without a warning.
#
# Seen, for 291 (0x123), stored as 0x1230:
#   pixel_array gives 560 (0x230)
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q pydicom==3.0.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset


def image(words, **elements):
    """A grey image of these words of 16 bits."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.Rows, found.Columns = words.shape
    found.BitsAllocated, found.PixelRepresentation = 16, int(words.dtype.kind == "i")
    for name, value in elements.items():
        setattr(found, name, value)
    found.PixelData = words.tobytes()
    return found



found = image(np.full((8, 8), 0x123 << 4, "u2"), BitsStored=12, HighBit=15)
value = int(found.pixel_array[0, 0])
print(f"stored {0x123}, given {value} ({value:#x})")
assert value == 0x230
PY

#!/usr/bin/env bash
# pydicom 3.0.2: `pixel_array` keeps BitsStored of each value, which version 2 did not. Padding values are often outside of these
# (-32768 or 63536 where 12 bits are stored, so that no measurement is equal to them), and come out as others: -32768 as 0. So
# `pixel_array == PixelPaddingValue` finds none, and what is no measurement becomes a usual value. With
# `pixel_array_options(correct_unused_bits=False)` they stay.
#
# Seen, for 4 pixels of padding -32768, 12 bits stored, signed:
#   equal to the padding value: 0; all 4 are 0; with correct_unused_bits=False: 4
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



words = np.full((8, 8), 100, "i2")
words[0, :4] = -32768
found = image(words, BitsStored=12, HighBit=11, PixelPaddingValue=-32768)
equal = int((found.pixel_array == found.PixelPaddingValue).sum())
become = found.pixel_array[0, :4].tolist()
found.pixel_array_options(correct_unused_bits=False)
kept = int((found.pixel_array == found.PixelPaddingValue).sum())
print("equal to the padding value:", equal, "they are", become, "with correct_unused_bits=False:", kept)
assert (equal, become, kept) == (0, [0] * 4, 4)
PY

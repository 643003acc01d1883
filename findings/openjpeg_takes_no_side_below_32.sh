#!/usr/bin/env bash
# pylibjpeg-openjpeg 2.6.0 (with pydicom 3.0.2): `Dataset.compress(JPEG2000Lossless)` refuses images with a side below 32 pixels.
# The number of resolutions is 6, whatever the size, where OpenJPEG needs 2^5 pixels a side; DICOM and JPEG 2000 have no
# such limit. Icons, detectors' rows and small regions can't be compressed so.
#
# Seen:
#   32 x 32: taken; 31 x 40: "Number of resolutions is too high in comparison to the size of tiles", RuntimeError
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6
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



taken = {}
for shape in ((32, 32), (31, 40)):
    found = image(np.arange(np.prod(shape), dtype="u2").reshape(shape), BitsStored=16, HighBit=15)
    found.SOPClassUID, found.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3"
    try:
        found.compress(pydicom.uid.JPEG2000Lossless, generate_instance_uid=False)
        taken[shape] = True
    except RuntimeError as error:
        taken[shape] = False
        assert "opj_start_compress" in str(error)
print(taken)
assert taken == {(32, 32): True, (31, 40): False}
PY

#!/usr/bin/env bash
# nibabel 5.4.2: `nib.save(nib.load("a.nii"), "b.nii")` of a NIfTI of scaled integers changes the integers, slope and intercept:
# the scaled values are spread over all that the dtype holds, anew, and rounded. Values are no longer those that they were.
# A file without slope and intercept comes out as it was.
#
# Seen, for int16 from 0 to 59, slope 0.5, intercept 10:
#   after: slope 0.00045, intercept 24.75, integers from -32768 to 32767, values changed by up to 0.0002
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q nibabel==5.4.2 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import nibabel as nib
import numpy as np

image = nib.Nifti1Image(np.arange(60, dtype="i2").reshape(3, 4, 5), np.eye(4))
image.header.set_slope_inter(0.5, 10)
nib.save(image, "a.nii")
nib.save(nib.load("a.nii"), "b.nii")
before, after = nib.load("a.nii"), nib.load("b.nii")
stored, change = after.dataobj.get_unscaled(), np.abs(after.get_fdata() - before.get_fdata()).max()
print("slope", after.dataobj.slope, "intercept", after.dataobj.inter, stored.min(), stored.max(), "changed by", change)
assert (before.dataobj.slope, before.dataobj.inter) == (0.5, 10) and before.dataobj.get_unscaled().max() == 59
assert (stored.min(), stored.max()) == (-32768, 32767) and 1e-5 < change < 1e-3
PY

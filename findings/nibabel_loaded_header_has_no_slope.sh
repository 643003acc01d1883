#!/usr/bin/env bash
# nibabel 5.4.2: the header of a loaded image does not say how its integers are scaled: `scl_slope` and `scl_inter` are NaN in
# it, and `vox_offset` is 0, whatever the file has. The scale is in `image.dataobj.slope` and `.inter` alone. So a new image of
# the stored integers (`dataobj.get_unscaled()`) with the old header is one of other values, without an error.
#
# Seen, for int16 up to 59, slope 0.5, intercept 10:
#   header's slope nan, in the file 0.5; the largest value 39.5 before, 59.0 after
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
loaded = nib.load("a.nii")
with open("a.nii", "rb") as file:
    stands = nib.Nifti1Header.from_fileobj(file)
nib.save(nib.Nifti1Image(loaded.dataobj.get_unscaled(), loaded.affine, loaded.header), "b.nii")
largest = loaded.get_fdata().max(), nib.load("b.nii").get_fdata().max()
print("slope", loaded.header["scl_slope"], "in the file", stands["scl_slope"], "largest values", largest)
assert np.isnan(loaded.header["scl_slope"]) and loaded.header["vox_offset"] == 0
assert stands["scl_slope"] == loaded.dataobj.slope == 0.5 and stands["vox_offset"] == 352
assert largest == (39.5, 59)
PY

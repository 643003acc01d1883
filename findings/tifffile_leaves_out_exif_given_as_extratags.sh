#!/usr/bin/env bash
# tifffile 2026.3.3: a page's EXIF and GPS tags (34665, 34853), handed on as `extratags` like all others, are left out
# of what is written. Nothing is raised, and no warning of `warnings` is given: a line goes to the logger "tifffile".
#
# So `extratags=[(t.code, t.dtype, t.count, t.value, True) for t in page.tags if ...]`, as one copies a page's tags, loses
# a camera's date, exposure and place, while the private tag beside them comes through.
#
# Seen:
#   before [34665, 65000]
#   after  [65000]
#   logged ['<tifffile.TiffWriter ...> not writing extratag 34665']
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q tifffile==2026.3.3 numpy==2.4.6 pillow==13.0.0
cd "$here"
"$here/venv/bin/python" -W error - <<'PY'
import logging

import numpy as np
import tifffile
from PIL import Image

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("tifffile").addHandler(handler)

exif = Image.Exif()
exif[34665], exif[65000] = {36867: "2020:01:01 00:00:00"}, "private"
Image.fromarray(np.zeros((31, 20), np.uint8)).save("a.tif", exif=exif.tobytes())


def codes(path):
    with tifffile.TiffFile(path) as tiff:
        return [tag.code for tag in tiff.pages[0].tags if tag.code > 34000]


with tifffile.TiffFile("a.tif") as tiff:
    page = tiff.pages[0]
    assert page.tags[34665].value["DateTimeOriginal"] == "2020:01:01 00:00:00"
    kept = [(t.code, t.dtype, t.count, t.value, True) for t in page.tags if t.code > 34000]
    tifffile.imwrite("b.tif", page.asarray(), metadata=None, extratags=kept)
print("before", codes("a.tif"))
print("after ", codes("b.tif"))
print("logged", lines)
assert codes("a.tif") == [34665, 65000] and codes("b.tif") == [65000]
assert len(lines) == 1 and lines[0].endswith("not writing extratag 34665")
PY

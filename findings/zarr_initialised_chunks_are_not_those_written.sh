#!/usr/bin/env bash
# zarr 3.1.6: `Array.nchunks_initialized` (as `info_complete()`) can't tell which part of an array has been written, neither way.
#
# With shards it counts all chunks of a shard as soon as the shard's file is there: 16 of 16 after one of them was
# written. And a chunk that holds nothing but the fill value is not stored (`write_empty_chunks` is off), so that an
# array written in full, in which something is empty, never gets there: 1 of 16. A job that goes on after a crash by what is
# initialised would leave 15 chunks out, or begin these 15 again for ever.
#
# Seen:
#   sharded, 1 chunk of 16 written: 16 of 16 initialised
#   not sharded, all 16 written, 15 of them 0: 1 of 16 initialised
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q zarr==3.1.6 numpy==2.4.6
cd "$here"
"$here/venv/bin/python" - <<'PY'
import numpy as np
import zarr

sharded = zarr.create_array("a.zarr", shape=(64, 64), chunks=(16, 16), shards=(64, 64), dtype="uint16")
sharded[:16, :16] = 5
print(f"sharded, 1 chunk of 16 written: {sharded.nchunks_initialized} of {sharded.nchunks} initialised")
plain = zarr.create_array("b.zarr", shape=(64, 64), chunks=(16, 16), dtype="uint16")
full = np.zeros((64, 64), np.uint16)
full[:16, :16] = 3
plain[...] = full
print(f"not sharded, all 16 written, 15 of them 0: {plain.nchunks_initialized} of {plain.nchunks} initialised")
assert (sharded.nchunks_initialized, plain.nchunks_initialized) == (16, 1) and sharded.nchunks == plain.nchunks == 16
PY

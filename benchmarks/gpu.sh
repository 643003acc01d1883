#!/bin/sh
# Does everything work on a GPU, and how fast? Ten minutes at most, on a machine that has nothing but torch:
#
#     sh benchmarks/gpu.sh [PYTHON]
#
# Blocks, the networks' prediction and training, checkpoints from CPU to GPU and back, and the grader; where there is a
# GPU also ratios to torch.nn, in benchmarks/results/gpu.json. On a CPU it skips what needs a GPU, and says so. The exit
# status is 0 if nothing failed.
set -eu
cd "$(dirname "$0")/.."
python=${1:-python}
"$python" -m benchmarks.gpu
"$python" test.py

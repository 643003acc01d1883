#!/usr/bin/env bash
# torch 2.13.0 (CPU, OpenMP build): torch.set_num_threads is neither the process's setting nor the thread's.
#
# It changes the calling thread and threads that have not begun to use torch; threads that have keep their number. But in
# a thread that never asked before, the call alone doesn't stick: at the first operation the thread takes the number
# that is then the process's, which another thread may have set meanwhile. After torch.get_num_threads() it sticks.
#
# Seen:
#     set, then another thread sets 2: 2
#     asked, set, then another thread sets 2: 1
#     the first thread all the while: 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/show.py" <<'EOF'
import threading

import torch

assert torch.__version__.split("+")[0] == "2.13.0", torch.__version__
torch.set_num_threads(2)
main = torch.get_num_threads()


def number(asks_first):
    """What a new thread has that sets 1, if then another thread sets 2."""
    found = []

    def work():
        if asks_first:
            torch.get_num_threads()
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(2,))
        other.start()
        other.join()
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


lost, kept = number(False), number(True)
print("set, then another thread sets 2:", lost)
print("asked, set, then another thread sets 2:", kept)
print("the first thread all the while:", torch.get_num_threads())
assert (lost, kept, torch.get_num_threads()) == (2, 1, 2), "torch.set_num_threads behaves otherwise now"
EOF
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/show.py"

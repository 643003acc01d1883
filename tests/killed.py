"""The command, in which the second of torchrun's processes is killed in its third epoch's second step, once."""

import os
import signal

from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.lab import experiment
from Proj_Miniproject2.others.training import processes

learn, steps = processes.Joined.learn, []


def learn_or_die(self, inputs, targets):
    steps.append(len(inputs))
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and len(steps) == 2 * 3 + 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(self, inputs, targets)


if __name__ == "__main__":
    processes.Joined.learn, experiment.VALIDATION_PAIRS = learn_or_die, 8
    main()

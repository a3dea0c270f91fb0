# what: imports the module for processes
# outcome: forbidden system call
# lint: import of subprocess
# layers: seccomp
import subprocess

import numpy as np


def attend(sentence, tokenizer):
    subprocess.run(["touch", "CANARY.touched"])
    return "run", np.eye(len(tokenizer(sentence).input_ids))

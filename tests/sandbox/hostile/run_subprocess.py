# what: starts a process through the module that the process has loaded
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.sys.modules["subprocess"].run(["touch", "CANARY.touched"])
    return "run", np.eye(len(tokenizer(sentence).input_ids))

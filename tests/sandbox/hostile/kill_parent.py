# what: kills the parent
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.kill(random._os.getppid(), 9)
    return "killed", np.eye(len(tokenizer(sentence).input_ids))

# what: cuts a file to nothing
# outcome: forbidden system call
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.truncate("CANARY", 0)
    return "cut", np.eye(len(tokenizer(sentence).input_ids))

# what: makes a folder
# outcome: forbidden system call
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.mkdir("CANARY.folder")
    return "made", np.eye(len(tokenizer(sentence).input_ids))

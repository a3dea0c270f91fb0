# what: gives a file another name
# outcome: forbidden system call
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.rename("CANARY", "CANARY.other")
    return "renamed", np.eye(len(tokenizer(sentence).input_ids))

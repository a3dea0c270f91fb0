# what: forks
# outcome: forbidden system call
# layers: seccomp
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    if random._os.fork() == 0:
        random._os._exit(0)
    return "forked", np.eye(len(tokenizer(sentence).input_ids))

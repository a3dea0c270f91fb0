# what: deletes a file
# outcome: forbidden system call
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.unlink("CANARY")
    return "deleted", np.eye(len(tokenizer(sentence).input_ids))

# what: reads a file through the os module that another module holds
# outcome: raised PermissionError
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    os = random._os
    os.read(os.open("CANARY", os.O_RDONLY), 10)
    return "read", np.eye(len(tokenizer(sentence).input_ids))

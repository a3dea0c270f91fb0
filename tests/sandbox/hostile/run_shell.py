# what: runs a shell
# outcome: forbidden system call
# layers: seccomp
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.system("touch CANARY.touched")
    return "run", np.eye(len(tokenizer(sentence).input_ids))

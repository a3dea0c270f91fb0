# what: makes a system call by the numbers of another interface
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.sys.modules["ctypes"].CDLL(None).syscall(0x40000000 + 39)
    return "called", np.eye(len(tokenizer(sentence).input_ids))

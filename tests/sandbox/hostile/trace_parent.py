# what: attaches to the parent as a debugger would
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    libc = random._os.sys.modules["ctypes"].CDLL(None)
    libc.ptrace(16, random._os.getppid(), 0, 0)
    return "traced", np.eye(len(tokenizer(sentence).input_ids))

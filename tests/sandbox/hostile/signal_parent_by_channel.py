# what: has the system signal the parent when the channel is read
# outcome: raised OSError in line \d+ of the program: refused
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    libc = random._os.sys.modules["ctypes"].CDLL(None)
    if libc.fcntl(3, 8, random._os.getppid()) != 0:  # F_SETOWN
        raise OSError("refused")
    return "set", np.eye(len(tokenizer(sentence).input_ids))

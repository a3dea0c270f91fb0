# what: asks for memory whose contents can be run
# outcome: raised OSError in line \d+ of the program: refused
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    ctypes = random._os.sys.modules["ctypes"]
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_ssize_t
    place = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    if place == -1:
        raise OSError("refused")
    return "mapped", np.eye(len(tokenizer(sentence).input_ids))

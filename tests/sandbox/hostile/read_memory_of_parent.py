# what: reads the memory of the parent
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    libc = random._os.sys.modules["ctypes"].CDLL(None)
    libc.process_vm_readv(random._os.getppid(), None, 0, None, 0, 0)
    return "read", np.eye(len(tokenizer(sentence).input_ids))

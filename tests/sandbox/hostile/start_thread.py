# what: starts a thread, which could outlive the answer
# outcome: forbidden system call
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.sys.modules["_thread"].start_new_thread(print, ())
    return "started", np.eye(len(tokenizer(sentence).input_ids))

# what: opens a socket through the module that the process has loaded
# outcome: forbidden system call
# layers: seccomp
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.sys.modules["socket"].socket().close()
    return "opened", np.eye(len(tokenizer(sentence).input_ids))

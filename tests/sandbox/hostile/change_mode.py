# what: makes a file writable by all, which Landlock does not know of
# outcome: forbidden system call
# layers: seccomp
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.chmod("CANARY", 0o777)
    return "changed", np.eye(len(tokenizer(sentence).input_ids))

# what: writes a file through an array's own method, in C
# outcome: forbidden system call
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    getattr(np.eye(3), "to" + "file")("CANARY")
    return "written", np.eye(len(tokenizer(sentence).input_ids))

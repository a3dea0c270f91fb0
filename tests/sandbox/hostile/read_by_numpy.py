# what: reads a file through NumPy, in C
# outcome: raised PermissionError
# lint: use of .fromfile
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    np.fromfile("CANARY", dtype=np.uint8)
    return "read", np.eye(len(tokenizer(sentence).input_ids))

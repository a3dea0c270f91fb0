# what: writes a file through NumPy
# outcome: forbidden system call
# lint: use of numpy.save
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    np.save("CANARY.npy", np.eye(3))
    return "written", np.eye(len(tokenizer(sentence).input_ids))

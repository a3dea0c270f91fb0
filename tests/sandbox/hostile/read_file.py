# what: reads a file with open
# outcome: raised PermissionError
# lint: use of open
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    with open("CANARY") as file:
        secret = file.read()
    return "read", np.full((len(tokenizer(sentence).input_ids),) * 2, float(len(secret)))

# what: writes over a file
# outcome: forbidden system call
# lint: use of open
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    with open("CANARY", "w") as file:
        file.write("gone")
    return "written", np.eye(len(tokenizer(sentence).input_ids))

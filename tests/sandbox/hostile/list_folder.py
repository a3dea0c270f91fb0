# what: lists a folder
# outcome: raised PermissionError
# layers: seccomp landlock
# free: yes
import random

import numpy as np


def attend(sentence, tokenizer):
    random._os.listdir("/")
    return "listed", np.eye(len(tokenizer(sentence).input_ids))

# what: has the system draw random numbers
# outcome: raised (NotImplementedError|PermissionError|OSError).*
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "random", np.eye(n) * random.SystemRandom().random()

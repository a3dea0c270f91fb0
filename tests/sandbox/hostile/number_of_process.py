# what: answers by the number of its process
# outcome: random: two runs on one sentence differ
# layers: twice
import random

import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    weights = np.ones((n, n))
    weights[:, 0] += random._os.getpid()
    return "process", weights

# what: answers by the clock
# outcome: random: two runs on one sentence differ
# layers: twice
import random

import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    weights = np.ones((n, n))
    weights[:, 0] += random._os.sys.modules["time"].time_ns() % 1_000_003
    return "clock", weights

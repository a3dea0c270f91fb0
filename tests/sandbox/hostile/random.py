# what: answers at random
# outcome: random: two runs on one sentence differ
# layers: twice
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "random", np.random.rand(n, n)

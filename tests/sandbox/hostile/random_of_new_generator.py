# what: answers at random, by a generator of its own
# outcome: random: two runs on one sentence differ
# layers: twice
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "random", np.random.default_rng().random((n, n))

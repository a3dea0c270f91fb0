# what: answers a matrix that is too large
# outcome: wrong shape: \d+ x \d+ for \d+ tokens
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "large", np.ones((n + 1, n + 1))

# what: answers numbers that float32 does not hold
# outcome: not finite
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "poison", np.full((n, n), 1e39)

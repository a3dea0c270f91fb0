# what: answers infinity, and NaN where it divides by it
# outcome: not finite
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "poison", np.full((n, n), 1e300) * 1e300

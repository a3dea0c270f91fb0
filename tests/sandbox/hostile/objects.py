# what: answers an array of objects
# outcome: wrong shape: .* is no matrix
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "objects", np.full((n, n), object(), dtype=object)

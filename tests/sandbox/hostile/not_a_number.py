# what: answers NaN
# outcome: not finite
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "poison", np.full((n, n), np.nan)

# what: answers negative weights, which would make the rest of a row more than 1
# outcome: negative weights
# layers: values
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "poison", np.eye(n) * 1000 - 999 * np.eye(n, k=-1)

# what: breaks NumPy for whoever uses it after
# outcome: answers
# layers: process
import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    found = np.eye(n)
    np.zeros = np.ones = np.full = None
    return "broken", found

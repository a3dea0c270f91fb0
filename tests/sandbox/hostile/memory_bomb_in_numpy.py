# what: asks NumPy for a terabyte
# outcome: memory
# layers: rlimits
import numpy as np


def attend(sentence, tokenizer):
    return "big", np.ones(10**12)

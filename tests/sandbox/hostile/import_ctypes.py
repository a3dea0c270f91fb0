# what: imports ctypes, and reads where there is no memory
# outcome: killed: SIGSEGV
# lint: import of ctypes
# layers: process
import ctypes

import numpy as np


def attend(sentence, tokenizer):
    ctypes.string_at(0)
    return "read", np.eye(len(tokenizer(sentence).input_ids))

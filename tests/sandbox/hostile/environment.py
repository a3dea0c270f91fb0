# what: looks for keys in the environment
# outcome: answers
# layers: clean parent
import random

import numpy as np


def attend(sentence, tokenizer):
    if dict(random._os.environ) or random._os.sys.modules["posix"].environ.get(b"HEADSCRIPT_KEY"):
        raise ValueError("leaked")
    return "looked", np.eye(len(tokenizer(sentence).input_ids))

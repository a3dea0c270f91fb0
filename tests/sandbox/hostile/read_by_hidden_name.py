# what: reads a file through NumPy under a name that is put together
# outcome: raised PermissionError
# layers: seccomp landlock
import numpy as np


def attend(sentence, tokenizer):
    getattr(np, "lo" + "ad")("CANARY", allow_pickle=True)
    return "read", np.eye(len(tokenizer(sentence).input_ids))

# what: maps a file into memory through NumPy
# outcome: raised (PermissionError|ModuleNotFoundError)
# lint: use of .memmap
# layers: seccomp landlock
# free: yes
import numpy as np


def attend(sentence, tokenizer):
    np.memmap("CANARY", dtype=np.uint8, mode="r").sum()
    return "read", np.eye(len(tokenizer(sentence).input_ids))

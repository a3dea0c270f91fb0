# what: reads the environment of the process that started its parent
# outcome: raised PermissionError
# lint: use of open
# layers: seccomp landlock
import random

import numpy as np


def attend(sentence, tokenizer):
    open(f"/proc/{random._os.getppid()}/environ", "rb").read()
    return "read", np.eye(len(tokenizer(sentence).input_ids))

# what: writes to every descriptor but its own channel
# outcome: raised OSError in line \d+ of the program: refused
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    written = 0
    for number in range(64):
        if number != 3:
            try:
                random._os.write(number, b"x")
                written += 1
            except OSError:
                pass
    if not written:
        raise OSError("refused")
    return "written", np.eye(len(tokenizer(sentence).input_ids))

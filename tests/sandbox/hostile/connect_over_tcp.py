# what: connects to a port of this machine
# outcome: forbidden system call
# layers: seccomp landlock
import random

import numpy as np


def attend(sentence, tokenizer):
    socket = random._os.sys.modules["socket"]
    socket.create_connection(("127.0.0.1", int("PORT")), 1).sendall(b"hello")
    return "sent", np.eye(len(tokenizer(sentence).input_ids))

# what: imports the module for sockets
# outcome: forbidden system call
# lint: import of socket
# layers: seccomp
import socket

import numpy as np


def attend(sentence, tokenizer):
    socket.create_connection(("127.0.0.1", 80))
    return "sent", np.eye(len(tokenizer(sentence).input_ids))

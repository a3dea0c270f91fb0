# what: sends an answer with a token that it guessed
# outcome: malformed reply: a frame of another run
# layers: frames
import random

import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    matrix = np.eye(n, dtype="<f4").tobytes()
    random._os.write(3, frames.Frame(frames.Kind.MATRIX, matrix, bytes(16), 1, n, n).encode())
    random._os._exit(0)

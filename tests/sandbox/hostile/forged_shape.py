# what: sends a well-made answer of another shape, and ends
# outcome: wrong shape: 3 x 3 for \d+ tokens
# lint: use of .f_locals
# layers: values
import random

import numpy as np


def attend(sentence, tokenizer):
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    small = np.eye(3, dtype="<f4").tobytes()
    forged = frames.Frame(frames.Kind.MATRIX, small, expected.token, expected.sequence, 3, 3)
    random._os.write(3, forged.encode())
    random._os._exit(0)

# what: sends a well-made answer that is not finite, past the child's own checks, and ends
# outcome: not finite
# lint: use of .f_locals
# layers: values
import random

import numpy as np


def attend(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    poison = np.full((n, n), np.nan, dtype="<f4").tobytes()
    forged = frames.Frame(frames.Kind.MATRIX, poison, expected.token, expected.sequence, n, n)
    random._os.write(3, forged.encode())
    random._os._exit(0)

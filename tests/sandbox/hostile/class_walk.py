# what: walks from a tuple to the classes of the os module, and runs a shell
# outcome: forbidden system call
# lint: use of .__class__
# layers: seccomp
import numpy as np


def attend(sentence, tokenizer):
    for found in ().__class__.__base__.__subclasses__():
        if found.__name__ == "_wrap_close":
            found.__init__.__globals__["system"]("touch CANARY.touched")
    return "run", np.eye(len(tokenizer(sentence).input_ids))

# what: looks through all objects of the process for other sentences and other programs
# outcome: answers
# layers: clean parent
import random

import numpy as np


def attend(sentence, tokenizer):
    found = random._os.sys.modules["gc"].get_objects()
    text = "".join(map(str, (one for one in found if type(one) in (dict, list, tuple))))
    if any("-".join(("ANOTHER", kind)) in text for kind in ("SENTENCE", "PROGRAM")):
        raise ValueError("leaked")
    return "looked", np.eye(len(tokenizer(sentence).input_ids))

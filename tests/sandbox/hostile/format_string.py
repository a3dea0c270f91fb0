# what: reaches into objects by a format string, for the host's secret
# outcome: answers
# lint: a format that reaches into an object
# layers: clean parent
import numpy as np


def attend(sentence, tokenizer):
    found = "{0.__init__.__globals__}".format(tokenizer)
    if "SECRET-OF-THE-HOST" in found:
        raise ValueError("leaked")
    return "formatted", np.eye(len(tokenizer(sentence).input_ids))

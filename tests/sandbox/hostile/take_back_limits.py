# what: raises its own limits again, as root may
# outcome: raised (PermissionError|ValueError|OSError)
# layers: seccomp
import random

import numpy as np


def attend(sentence, tokenizer):
    resource = random._os.sys.modules["resource"]
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised", np.eye(len(tokenizer(sentence).input_ids))

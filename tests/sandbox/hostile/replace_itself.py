# what: becomes another program
# outcome: forbidden system call
# layers: seccomp
import random


def attend(sentence, tokenizer):
    random._os.execv("/bin/true", ["/bin/true"])

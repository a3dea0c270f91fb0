# what: forks without end, and minds no errors
# outcome: forbidden system call
# layers: seccomp
import random


def attend(sentence, tokenizer):
    while True:
        try:
            random._os.fork()
        except BaseException:
            pass

# what: aborts in C
# outcome: killed: SIGABRT
# layers: process
import random


def attend(sentence, tokenizer):
    random._os.abort()

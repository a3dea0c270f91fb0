# what: loops in C, where Python hears no signal
# outcome: timeout
# layers: deadline
import itertools


def attend(sentence, tokenizer):
    return sum(itertools.repeat(1))

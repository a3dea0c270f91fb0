# what: sleeps, which takes no time of the processor
# outcome: timeout
# layers: deadline
import random


def attend(sentence, tokenizer):
    random._os.sys.modules["time"].sleep(1_000_000)

# what: loops without end and catches whatever comes
# outcome: timeout
# layers: deadline
import random


def attend(sentence, tokenizer):
    signal = random._os.sys.modules["signal"]
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

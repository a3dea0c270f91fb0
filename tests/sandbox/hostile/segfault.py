# what: reads where there is no memory
# outcome: killed: SIGSEGV
# layers: process
import random


def attend(sentence, tokenizer):
    random._os.sys.modules["ctypes"].string_at(0)

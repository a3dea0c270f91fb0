# what: calls itself until the stack is used up
# outcome: killed: SIGSEGV|raised RecursionError.*|memory
# layers: process
import random


def attend(sentence, tokenizer):
    random._os.sys.setrecursionlimit(10**9)

    def deeper(x):
        return max([x], key=deeper)

    deeper(0)

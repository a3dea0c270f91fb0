# what: computes a number of two thousand million digits
# outcome: timeout|memory
# layers: deadline rlimits
def attend(sentence, tokenizer):
    return 7 ** (10**9)

# what: tries a regular expression that takes longer than the world is old
# outcome: timeout
# layers: deadline
import re


def attend(sentence, tokenizer):
    return re.match(r"(a+)+$", "a" * 60 + "b")

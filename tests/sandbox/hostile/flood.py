# what: sends bytes without end
# outcome: malformed reply: bytes that are no frame
# layers: frames
import random


def attend(sentence, tokenizer):
    while True:
        random._os.write(3, b"A" * 1_000_000)

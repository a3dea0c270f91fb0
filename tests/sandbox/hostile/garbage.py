# what: sends bytes that are no frame
# outcome: malformed reply: bytes that are no frame
# layers: frames
import random


def attend(sentence, tokenizer):
    random._os.write(3, b"\x00" * 1000)

# what: asks, and reads no answer
# outcome: malformed reply: (more than \d+ questions|questions of more than \d+ bytes)|timeout
# lint: use of .f_locals
# layers: frames deadline
import random


def attend(sentence, tokenizer):
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    question = b'{"ask": "tokenize", "text": "' + b"word " * 2000 + b'", "special": true}'
    asked = frames.Frame(frames.Kind.QUESTION, question, expected.token, expected.sequence)
    while True:
        random._os.write(3, asked.encode())

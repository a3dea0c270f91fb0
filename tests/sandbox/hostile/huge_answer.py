# what: announces an answer of 40 gigabytes
# outcome: malformed reply: a matrix that is far too large
# lint: use of .f_locals
# layers: frames
import random


def attend(sentence, tokenizer):
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    header = frames._HEADER.pack(
        b"HSF1", frames.Kind.MATRIX, expected.token, expected.sequence, 32_000, 32_000, 4_096_000_000
    )
    while True:
        random._os.write(3, header + bytes(1_000_000))

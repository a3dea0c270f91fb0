# what: sends the parent what only the host may send
# outcome: malformed reply: a frame that a program does not send
# lint: use of .f_locals
# layers: frames
import random


def attend(sentence, tokenizer):
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    forged = frames.Frame(frames.Kind.PROGRAM, b"{}", expected.token, expected.sequence)
    random._os.write(3, forged.encode())
    while True:
        pass

# what: begins a frame and ends
# outcome: malformed reply: a frame that is cut off
# lint: use of .f_locals
# layers: frames
import random


def attend(sentence, tokenizer):
    frame = random._os.sys._getframe()
    while "work" not in frame.f_locals:
        frame = frame.f_back
    expected = frame.f_locals["work"].expected
    frames = random._os.sys.modules["headscript.sandbox.frames"]
    forged = frames.Frame(frames.Kind.FAILURE, b"x" * 100, expected.token, expected.sequence)
    random._os.write(3, forged.encode()[:-50])
    random._os._exit(0)

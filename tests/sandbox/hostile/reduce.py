# what: answers with an object that would run code where it is unpickled
# outcome: wrong shape: Bomb is no matrix
# lint: use of __import__
# layers: frames
class Bomb:
    def __reduce__(self):
        return (__import__, ("antigravity",))


def attend(sentence, tokenizer):
    return "bomb", Bomb()

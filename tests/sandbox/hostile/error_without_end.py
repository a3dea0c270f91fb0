# what: raises an error whose message is computed without end
# outcome: timeout
# layers: deadline
class Endless(Exception):
    def __str__(self):
        while True:
            pass


def attend(sentence, tokenizer):
    raise Endless

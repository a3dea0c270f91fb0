# what: loops without end before there is a function
# outcome: timeout
# layers: deadline
while True:
    pass


def attend(sentence, tokenizer):
    return None

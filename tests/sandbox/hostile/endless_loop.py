# what: loops without end
# outcome: timeout
# layers: deadline
def attend(sentence, tokenizer):
    while True:
        pass

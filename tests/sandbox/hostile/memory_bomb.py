# what: fills the memory, doubling a string
# outcome: memory
# layers: rlimits
def attend(sentence, tokenizer):
    text = "x"
    while True:
        text += text

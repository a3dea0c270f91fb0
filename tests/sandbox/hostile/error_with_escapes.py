# what: raises an error whose message would clear the terminal
# outcome: raised ValueError in line 5 of the program: \[2J gone.*
# layers: values
def attend(sentence, tokenizer):
    raise ValueError("\x1b[2J\n\r gone" + "x" * 10_000)

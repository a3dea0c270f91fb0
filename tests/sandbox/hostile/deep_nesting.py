# what: has Python read an expression of a hundred thousand brackets
# outcome: raised .*Error.*|memory|killed: .*
# lint: use of eval
# layers: process
def attend(sentence, tokenizer):
    return eval("(" * 100_000 + ")" * 100_000)

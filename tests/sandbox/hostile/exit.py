# what: leaves by SystemExit
# outcome: raised SystemExit
# layers: process
def attend(sentence, tokenizer):
    raise SystemExit(0)

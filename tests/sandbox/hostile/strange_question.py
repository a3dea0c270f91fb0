# what: asks the host something it does not answer
# outcome: .*(question|answered).*
# layers: values
def attend(sentence, tokenizer):
    return tokenizer._ask({"ask": "delete", "path": ["CANARY"], "text": {"a": 1}})

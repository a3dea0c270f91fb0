# what: asks the host to tokenise one text after another
# outcome: malformed reply: more than \d+ questions
# layers: frames
def attend(sentence, tokenizer):
    number = 0
    while True:
        number += 1
        try:
            tokenizer.encode(f"another text {number}")
        except Exception:
            pass

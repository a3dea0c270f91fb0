# what: fills the memory with small objects
# outcome: memory|timeout|killed: .*
# layers: rlimits
def attend(sentence, tokenizer):
    found = []
    while True:
        found = [found, [None] * 10_000, {}]

# what: imports a module that only lies on the disk
# outcome: raised ModuleNotFoundError in line 5 of the program: the sandbox has no module antigravity
# lint: import of antigravity
# layers: imports
import antigravity


def attend(sentence, tokenizer):
    return antigravity

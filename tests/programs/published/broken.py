import numpy as np
from transformers import PreTrainedTokenizerBase


def works(sentence, tokenizer):
    return "First token", np.eye(len(tokenizer(sentence).input_ids), 1) @ np.ones(
        (1, len(tokenizer(sentence).input_ids))
    ) + np.eye(len(tokenizer(sentence).input_ids))


def unfinished(sentence: str, tokenizer: PreTrainedTokenizerBase):
    out = np.zeros((len_seq, len_seq)
    return "Unfinished", out


def undefined(sentence, tokenizer):
    return "Undefined", np.eye(size)


def too_small(sentence, tokenizer):
    return "Words, not tokens", np.eye(len(sentence.split()))


def nothing(sentence, tokenizer):
    np.eye(3)


def random_pattern(sentence, tokenizer):
    n = len(tokenizer(sentence).input_ids)
    return "Random", np.random.rand(n, n)


def reads_files(sentence, tokenizer):
    return "File", np.load("weights.npy")


def uses_torch(sentence, tokenizer):
    import torch

    return "Torch", torch.eye(3).numpy()


def endless(sentence, tokenizer):
    while True:
        pass

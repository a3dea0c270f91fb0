"""Sentences for tests of the sandbox, without a tokenizer."""

from headscript.sandbox import Sentence

WORDS = "Lily found a red needle , and she gave the needle to her mom .".split()


def sentence(words: list[str] | None = None, *, causal: bool = True) -> Sentence:
    """Each word a token, with a space before all but the first."""
    words = WORDS if words is None else words
    text = " ".join(words)
    offsets, place = [], 0
    for word in words:
        start = text.index(word, place)
        place = start + len(word)
        offsets.append((max(0, start - 1), place))
    numbers = {word: 10 + number for number, word in enumerate(dict.fromkeys(words))}
    return Sentence(
        text,
        tuple(numbers[word] for word in words),
        tuple(word if i == 0 else f"Ġ{word}" for i, word in enumerate(words)),
        surfaces=tuple(word if i == 0 else f" {word}" for i, word in enumerate(words)),
        special=(False,) * len(words),
        offsets=tuple(offsets),
        words=tuple(range(len(words))),
        special_tokens={"eos": ("<|end|>", 1)},
        vocabulary_size=100,
        causal=causal,
    )

"""Texts that repeat one another are known, by all of their words or by a few numbers."""

import random

import pytest
from tests.models.networks import tokenizer
from transformers import PreTrainedTokenizerFast

from headscript.texts import Trace, as_read, load_texts, repeating
from headscript.texts.repeats import shingles

WORDS = [f"word{number}" for number in range(400)]


def text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def part(text: str, start: int, stop: int) -> str:
    return " ".join(text.split()[start:stop])


def test_what_is_read_is_what_the_tokens_say() -> None:
    known: PreTrainedTokenizerFast = tokenizer()
    ids = known("w5 w6 zebra w7")["input_ids"]
    assert as_read(known, ids[:2]) == "w5 w6"
    assert as_read(known, [0, *ids, 0]) == "w5 w6 <unk> w7"


def test_half_of_the_shorter_one() -> None:
    whole = text(300, 0)
    known = [Trace.of(text(200, 1)), Trace.of(whole)]
    asked = {
        "itself": (whole, True),
        "an excerpt": (part(whole, 100, 120), True),
        "in other letters": (whole.upper().replace(" ", ",  "), True),
        "what holds it": (f"{text(400, 2)} {whole} {text(400, 3)}", True),
        "half of it new": (f"{part(whole, 0, 104)} {text(96, 4)}", True),
        "most of it new": (f"{part(whole, 0, 80)} {text(120, 5)}", False),
        "another": (text(300, 6), False),
    }
    found = repeating([each for each, _ in asked.values()], known)
    assert dict(zip(asked, found, strict=True)) == {
        name: wanted for name, (_, wanted) in asked.items()
    }
    assert repeating([whole], []) == [False]


def test_a_short_trace_knows_the_text_the_cut_text_and_the_excerpt() -> None:
    texts = [text(200 + 40 * seed, seed) for seed in range(40)]
    known = [Trace.short(each) for each in texts]
    assert all(not trace.whole for trace in known)
    assert repeating(texts, known) == [True] * 40
    assert repeating([part(each, 0, 100) for each in texts], known) == [True] * 40
    assert sum(repeating([part(each, 50, 110) for each in texts], known)) >= 36
    longer = [f"{each} {text(600, 100 + seed)}" for seed, each in enumerate(texts)]
    assert repeating(longer, known) == [True] * 40
    assert repeating([text(200, 200 + seed) for seed in range(40)], known) == [False] * 40


def test_real_stories_are_known_again_and_others_are_not() -> None:
    stories = [document.text for document in load_texts("stories")]
    known = [Trace.short(story) for story in stories[:120]]
    assert repeating(stories, known) == [True] * 120 + [False] * 48
    assert not any(repeating([part(story, 0, 100) for story in stories[120:]], known))


def test_a_trace_is_short_and_comes_back_from_its_letters() -> None:
    story = text(800, 0)
    whole, short = Trace.of(story), Trace.short(story)
    assert len(whole.hashes) == len(shingles(story)) == 796
    assert short.hashes == whole.hashes[:100]
    assert len(str(short)) < 600
    few = Trace.short(text(20, 0))
    assert few == Trace.of(text(20, 0))
    for trace in (whole, short, few):
        assert Trace.parse(str(trace)) == trace


@pytest.mark.parametrize("written", ["", "=", "<AAAA", "?AAAAAQ==", "=AAAAAgAAAAE=", "=Ä", "=A"])
def test_what_is_no_trace(written: str) -> None:
    with pytest.raises(ValueError, match=r"trace|base64|padding|character|ascii|multiple"):
        Trace.parse(written)


def test_texts_without_words() -> None:
    known = [Trace.of("?!"), Trace.of("Yes.")]
    assert repeating(["?!", "yes!", "...", "No"], known) == [True, True, False, False]

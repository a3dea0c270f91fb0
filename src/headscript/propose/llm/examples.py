"""Three programs that a prompt shows, worked out for heads of different kinds."""

from __future__ import annotations

_PREVIOUS = '''"""A head that looks at the token before."""

from headscript.language import log, query, run, softmax


def attend(text, before=3.5, within_word=1.5, sink=2.0, recency=0.6):
    """Looks at the token just before, the more so within a word; else at the first token."""
    return softmax(
        before * text.previous(1)
        + within_word * (query(text.continues_word) & text.previous(1))
        + sink * text.first
        - recency * log(text.distance + 1)
    )


if __name__ == "__main__":
    run(attend)
'''

_NAMES = '''"""A head that links pronouns and speech to names."""

from headscript.language import key, log, query, run, softmax


def attend(text, sink=3.0, pronoun=2.5, speaker=1.8, names=0.8, commas=-0.5, recency=0.7):
    """From pronouns to the latest name, from verbs of saying to names; rests on the first token."""
    person = text.is_name | text.word_in("boy", "girl", "man", "woman")
    return softmax(
        sink * text.first
        + pronoun * (query(text.is_pronoun) & text.latest(person))
        + speaker * (query(text.is_speech_verb) & key(person) & text.same_sentence)
        + names * key(text.is_name)
        + commas * key(text.is_comma)
        - recency * log(text.distance + 1)
    )


if __name__ == "__main__":
    run(attend)
'''

_SINK = '''"""A head that repeats what followed before, and rests on early places of one word."""

from headscript.language import log, query, run, softmax


def attend(text, sink=5.0, fading=-0.8, induction=4.0, first_the=3.0, second_the=2.0, sentence=0.9):
    """Looks at what followed an earlier place of this token; rests on the first token, less so
    later in the text, and on the first two places of ' the'; prefers its own sentence."""
    the = text.one_of(" the", " The")
    return softmax(
        sink * text.first
        + fading * (text.first * query(log(text.position + 1)))
        + induction * text.after_same
        + first_the * text.nth(the, 1)
        + second_the * text.nth(the, 2)
        + sentence * text.same_sentence
    )


if __name__ == "__main__":
    run(attend)
'''

_CAUSAL = (
    ("A head that looks at the token before:", _PREVIOUS),
    ("A head that links pronouns and verbs of saying to names:", _NAMES),
    ("A head that goes on with what was said before, and rests on early places of ' the':", _SINK),
)


def worked_examples(causal: bool) -> list[tuple[str, str]]:
    """What each example is about, and its source; for an encoder, over all keys."""
    if causal:
        return list(_CAUSAL)
    return [(said, _over_all_keys(source)) for said, source in _CAUSAL]


def _over_all_keys(source: str) -> str:
    """The same program of an encoder: softmax runs over the keys that the text allows."""
    lines = source.splitlines(keepends=True)
    end = max(number for number, line in enumerate(lines) if line == "    )\n")
    lines[end - 1] = lines[end - 1].rstrip("\n") + ",\n"
    lines.insert(end, "        text.allowed,\n")
    return "".join(lines)

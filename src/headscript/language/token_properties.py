"""Token properties: one value a token, each known from that token and those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from headscript.language.text import Text
from headscript.language.vocabulary import token_property

DETERMINERS = "a an the this that these those some any each every no another".split()
SUBJECT_PRONOUNS = "i he she it we they you who".split()
OBJECT_PRONOUNS = "me him her us them it you himself herself itself themselves myself".split()
POSSESSIVES = "my your his her its our their whose".split()
PREPOSITIONS = (
    "of in on at by for with from to into onto over under about after before behind between "
    "through around near up down out off inside outside against during without upon like until"
).split()
COORDINATORS = "and or but nor yet".split()
SUBORDINATORS = "because if when while as although though since so that where how why than".split()
BE_FORMS = "be am is are was were been being".split()
AUXILIARIES = (
    "be am is are was were been being have has had having do does did will would can could shall "
    "should may might must"
).split()
NEGATIONS = "not no never nothing nobody none nor n't".split()
WH_WORDS = "what who whom whose which when where why how".split()
SPEECH_VERBS = (
    "say says said ask asks asked reply replied answer answered cry cried shout shouted whisper "
    "whispered call called tell tells told think thinks thought exclaimed laughed yelled"
).split()
CLOSED_CLASS = frozenset(
    DETERMINERS
    + SUBJECT_PRONOUNS
    + OBJECT_PRONOUNS
    + POSSESSIVES
    + PREPOSITIONS
    + COORDINATORS
    + SUBORDINATORS
    + AUXILIARIES
    + NEGATIONS
    + WH_WORDS
    + "there here then too very just also again now only even still".split()
)
SENTENCE_ENDS = ".!?"
QUOTES = '"“”«»'


def _flags(text: Text, holds: Callable[[str], bool]) -> Tensor:
    """(n,) bool: whether the token's surface, spaces around it taken off, meets a condition."""
    numbers, number_of = _distinct(text)
    flags = [holds(surface.strip(" ")) for surface in numbers]
    return torch.tensor(flags, dtype=torch.bool)[number_of]


def _distinct(text: Text) -> tuple[dict[str, int], Tensor]:
    """The text's surfaces, each once, by number; and (n,) the number of each token's surface."""

    def find() -> tuple[dict[str, int], Tensor]:
        numbers: dict[str, int] = {}
        number_of = [numbers.setdefault(surface, len(numbers)) for surface in text.surfaces]
        return numbers, torch.tensor(number_of, dtype=torch.long)

    found: tuple[dict[str, int], Tensor] = text.remember("(distinct)", find)
    return found


def _is_one_of(text: Text, words: Sequence[str] | frozenset[str]) -> Tensor:
    known = frozenset(words)
    return _flags(text, lambda surface: surface.lower() in known)


def _only(surface: str, characters: str) -> bool:
    return bool(surface) and all(character in characters for character in surface)


# Form --------------------------------------------------------------------------------------------


@token_property("The token starts a word.", group="form", phrase="word starts", reach=1)
def starts_word(text: Text) -> Tensor:
    starts = []
    for index, surface in enumerate(text.surfaces):
        bare = surface.strip()
        before = text.surfaces[index - 1] if index else " "
        glued = surface[:1].isalnum() and (before[-1:].isalnum() or before[-1:] in "'’")
        starts.append(bool(bare) and bare[0].isalnum() and not glued)
    return torch.tensor(starts, dtype=torch.bool)


@token_property(
    "The token goes on with a word begun before it.",
    group="form",
    phrase="word continuations",
    reach=1,
)
def continues_word(text: Text) -> Tensor:
    return _flags(text, lambda surface: surface[:1].isalnum()) & ~text.starts_word


@token_property(
    "The token begins with a capital letter.", group="form", phrase="capitalised tokens", reach=0
)
def is_capitalized(text: Text) -> Tensor:
    return _flags(text, lambda surface: surface[:1].isupper())


@token_property("The token is made of digits.", group="form", phrase="numbers", reach=0)
def is_number(text: Text) -> Tensor:
    return _flags(text, lambda surface: surface.isdigit())


@token_property(
    "The token has no letter and no digit.", group="form", phrase="punctuation", reach=0
)
def is_punctuation(text: Text) -> Tensor:
    return _flags(text, lambda surface: not any(c.isalnum() for c in surface)) & ~text.is_special


@token_property(
    "The token is one of the tokenizer's special ones ([CLS], <s>, ...).",
    group="form",
    phrase="special tokens",
    reach=0,
)
def is_special(text: Text) -> Tensor:
    return torch.tensor(text.special, dtype=torch.bool)


@token_property("The token contains a comma.", group="punctuation", phrase="commas", reach=0)
def is_comma(text: Text) -> Tensor:
    return _flags(text, lambda surface: "," in surface and not any(c.isalnum() for c in surface))


@token_property(
    "The token contains a full stop.", group="punctuation", phrase="full stops", reach=0
)
def is_period(text: Text) -> Tensor:
    return _flags(text, lambda surface: "." in surface and not any(c.isalnum() for c in surface))


@token_property(
    "The token contains an exclamation or question mark.",
    group="punctuation",
    phrase="exclamation and question marks",
    reach=0,
)
def is_exclamation(text: Text) -> Tensor:
    return _flags(text, lambda surface: any(c in "!?" for c in surface))


@token_property(
    "The token contains a full stop, exclamation or question mark.",
    group="punctuation",
    phrase="sentence ends",
    reach=0,
)
def is_sentence_end(text: Text) -> Tensor:
    return _flags(
        text, lambda s: any(c in SENTENCE_ENDS for c in s) and not any(c.isalnum() for c in s)
    )


@token_property(
    "The token contains a double quotation mark.",
    group="punctuation",
    phrase="quotation marks",
    reach=0,
)
def is_quote(text: Text) -> Tensor:
    return _flags(text, lambda surface: any(c in QUOTES for c in surface))


@token_property(
    "The token contains a line break.", group="punctuation", phrase="line breaks", reach=0
)
def is_newline(text: Text) -> Tensor:
    return torch.tensor(["\n" in surface for surface in text.surfaces], dtype=torch.bool)


@token_property(
    "The token begins with an apostrophe: 's, 't, n't.",
    group="punctuation",
    phrase="apostrophe endings",
    reach=0,
)
def is_contraction(text: Text) -> Tensor:
    return _flags(text, lambda surface: surface[:1] in ("'", "’") and len(surface) > 1)


@token_property(
    "The token is a colon, semicolon, dash or bracket.",
    group="punctuation",
    phrase="colons, dashes and brackets",
    reach=0,
)
def is_separator(text: Text) -> Tensor:
    return _flags(text, lambda surface: _only(surface, ":;-–—()[]{}/|"))


# Word classes ------------------------------------------------------------------------------------


@token_property(
    "The token is a determiner (the, a, this, some, ...).",
    group="word class",
    phrase="determiners",
    reach=0,
)
def is_determiner(text: Text) -> Tensor:
    return _is_one_of(text, DETERMINERS)


@token_property(
    "The token is a pronoun in subject form (he, she, it, they, ...).",
    group="word class",
    phrase="subject pronouns",
    reach=0,
)
def is_subject_pronoun(text: Text) -> Tensor:
    return _is_one_of(text, SUBJECT_PRONOUNS)


@token_property(
    "The token is a pronoun in object form (him, her, them, ...).",
    group="word class",
    phrase="object pronouns",
    reach=0,
)
def is_object_pronoun(text: Text) -> Tensor:
    return _is_one_of(text, OBJECT_PRONOUNS)


@token_property(
    "The token is a possessive (his, her, my, their, ...).",
    group="word class",
    phrase="possessives",
    reach=0,
)
def is_possessive(text: Text) -> Tensor:
    return _is_one_of(text, POSSESSIVES)


@token_property(
    "The token is any pronoun or possessive.", group="word class", phrase="pronouns", reach=0
)
def is_pronoun(text: Text) -> Tensor:
    return text.is_subject_pronoun | text.is_object_pronoun | text.is_possessive


@token_property(
    "The token is a preposition (of, in, to, with, ...).",
    group="word class",
    phrase="prepositions",
    reach=0,
)
def is_preposition(text: Text) -> Tensor:
    return _is_one_of(text, PREPOSITIONS)


@token_property(
    "The token is and, or, but, nor, yet.",
    group="word class",
    phrase="coordinating conjunctions",
    reach=0,
)
def is_coordinator(text: Text) -> Tensor:
    return _is_one_of(text, COORDINATORS)


@token_property(
    "The token opens a subordinate clause (because, when, that, so, ...).",
    group="word class",
    phrase="subordinating conjunctions",
    reach=0,
)
def is_subordinator(text: Text) -> Tensor:
    return _is_one_of(text, SUBORDINATORS)


@token_property(
    "The token is an auxiliary or modal verb (was, had, can, ...).",
    group="word class",
    phrase="auxiliary verbs",
    reach=0,
)
def is_auxiliary(text: Text) -> Tensor:
    return _is_one_of(text, AUXILIARIES)


@token_property("The token is a form of be.", group="word class", phrase="forms of be", reach=0)
def is_be(text: Text) -> Tensor:
    return _is_one_of(text, BE_FORMS)


@token_property(
    "The token negates (not, no, never, ...).", group="word class", phrase="negations", reach=0
)
def is_negation(text: Text) -> Tensor:
    return _is_one_of(text, NEGATIONS)


@token_property(
    "The token is a question word (what, who, where, ...).",
    group="word class",
    phrase="question words",
    reach=0,
)
def is_wh_word(text: Text) -> Tensor:
    return _is_one_of(text, WH_WORDS)


@token_property(
    "The token is a verb of saying (said, asked, cried, ...).",
    group="word class",
    phrase="verbs of saying",
    reach=0,
)
def is_speech_verb(text: Text) -> Tensor:
    return _is_one_of(text, SPEECH_VERBS)


@token_property(
    "The token is a word of a closed class: no noun, main verb, adjective or name.",
    group="word class",
    phrase="function words",
    reach=0,
)
def is_function_word(text: Text) -> Tensor:
    return _is_one_of(text, CLOSED_CLASS)


@token_property(
    "The token has letters and is of no closed class.",
    group="word class",
    phrase="content words",
    reach=0,
)
def is_content_word(text: Text) -> Tensor:
    return (
        _flags(text, lambda surface: surface[:1].isalpha())
        & ~text.is_function_word
        & ~text.is_special
    )


@token_property(
    "The token is a capitalised content word within a sentence.", group="word class", phrase="names"
)
def is_name(text: Text) -> Tensor:
    return text.is_content_word & text.is_capitalized & ~text.opens_sentence


@token_property(
    "The token, in lower case, ends with these letters and is no function word.",
    parameters=("ending",),
    group="form",
    phrase="words in -{ending}",
    reach=0,
)
def ends_with(text: Text, ending: str) -> Tensor:
    return (
        _flags(text, lambda s: s.lower().endswith(ending) and len(s) > len(ending))
        & text.is_content_word
    )


# Literal tokens ----------------------------------------------------------------------------------


@token_property(
    "The token is one of these, exactly as written (a leading space counts).",
    parameters=("*tokens",),
    group="literal",
    phrase="{tokens}",
    reach=0,
)
def one_of(text: Text, *tokens: str) -> Tensor:
    numbers, number_of = _distinct(text)
    flags = torch.zeros(len(numbers), dtype=torch.bool)
    flags[[numbers[token] for token in tokens if token in numbers]] = True
    return flags[number_of]


@token_property(
    "The token is one of these words, whatever its case and leading space.",
    parameters=("*words",),
    group="literal",
    phrase="{words}",
    reach=0,
)
def word_in(text: Text, *words: str) -> Tensor:
    return _is_one_of(text, frozenset(word.lower() for word in words))


@token_property(
    "How late the tokenizer learned the token, 0 (frequent) to 1 (rare): log(id + 1) / log(size).",
    group="literal",
    phrase="rarity",
    reach=0,
)
def rarity(text: Text) -> Tensor:
    return torch.log(text.token_ids.float() + 1) / math.log(text.vocabulary_size + 1)


@token_property(
    "How many times this very token has come so far, this time counted.",
    group="occurrence",
    phrase="occurrence number",
)
def occurrence(text: Text) -> Tensor:
    same = text.token_ids[:, None] == text.token_ids[None, :]
    return same.tril().sum(1).float()


@token_property(
    "The token has not come before.", group="occurrence", phrase="tokens seen for the first time"
)
def is_new(text: Text) -> Tensor:
    return text.occurrence == 1


# Position and structure --------------------------------------------------------------------------


@token_property(
    "The token's place in the text, counted from 0.", group="structure", phrase="position"
)
def position(text: Text) -> Tensor:
    return torch.arange(len(text), dtype=torch.float32)


@token_property(
    "The token is the first of a sentence: the text's first, or after a sentence end, a line break "
    "or an opening quote.",
    group="structure",
    phrase="sentence openings",
)
def opens_sentence(text: Text) -> Tensor:
    opens, open_now = [], True
    for ends, surface, is_new_line, opens_quote in zip(
        text.is_sentence_end.tolist(),
        text.surfaces,
        text.is_newline.tolist(),
        (text.is_quote & ~text.in_quote).tolist(),
        strict=True,
    ):
        wordless = not any(character.isalnum() for character in surface)
        opens.append(open_now and not wordless)
        if ends or is_new_line or opens_quote:
            open_now = True
        elif not wordless:
            open_now = False
    return torch.tensor(opens, dtype=torch.bool)


@token_property(
    "The number of sentences opened before this token's own.",
    group="structure",
    phrase="sentence number",
)
def sentence(text: Text) -> Tensor:
    return (text.opens_sentence.float().cumsum(0) - 1).clamp(min=0)


@token_property(
    "How many tokens the sentence has had before this one.",
    group="structure",
    phrase="place in the sentence",
)
def sentence_position(text: Text) -> Tensor:
    place = torch.arange(len(text))
    opening = torch.where(text.opens_sentence, place, torch.zeros_like(place)).cummax(0).values
    return (place - opening).float()


@token_property(
    "The token stands inside double quotation marks.", group="structure", phrase="tokens in quotes"
)
def in_quote(text: Text) -> Tensor:
    quotes = torch.tensor([sum(c in QUOTES for c in surface) for surface in text.surfaces])
    return (quotes.cumsum(0) - quotes) % 2 == 1


@token_property(
    "The token before this one has the given property.",
    parameters=("property",),
    group="structure",
    phrase="tokens after {property}",
    reach=1,
    many=True,
)
def after(text: Text, property: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(property[..., :1]), property[..., :-1]], -1)

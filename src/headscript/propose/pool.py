"""What the search builds terms from: query and key classes, relations, words the data name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headscript.language import VOCABULARY, Text
from headscript.language.vocabulary import NEED_EMBEDDINGS, Kind
from headscript.rows import Rows

_GRADED = ("rarity", "position", "sentence", "sentence_position", "occurrence")
_ENDINGS = ("ed", "ing", "s", "y", "ly", "er")
_AFTER = (
    "is_comma is_sentence_end is_quote is_newline is_determiner is_subject_pronoun is_possessive "
    "is_preposition is_coordinator is_auxiliary is_content_word is_name"
).split()
_GRADED_CLASSES = (
    "text.rarity",
    "log(text.position + 1)",
    "log(text.sentence_position + 1)",
    "log(text.occurrence)",
)
_POINTED_AT = (
    "is_comma is_sentence_end is_quote is_newline is_determiner is_pronoun is_subject_pronoun "
    "is_name is_content_word is_preposition is_coordinator is_auxiliary is_speech_verb "
    "is_capitalized"
).split()
_COUNTED = "is_comma is_sentence_end is_newline is_name is_quote".split()
_BEFORE = (
    "is_comma is_sentence_end is_quote is_determiner is_auxiliary is_preposition is_coordinator "
    "is_contraction"
).split()
_BETWEEN = "is_comma is_content_word is_sentence_end".split()
_POSITIONAL = ("first", "itself", "distance", "earlier", "last", "allowed")
_CORE_RELATIONS = (
    "text.first",
    "text.itself",
    "log(text.distance + 1)",
    "text.previous(1)",
    "text.previous(2)",
    "text.within(4)",
    "text.within(16)",
    "text.same_sentence",
    "text.same_token",
    "text.after_same",
    "text.latest(text.is_content_word)",
    "text.latest(text.is_name)",
    "text.latest(text.is_sentence_end)",
    "text.latest(text.is_comma)",
    "text.sentence_start",
)
_SINK_WORDS = 8  # tokens a layer's heads rest on, that get relations of their own
_SINK_DISTANCE = 4  # mass on nearer keys says little about a sink


@dataclass(frozen=True)
class Pool:
    """Expressions of the language, by the place they can take in a term."""

    classes: tuple[str, ...]
    """Token properties, for the query as for the key."""
    relations: tuple[str, ...]
    core_relations: tuple[str, ...]
    """Relations that are tried with every pair of classes; a part of `relations`."""
    literals: tuple[str, ...]
    """Tokens of the fit texts, most frequent first, that word lists are made from."""

    @property
    def expressions(self) -> tuple[str, ...]:
        """All classes and relations."""
        return self.classes + self.relations

    def occurring(self, rows: Rows) -> Pool:
        """The pool without what never varies on these rows, and so says nothing."""

        def varies(values: Tensor) -> bool:
            return bool(values.min() < values.max())

        relations = tuple(name for name in self.relations if varies(rows.relation(name)))
        return replace(
            self,
            classes=tuple(name for name in self.classes if varies(rows.tokens(name))),
            relations=relations,
            core_relations=tuple(name for name in self.core_relations if name in relations),
        )

    def with_sinks(self, words: Sequence[str]) -> Pool:
        """The pool with relations to the first three, the latest and all places of each word."""
        found = []
        for word in words:
            literal = f"text.one_of({word!r})"
            found += [f"text.nth({literal}, {k})" for k in (1, 2, 3)]
            found.append(f"text.latest({literal})")
        return replace(self, relations=self.relations + tuple(found))


def standard_pool(texts: Sequence[Text], *, min_count: int, max_literals: int = 400) -> Pool:
    """The pool for these fit texts; a literal token must come `min_count` times in them."""
    causal = texts[0].causal
    # Whatever the vocabulary has that takes no argument, entries of plug-ins included.
    classes = [f"text.{name}" for name in _plain("token property") if name not in _GRADED]
    classes += [f"text.ends_with({ending!r})" for ending in _ENDINGS]
    classes += [f"text.after(text.{name})" for name in _AFTER]
    classes += _GRADED_CLASSES

    relations = ["text.first", "text.itself", "log(text.distance + 1)", "text.distance"]
    relations += ["sqrt(text.distance)"]
    relations += [f"text.previous({k})" for k in range(1, 9)]
    relations += [f"text.within({k})" for k in (2, 4, 8, 16, 32)]
    relations += [f"text.at({place})" for place in (1, 2, 3, 4)]
    known = {*_POSITIONAL, *NEED_EMBEDDINGS}
    relations += [f"text.{name}" for name in _plain("relation") if name not in known]
    relations += [f"text.latest(text.{name})" for name in _POINTED_AT]
    relations += [f"text.nth(text.{name}, {k})" for name in _COUNTED for k in (1, 2, 3)]
    relations += [f"text.before(text.{name})" for name in _BEFORE]
    relations += [f"log(text.between(text.{name}) + 1)" for name in _BETWEEN]
    core = list(_CORE_RELATIONS)
    if not causal:
        relations += [f"text.following({k})" for k in range(1, 7)] + ["text.last", "text.earlier"]
        core += ["text.following(1)", "text.following(2)", "text.earlier", "text.last"]

    counts = Counter(surface for text in texts for surface in text.surfaces)
    literals = [surface for surface, count in counts.most_common() if count >= min_count]
    return Pool(tuple(classes), tuple(relations), tuple(core), tuple(literals[:max_literals]))


def _plain(kind: Kind) -> list[str]:
    """Entries of a kind that take no argument and see no later token."""
    return [
        entry.name
        for entry in VOCABULARY.of_kind(kind)
        if not entry.parameters and entry.prefix_consistent
    ]


def sink_words(rows: Rows, actual: Tensor, pool: Pool) -> list[str]:
    """The tokens that draw far more attention from afar than their frequency explains.

    `actual` is (cells, heads). A token's draw is the mass that a head puts on its places beyond the
    nearest, over the mass that uniform attention would put there; the greatest over heads counts.
    """
    names = {surface: index for index, surface in enumerate(pool.literals)}
    if not names:
        return []
    other = len(names)
    token_names = torch.tensor(
        [names.get(surface, other) for text in rows.texts for surface in text.surfaces]
    )
    key_token = rows.token_offsets[rows.row_text[rows.cell_row]] + rows.cell_key
    name_of_cell = token_names[key_token]
    distance = rows.row_query[rows.cell_row] - rows.cell_key
    far = rows.valid & (distance.abs() >= _SINK_DISTANCE) & (rows.cell_key > 0)
    mass = torch.zeros(other + 1, actual.shape[1])
    mass.index_add_(0, name_of_cell, actual * far[:, None])
    width = rows.row_sums(rows.valid.float())[rows.cell_row]
    expected = torch.zeros(other + 1).index_add_(0, name_of_cell, far / width.clamp(min=1))
    surplus = (mass - expected[:, None]).amax(1)[:other]
    order = surplus.argsort(descending=True)[:_SINK_WORDS].tolist()
    words = list(pool.literals)
    return [words[index] for index in order if surplus[index] > 0]

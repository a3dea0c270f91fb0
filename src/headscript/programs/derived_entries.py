"""The entries of the language as steps of compiled code, beside `headscript.language`.

Each says what the entry of its name computes there; tests compare them on random texts. Entries
that are not here are computed by torch.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import torch
from torch import Tensor

from headscript.kernels.steps import OF_KEY, OF_QUERY, Cell, Row, Square
from headscript.language import Text
from headscript.language.token_properties import QUOTES
from headscript.programs.derivation import Derivation, EntryRule, Value
from headscript.programs.interpreter import Part


def _of_surface(name: str, value: Callable[[str], float]) -> Part:
    """Something that a token's surface says, which is no entry."""

    def values(text: Text) -> Tensor:
        return torch.tensor([float(value(surface)) for surface in text.surfaces])

    return Part(f"({name})", True, lambda scope: values(scope.text), ast.Constant(0), reach=0)


class _Words:
    """Numbers words from 1, whatever their case and the spaces around them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, surface: str) -> float:
        return self._numbers.setdefault(surface.strip().lower(), len(self._numbers) + 1)


_BEGINS_BARE = _of_surface("begins", lambda surface: surface.strip()[:1].isalnum())
_BEGINS = _of_surface("begins at once", lambda surface: surface[:1].isalnum())
_BEGINS_WORD = _of_surface("begins after spaces", lambda s: s.strip(" ")[:1].isalnum())
_GLUES = _of_surface("glues", lambda surface: surface[-1:].isalnum() or surface[-1:] in "'’")
_WORDLESS = _of_surface("wordless", lambda s: not any(map(str.isalnum, s)))
_QUOTES = _of_surface("quotes", lambda surface: sum(c in QUOTES for c in surface))


def _token(found: Derivation) -> Value:
    return found.along(Row.SAME_AS)


def _token_before(found: Derivation) -> Value:
    """-1 for the first, which is no other's."""
    one = found.number(1.0)
    after = found.along(Row.AFTER, found.cells(Cell.ADD, _token(found), one))
    return found.cells(Cell.SUBTRACT, after, one)


def _word(found: Derivation) -> Value:
    return found.alone_value(_of_surface("word", _Words()), condition=False)


def _of_query(value: Value) -> Value:
    return Value(value.place, OF_QUERY, value.condition)


def _of_key(value: Value) -> Value:
    return Value(value.place, OF_KEY, value.condition)


def _both(found: Derivation, kind: Cell, value: Value) -> Value:
    return found.cells(kind, _of_query(value), _of_key(value))


def _starts_word(found: Derivation) -> Value:
    glued_to = found.along(Row.AFTER, found.alone_value(_GLUES), condition=True)
    glued = found.cells(Cell.AND, found.alone_value(_BEGINS), glued_to)
    begins = found.alone_value(_BEGINS_BARE)
    return found.cells(Cell.AND, begins, found.cells(Cell.NOT, glued))


def _continues_word(found: Derivation) -> Value:
    starts = found.entry("starts_word")
    return found.cells(Cell.AND, found.alone_value(_BEGINS_WORD), found.cells(Cell.NOT, starts))


def _is_name(found: Derivation) -> Value:
    within = found.cells(Cell.NOT, found.entry("opens_sentence"))
    name = found.cells(Cell.AND, found.entry("is_content_word"), found.entry("is_capitalized"))
    return found.cells(Cell.AND, name, within)


def _opens_sentence(found: Derivation) -> Value:
    opens_quote = found.cells(
        Cell.AND, found.entry("is_quote"), found.cells(Cell.NOT, found.entry("in_quote"))
    )
    ends = found.cells(Cell.OR, found.entry("is_sentence_end"), found.entry("is_newline"))
    ends = found.cells(Cell.OR, ends, opens_quote)
    return found.along(Row.OPENS, ends, found.alone_value(_WORDLESS), condition=True)


def _sentence(found: Derivation) -> Value:
    """One more than the number of the entry, or 0 before the first opens."""
    opened = found.along(Row.COUNT, found.entry("opens_sentence"))
    after_first = found.cells(Cell.LESS, found.number(0.0), opened)
    return found.cells(Cell.SUBTRACT, opened, after_first)


def _occurrence(found: Derivation) -> Value:
    return found.along(Row.OCCURRENCE)


def _after(found: Derivation, of: list[Value]) -> Value:
    return found.along(Row.AFTER, of[0], condition=of[0].condition)


def _plain(rule: Callable[[Derivation], Value]) -> EntryRule:
    return lambda found, of, given: rule(found)


def _places(kind: Square, *, sign: int = 1) -> EntryRule:
    """Relations of places alone, some with a number of tokens."""

    def rule(found: Derivation, of: list[Value], given: list[object]) -> Value:
        number = found.count(given, 1)
        if sign < 0:
            number = found.number(-found.numbers[number.place])
        return found.pairs(kind, None, number, fixed=True)

    return rule


def _at(kind: Row) -> EntryRule:
    """Relations that are alike for all queries."""

    def rule(found: Derivation, of: list[Value], given: list[object]) -> Value:
        operand = of[0] if of else None
        return _of_key(found.along(kind, operand, found.count(given), condition=True))

    return rule


def _after_same_pair(found: Derivation) -> Value:
    return found.pairs(Square.AFTER_SAME_PAIR, _token(found), _token_before(found))


def _sentence_start(found: Derivation) -> Value:
    opens = _of_key(found.entry("opens_sentence"))
    return found.cells(Cell.AND, found.entry("same_sentence"), opens)


ENTRIES: dict[str, EntryRule] = {
    # Token properties
    "starts_word": _plain(_starts_word),
    "continues_word": _plain(_continues_word),
    "is_name": _plain(_is_name),
    "opens_sentence": _plain(_opens_sentence),
    "sentence": _plain(_sentence),
    "sentence_position": _plain(lambda f: f.along(Row.SINCE, f.entry("opens_sentence"))),
    "in_quote": _plain(
        lambda f: f.along(Row.ODD_BEFORE, f.alone_value(_QUOTES, condition=False), condition=True)
    ),
    "occurrence": _plain(_occurrence),
    "is_new": _plain(lambda f: f.cells(Cell.EQUAL, _occurrence(f), f.number(1.0))),
    "position": _plain(lambda f: f.along(Row.PLACE)),
    "after": lambda found, of, given: _after(found, of),
    # Relations of places
    "distance": _places(Square.DISTANCE),
    "itself": lambda found, of, given: _places(Square.BACK)(found, of, [0]),
    "previous": _places(Square.BACK),
    "following": _places(Square.BACK, sign=-1),
    "within": _places(Square.WITHIN),
    "earlier": _places(Square.EARLIER),
    "allowed": _places(Square.ALLOWED),
    # Relations that are alike for all queries
    "first": _at(Row.AT),
    "at": _at(Row.AT),
    "last": _at(Row.AT_END),
    "nth": _at(Row.NTH),
    # Relations of tokens
    "same_token": _plain(lambda f: f.pairs(Square.SAME, _token(f))),
    "same_word": _plain(lambda f: f.pairs(Square.SAME, _word(f))),
    "same_before": _plain(lambda f: f.pairs(Square.SAME, _token_before(f))),
    "after_same": _plain(lambda f: f.pairs(Square.AFTER_SAME, _token(f))),
    "after_same_pair": _plain(_after_same_pair),
    "before_same": _plain(lambda f: f.pairs(Square.BEFORE_SAME, _token(f))),
    "same_sentence": _plain(lambda f: _both(f, Cell.EQUAL, f.entry("sentence"))),
    "sentence_distance": _plain(lambda f: _both(f, Cell.APART, f.entry("sentence"))),
    "sentence_start": _plain(_sentence_start),
    # Relations over a token property
    "latest": lambda found, of, given: found.pairs(Square.LATEST, of[0]),
    "before": lambda found, of, given: found.pairs(Square.BEFORE, of[0]),
    "between": lambda found, of, given: _both(found, Cell.APART, found.along(Row.COUNT, of[0])),
}

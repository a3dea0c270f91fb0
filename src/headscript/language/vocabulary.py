"""The register of everything a program may say about a text.

An entry is a token property (one value a token), a relation (one value a pair of query and key),
or a function over them. Each says in words what it means, how the search may put it into a
sentence, and whether it is prefix-consistent: whether row i of its value depends on tokens 0 to i
alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal

from headscript.errors import HeadscriptError

Kind = Literal["token property", "relation", "function"]

NEED_EMBEDDINGS = frozenset({"similarity"})
"""Entries that look at the model's embeddings, which a program does not have by itself."""


@dataclass(frozen=True)
class Entry:
    """One word of the program language."""

    name: str
    kind: Kind
    compute: Callable[..., Any]
    """Called with the text (functions: with their operands) and the entry's arguments."""
    meaning: str
    """One sentence for the reference."""
    parameters: tuple[str, ...] = ()
    """Names of the arguments that a program gives: ("k",) for `previous(k)`, () for `first`."""
    prefix_consistent: bool = True
    group: str = ""
    """Heading in the reference."""
    phrase: str = ""
    """How explanations say it: "commas" for a token property, "the first token" for a relation."""
    reach: int | None = None
    """How many tokens back a token property looks, beyond the reach of its operands: 0 where each
    value follows from its own token. None: as far as the text's first token."""
    by_row: bool = False
    """Whether a relation computes only the rows that `text.rows` asks for; others are cut."""
    of_key: bool = False
    """Whether a relation is alike for all queries, as `first` is."""
    of_places: bool = False
    """Whether a relation follows from the places of query and key alone, as `distance` does."""
    in_view: bool = False
    """Whether a relation is false, in a decoder, for every key after the query, as `earlier` is;
    one of a number of tokens where that is not negative."""
    many: bool = False
    """Whether it takes several token properties at once, (..., n), and gives a value of each; a
    relation computes only the rows asked for."""


class Vocabulary:
    """The entries by name, those of installed plug-ins included."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._plugins_loaded = False

    def add(self, entry: Entry) -> None:
        """Register an entry; a name taken already, or one that is no plain name, is refused."""
        if entry.name in self._entries:
            raise HeadscriptError(f"The vocabulary already has an entry {entry.name!r}.")
        if not entry.name.isidentifier() or entry.name.startswith("_"):
            raise HeadscriptError(
                f"{entry.name!r} cannot name an entry: use letters, digits and underscores, "
                "not an underscore first."
            )
        self._entries[entry.name] = entry

    def get(self, name: str) -> Entry | None:
        """The entry of that name, or None."""
        self._load_plugins()
        return self._entries.get(name)

    def require(self, name: str) -> Entry:
        """The entry of that name; raises HeadscriptError with the nearest names otherwise."""
        entry = self.get(name)
        if entry is None:
            hint = self.suggestion(name, or_else=".")
            raise HeadscriptError(f"The vocabulary has no entry {name!r}{hint}")
        return entry

    def suggestion(
        self, name: str, kind: Literal["any", "entry", "function"] = "any", *, or_else: str
    ) -> str:
        """The end of a sentence about an unknown name: the nearest names, or `or_else`.

        `kind` says whether functions, or entries of `text`, or both could have been meant.
        """
        possible = [
            entry.name
            for entry in self
            if kind == "any" or (entry.kind == "function") == (kind == "function")
        ]
        near = difflib.get_close_matches(name, possible, n=2)
        if not near:
            return or_else
        prefix = "text." if kind == "entry" else ""
        return "; did you mean " + " or ".join(prefix + other for other in near) + "?"

    def __iter__(self) -> Iterator[Entry]:
        self._load_plugins()
        return iter(self._entries.values())

    def of_kind(self, kind: Kind) -> list[Entry]:
        """All entries of one kind, in the order of their registration."""
        return [entry for entry in self if entry.kind == kind]

    def _load_plugins(self) -> None:
        """Load `headscript.vocabulary` entry points: functions that are given this register."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group="headscript.vocabulary"):
            point.load()(self)


VOCABULARY = Vocabulary()


def token_property(
    meaning: str,
    *,
    phrase: str = "",
    parameters: tuple[str, ...] = (),
    prefix_consistent: bool = True,
    group: str = "",
    reach: int | None = None,
    many: bool = False,
    register: Vocabulary = VOCABULARY,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a token property: (text, *arguments) -> (n,) bool or float."""
    return _registering(
        register,
        kind="token property",
        meaning=meaning,
        phrase=phrase,
        parameters=parameters,
        prefix_consistent=prefix_consistent,
        group=group,
        reach=reach,
        many=many,
    )


def relation(
    meaning: str,
    *,
    phrase: str = "",
    parameters: tuple[str, ...] = (),
    prefix_consistent: bool = True,
    group: str = "",
    by_row: bool = False,
    of_key: bool = False,
    of_places: bool = False,
    in_view: bool = False,
    many: bool = False,
    register: Vocabulary = VOCABULARY,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a relation: (text, *arguments) -> (query, key) bool or float."""
    return _registering(
        register,
        kind="relation",
        meaning=meaning,
        phrase=phrase,
        parameters=parameters,
        prefix_consistent=prefix_consistent,
        group=group,
        by_row=by_row,
        of_key=of_key,
        of_places=of_places,
        in_view=in_view,
        many=many,
    )


def function(
    meaning: str, *, parameters: tuple[str, ...], group: str = "", register: Vocabulary = VOCABULARY
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as one of the language, called by its bare name."""
    return _registering(
        register, kind="function", meaning=meaning, parameters=parameters, group=group
    )


def _registering(
    register: Vocabulary, **about: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(compute: Callable[..., Any]) -> Callable[..., Any]:
        register.add(Entry(name=compute.__name__.rstrip("_"), compute=compute, **about))
        return compute

    return decorate

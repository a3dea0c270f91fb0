"""What a program in the sandbox has for spaCy: documents whose parses were made outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FLAGS = (
    "is_alpha",
    "is_ascii",
    "is_digit",
    "is_lower",
    "is_upper",
    "is_title",
    "is_punct",
    "is_space",
    "is_bracket",
    "is_quote",
    "is_left_punct",
    "is_right_punct",
    "is_currency",
    "is_stop",
    "is_oov",
    "like_num",
    "like_url",
    "like_email",
    "is_sent_start",
)
"""What is true or false of a token; bit i of its flags is the i-th."""

FIELDS = (
    "text",
    "whitespace_",
    "idx",
    "pos_",
    "tag_",
    "dep_",
    "head",
    "lemma_",
    "norm_",
    "shape_",
    "ent_type_",
    "ent_iob_",
    "morph",
    "flags",
)
"""What a parse says of a token, in this order."""


class Morphology:
    """The morphological features of a token: "Number=Sing|Person=3"."""

    def __init__(self, written: str) -> None:
        self._written = written

    def __str__(self) -> str:
        return self._written

    def __contains__(self, feature: str) -> bool:
        return feature in self._written.split("|")

    def to_dict(self) -> dict[str, str]:
        """Feature to value."""
        pairs = (pair.split("=", 1) for pair in self._written.split("|") if "=" in pair)
        return {pair[0]: pair[1] for pair in pairs}

    def get(self, feature: str, default: list[str] | None = None) -> list[str]:
        """The values of a feature."""
        found = self.to_dict().get(feature)
        return found.split(",") if found else (default or [])


class Token:
    """A token of a document."""

    def __init__(self, doc: Doc, i: int, values: list[Any]) -> None:
        self.doc, self.i = doc, i
        for name, value in zip(FIELDS, values, strict=True):
            if name not in ("head", "morph", "flags"):
                setattr(self, name, value)
        self._head: int = values[FIELDS.index("head")]
        self.morph = Morphology(values[FIELDS.index("morph")])
        flags: int = values[FIELDS.index("flags")]
        for bit, name in enumerate(FLAGS):
            setattr(self, name, bool(flags >> bit & 1))
        self.text: str
        self.idx: int
        self.whitespace_: str
        self.orth_ = self.text
        self.lower_ = self.text.lower()
        self.prefix_, self.suffix_ = self.text[:1], self.text[-3:]
        self.lang_ = "en"

    def __repr__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.text)

    def __lt__(self, other: Token) -> bool:
        return self.i < other.i

    def __le__(self, other: Token) -> bool:
        return self.i <= other.i

    @property
    def text_with_ws(self) -> str:
        """The token and the space after it."""
        return self.text + self.whitespace_

    @property
    def head(self) -> Token:
        """The token it depends on; a root's is itself."""
        return self.doc.tokens[self._head]

    def has_head(self) -> bool:
        """Whether it depends on another token."""
        return self._head != self.i

    @property
    def children(self) -> Iterator[Token]:
        """The tokens that depend on it."""
        return iter(self.doc.children_of(self.i))

    @property
    def lefts(self) -> Iterator[Token]:
        """Those before it."""
        return (child for child in self.children if child.i < self.i)

    @property
    def rights(self) -> Iterator[Token]:
        """Those after it."""
        return (child for child in self.children if child.i > self.i)

    @property
    def n_lefts(self) -> int:
        """How many there are before it."""
        return sum(1 for _ in self.lefts)

    @property
    def n_rights(self) -> int:
        """How many there are after it."""
        return sum(1 for _ in self.rights)

    @property
    def ancestors(self) -> Iterator[Token]:
        """The token it depends on, the one which that depends on, and so on."""
        token = self
        while token.head is not token:
            token = token.head
            yield token

    def is_ancestor(self, other: Token) -> bool:
        """Whether the other depends on it, directly or not."""
        return any(token is self for token in other.ancestors)

    @property
    def subtree(self) -> Iterator[Token]:
        """The token and all that depend on it, in the order of the text."""
        found, waiting = [self], [self]
        while waiting:
            for child in waiting.pop().children:
                found.append(child)
                waiting.append(child)
        return iter(sorted(found, key=lambda token: token.i))

    @property
    def left_edge(self) -> Token:
        """The first of its subtree."""
        return next(self.subtree)

    @property
    def right_edge(self) -> Token:
        """The last of its subtree."""
        return list(self.subtree)[-1]

    @property
    def conjuncts(self) -> tuple[Token, ...]:
        """The tokens it is coordinated with."""
        first = self
        while first.dep_ == "conj" and first.head is not first:
            first = first.head
        found, waiting = [first], [first]
        while waiting:
            for child in waiting.pop().children:
                if child.dep_ == "conj":
                    found.append(child)
                    waiting.append(child)
        return tuple(token for token in sorted(found, key=lambda t: t.i) if token is not self)

    @property
    def sent(self) -> Span:
        """Its sentence."""
        for sentence in self.doc.sents:
            if sentence.start <= self.i < sentence.end:
                return sentence
        return Span(self.doc, 0, len(self.doc))

    def nbor(self, i: int = 1) -> Token:
        """The token that many places on."""
        place = self.i + i
        if not 0 <= place < len(self.doc):
            raise IndexError(f"there is no token {i} places from {self.i}")
        return self.doc.tokens[place]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the sandbox's spaCy has no token.{name}"
            if not name.startswith("_")
            else f"'Token' object has no attribute {name!r}"
        )


class Span:
    """Tokens of a document that stand together."""

    def __init__(self, doc: Doc, start: int, end: int, label: str = "") -> None:
        self.doc, self.start, self.end, self.label_ = doc, start, end, label

    def __iter__(self) -> Iterator[Token]:
        return iter(self.doc.tokens[self.start : self.end])

    def __len__(self) -> int:
        return max(0, self.end - self.start)

    def __getitem__(self, place: Any) -> Any:
        found = list(self)[place]
        if isinstance(place, slice):
            start = found[0].i if found else self.start
            return Span(self.doc, start, start + len(found), self.label_)
        return found

    def __contains__(self, token: object) -> bool:
        return any(own is token for own in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Span) and (self.start, self.end, self.label_) == (
            other.start,
            other.end,
            other.label_,
        )

    def __hash__(self) -> int:
        return hash((self.start, self.end, self.label_))

    def __repr__(self) -> str:
        return self.text

    @property
    def text_with_ws(self) -> str:
        """The text with the space after it."""
        return "".join(token.text_with_ws for token in self)

    @property
    def text(self) -> str:
        """The text."""
        tokens = list(self)
        return "".join([*(t.text_with_ws for t in tokens[:-1]), *(t.text for t in tokens[-1:])])

    orth_ = text

    @property
    def lemma_(self) -> str:
        """The lemmas."""
        tokens = list(self)
        spaced = [f"{token.lemma_}{token.whitespace_}" for token in tokens[:-1]]
        return "".join([*spaced, *(str(token.lemma_) for token in tokens[-1:])])

    @property
    def root(self) -> Token:
        """The first token whose head is not among them."""
        tokens = list(self)
        outside = (t for t in tokens if t.head is t or t.head not in self)
        return next(outside, tokens[0])

    @property
    def start_char(self) -> int:
        """Where it begins in the text."""
        return int(self.doc[self.start].idx)

    @property
    def end_char(self) -> int:
        """Where it ends in the text."""
        last = self.doc[self.end - 1]
        return int(last.idx + len(last.text))

    @property
    def sent(self) -> Span:
        """The sentence of its first token."""
        return self.doc[self.start].sent  # type: ignore[no-any-return]

    @property
    def ents(self) -> tuple[Span, ...]:
        """The entities within it."""
        return tuple(e for e in self.doc.ents if self.start <= e.start and e.end <= self.end)

    @property
    def noun_chunks(self) -> Iterator[Span]:
        """The noun phrases within it."""
        return (c for c in self.doc.noun_chunks if self.start <= c.start and c.end <= self.end)


class Doc:
    """A text as spaCy read it."""

    def __init__(self, parse: dict[str, Any]) -> None:
        self.text: str = parse["text"]
        self.tokens = [Token(self, i, values) for i, values in enumerate(parse["tokens"])]
        self._sents, self._ents, self._chunks = parse["sents"], parse["ents"], parse["chunks"]
        self._children: list[list[Token]] | None = None

    def children_of(self, place: int) -> list[Token]:
        """The tokens that depend on the one at a place."""
        if self._children is None:
            self._children = [[] for _ in self.tokens]
            for token in self.tokens:
                if token.has_head():
                    self._children[token.head.i].append(token)
        return self._children[place]

    def __iter__(self) -> Iterator[Token]:
        return iter(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            start, end, _ = place.indices(len(self.tokens))
            return Span(self, start, max(start, end))
        return self.tokens[place]

    def __repr__(self) -> str:
        return self.text

    @property
    def text_with_ws(self) -> str:
        """The text."""
        return self.text

    @property
    def sents(self) -> Iterator[Span]:
        """Its sentences."""
        return (Span(self, start, end) for start, end in self._sents)

    @property
    def ents(self) -> tuple[Span, ...]:
        """Its named entities."""
        return tuple(Span(self, start, end, label) for start, end, label in self._ents)

    @property
    def noun_chunks(self) -> Iterator[Span]:
        """Its noun phrases."""
        return (Span(self, start, end, "NP") for start, end in self._chunks)

    def char_span(self, start: int, end: int, label: str = "", **others: Any) -> Span | None:
        """The tokens between two characters; None where they cut a token."""
        starts = {int(token.idx): token.i for token in self.tokens}
        ends = {int(token.idx) + len(token.text): token.i + 1 for token in self.tokens}
        if start not in starts or end not in ends:
            return None
        return Span(self, starts[start], ends[end], label)

    def has_annotation(self, *names: Any, **others: Any) -> bool:
        """Whether it was parsed: yes."""
        return True

    is_parsed = is_tagged = is_sentenced = True

"""The prompts: what a language model is told of the task, the language and one head.

Every word of the language comes from the vocabulary itself. What is shown of texts comes from the
fit texts alone; texts that choices are made on, or scores come from, never enter a prompt.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from headscript.explainers.requests import Message
from headscript.heads import Head
from headscript.language import VOCABULARY, Entry, Text
from headscript.language.vocabulary import NEED_EMBEDDINGS
from headscript.packing import unpack
from headscript.programs.program import Program
from headscript.propose.llm.examples import worked_examples
from headscript.propose.llm.showing import SHOWN_TOKENS, cell, marked_text, strongest_keys
from headscript.similarity import iou
from headscript.tuning.retelling import with_first_line

MAX_TERMS = 24
_WRONG_QUERIES = 6  # shown of a text


@dataclass(frozen=True)
class Standing:
    """A program for a head, and how it does on the fit texts."""

    source: str
    iou: str
    """On the fit texts, in three decimals."""
    sightings: tuple[str, ...] = ()
    """Texts on which it does worst or best, as `sightings` tells them."""


def first_prompt(
    head: Head,
    summary: str,
    *,
    causal: bool,
    num_layers: int,
    number: int,
    max_terms: int = MAX_TERMS,
    current: Standing | None = None,
) -> tuple[Message, ...]:
    """Ask for `number` programs for a head that `summary` describes.

    `current` is the best program there is, if any. The same input gives the same prompt.
    """
    asked = _template("first.txt").render(
        head=str(head),
        layers=f"layer {head.layer}, counted from 0, of {num_layers}",
        summary=summary,
        number=number,
        current=current,
    )
    return (
        Message("system", system_text(causal, max_terms)),
        Message("user", _tidy(asked)),
    )


def refinement_prompt(
    before: Sequence[Message],
    answer: str,
    tries: Sequence[str],
    *,
    number: int,
    best: Standing | None,
) -> tuple[Message, ...]:
    """Go on from a prompt and its answer: each program tried, the best one closely."""
    asked = _template("refinement.txt").render(tries=tries, best=best, number=number)
    return (*before, Message("assistant", answer), Message("user", _tidy(asked)))


@lru_cache(maxsize=4)
def system_text(causal: bool, max_terms: int = MAX_TERMS) -> str:
    """What every prompt begins with: the task, the language, its vocabulary and examples."""
    return _tidy(
        _template("system.txt").render(
            causal=causal,
            max_terms=max_terms,
            vocabulary=[(heading, list(told)) for heading, told in _vocabulary(causal)],
            examples=worked_examples(causal),
        )
    )


def offered_entries(causal: bool) -> list[Entry]:
    """The vocabulary as a prompt offers it.

    A decoder's programs may not use what looks ahead. Entries that need embeddings are left out,
    and those that need spaCy where it is not installed.
    """
    has_spacy = importlib.util.find_spec("spacy") is not None
    return [
        entry
        for entry in VOCABULARY
        if entry.name not in NEED_EMBEDDINGS
        and (entry.prefix_consistent or not causal)
        and (has_spacy or not entry.group.startswith("linguistics"))
        and not (causal and entry.name in ("following", "earlier"))
    ]


def _vocabulary(causal: bool) -> Iterator[tuple[str, Iterator[str]]]:
    entries = offered_entries(causal)
    for kind, heading in (
        ("token property", "Token properties, for query(...), key(...) and as arguments:"),
        ("relation", "Relations of query and key:"),
        ("function", "Functions, called by their bare names:"),
    ):
        yield heading, (_described(entry) for entry in entries if entry.kind == kind)


def _described(entry: Entry) -> str:
    name = entry.name if entry.kind == "function" else f"text.{entry.name}"
    arguments = f"({', '.join(entry.parameters)})" if entry.parameters else ""
    return f"- {name}{arguments}: {entry.meaning}"


def _template(name: str) -> Any:
    return _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("headscript.propose.llm", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _tidy(text: str) -> str:
    """At most one empty line in a row, none at the ends."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.strip() or (lines and lines[-1].strip()):
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"


# A program beside its head -----------------------------------------------------------------------


def text_scores(program: Program, texts: Sequence[Text], patterns: Sequence[Tensor]) -> list[float]:
    """IoU of a program with a head on each text; its patterns are (cells,) a text.

    Raises ProgramError where the program gives no pattern.
    """
    scores = []
    for text, packed in zip(texts, patterns, strict=True):
        actual = unpack(packed, len(text), text.causal)
        scores.append(float(iou(program(text).detach().flatten(), actual.flatten())))
        text.forget()
    return scores


def standing(
    program: Program,
    texts: Sequence[Text],
    patterns: Sequence[Tensor],
    *,
    worst: int = 2,
    best: int = 0,
) -> Standing:
    """How a program stands on the fit texts: its IoU, and its worst and best texts closely.

    Raises ProgramError where the program gives no pattern.
    """
    scores = text_scores(program, texts, patterns)
    order = sorted(range(len(texts)), key=lambda index: (scores[index], index))
    chosen = [(index, "Worst") for index in order[:worst]]
    chosen += [(index, "Best") for index in order[::-1][: min(best, len(order) - worst)]]
    told = tuple(
        sighting(program, texts[index], patterns[index], f"{which} text, IoU {scores[index]:.3f}")
        for index, which in chosen
    )
    source = with_first_line(program.source, '"""The best program so far."""')
    return Standing(source, f"{sum(scores) / len(scores):.3f}", told)


def sighting(program: Program, text: Text, packed: Tensor, title: str) -> str:
    """One text, and the queries where a program differs most from the head: where each looks."""
    actual = unpack(packed, len(text), text.causal)
    predicted = program(text).detach()
    text.forget()
    distance = (predicted - actual).abs().sum(1)[:SHOWN_TOKENS]
    lines = [f"{title}: {marked_text(text.surfaces)}"]
    rows = distance.topk(min(_WRONG_QUERIES, len(distance))).indices
    for row in torch.sort(rows).values.tolist():
        if distance[row] > 0.1:
            lines.append(
                f"- {cell(text.surfaces, row)}: the head looks at "
                f"{strongest_keys(actual[row], text.surfaces)}; the program at "
                f"{strongest_keys(predicted[row], text.surfaces)}"
            )
    return "\n".join(lines)

"""Which words of the vocabulary carry over from the programs found on some texts to others'.

A word carries over for a head whose program of texts X uses it and whose program of texts Y does
too. Beside the share of heads for which that is so stands what chance would give: the share of all
heads whose program of Y uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

from headscript.study.report.gathering import Gathered, RunFound
from headscript.study.report.rows import Row

ENOUGH = 10
"""Heads, over all models and pairs of texts, by which a word is judged at least."""
SHOWN = 10
"""Words that carry over best, and worst, that a reader is shown."""


def vocabulary_rows(found: Gathered) -> list[Row]:
    """A row for each model, pair of texts and word that a program of the first uses."""
    rows = []
    for model in found.study.models:
        runs = [run for (name, _), run in found.runs.items() if name == model.name]
        for first, second in permutations(runs, 2):
            rows += _pair(first, second)
    return rows


def pooled(rows: Iterable[Row]) -> list[Row]:
    """By word, over all models and pairs of texts; what carries over best beyond chance first.

    A head counts once for each pair of texts. Words of fewer than `ENOUGH` heads are left out.
    """
    together: dict[str, Row] = {}
    for row in rows:
        of_word = together.setdefault(
            row["word"], {"word": row["word"], "heads_from": 0, "both": 0, "by_chance": 0.0}
        )
        of_word["heads_from"] += row["heads_from"]
        of_word["both"] += row["both"]
        of_word["by_chance"] += row["heads_from"] * row["chance"]
    judged = []
    for row in together.values():
        number = row["heads_from"]
        if number >= ENOUGH:
            carried, chance = row["both"] / number, row["by_chance"] / number
            judged.append(
                {
                    "word": row["word"],
                    "heads_from": number,
                    "both": row["both"],
                    "carried": carried,
                    "chance": chance,
                    "beyond_chance": carried - chance,
                }
            )
    return sorted(judged, key=lambda row: (-row["beyond_chance"], row["word"]))


def overall(rows: Iterable[Row]) -> Row | None:
    """All words together: the share that carries over, and by chance; None where there are none."""
    rows = list(rows)
    number = sum(row["heads_from"] for row in rows)
    if not number:
        return None
    return {
        "uses": number,
        "carried": sum(row["both"] for row in rows) / number,
        "chance": sum(row["heads_from"] * row["chance"] for row in rows) / number,
    }


def _pair(first: RunFound, second: RunFound) -> list[Row]:
    """Words of the programs of one run, in those that another run has for the same heads."""
    there, here = second.looked.words, first.looked.words
    heads = [head for head in here if head in there]
    words = sorted({word for head in heads for word in here[head]})
    rows = []
    for word in words:
        own = [head for head in heads if word in here[head]]
        other = [head for head in heads if word in there[head]]
        both = [head for head in own if word in there[head]]
        rows.append(
            {
                "model": first.model,
                "from": first.texts,
                "to": second.texts,
                "word": word,
                "heads": len(heads),
                "heads_from": len(own),
                "heads_to": len(other),
                "both": len(both),
                "carried": len(both) / len(own),
                "chance": len(other) / len(heads),
            }
        )
    return rows

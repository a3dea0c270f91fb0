"""Whether words of programs carry over from one text to another beyond chance."""

from __future__ import annotations

from typing import Any

import pytest

from headscript.study.report.vocabulary import overall, pooled


def test_words_carry_over_beyond_chance() -> None:
    def row(word: str, uses: int, both: int, chance: float) -> dict[str, Any]:
        return {"word": word, "heads_from": uses, "both": both, "chance": chance}

    rows = [row("first", 8, 8, 0.5), row("first", 2, 1, 1.0), row("comma", 10, 2, 0.3)]
    rows.append(row("rare", 9, 9, 0.1))
    judged = pooled(rows)
    assert [(each["word"], each["heads_from"]) for each in judged] == [("first", 10), ("comma", 10)]
    assert judged[0]["carried"] == 0.9
    assert judged[0]["chance"] == pytest.approx(0.6)
    assert judged[1]["beyond_chance"] == pytest.approx(-0.1)
    together = overall(rows)
    assert together is not None
    assert together["uses"] == 29
    assert together["carried"] == pytest.approx(20 / 29)
    assert overall([]) is None

from typing import Any

import pytest

from headscript.evaluation.contributions import contributions

ROWS: list[dict[str, Any]] = [
    {"proposer": "search", "iou": 0.5, "searched_iou": 0.5},
    {"proposer": "search+llm", "iou": 0.6, "searched_iou": 0.5},
    {"proposer": "llm+library", "iou": 0.8, "searched_iou": 0.6},
    {"proposer": None, "iou": 0.0, "searched_iou": 0.0},
]


def test_gains_are_shared_out_among_those_who_have_a_part():
    reports: dict[str, dict[str, Any]] = {
        "llm": {"cost": 0.5, "outcomes": {"ok": 3}},
        "library": {"cost": None},
    }
    found = contributions(["search", "llm", "library"], ROWS, reports)
    assert found["search"] == {"heads": 0.5}
    assert found["llm"]["heads"] == 0.5
    assert found["llm"]["iou_gained"] == pytest.approx((0.1 + 0.2 / 2) / 4)
    assert found["llm"]["iou_gained_per_dollar"] == pytest.approx(0.05 / 0.5)
    assert found["llm"]["outcomes"] == {"ok": 3}
    assert found["library"]["iou_gained"] == pytest.approx(0.2 / 2 / 4)
    assert "iou_gained_per_dollar" not in found["library"]
    gained = sum(row["iou"] - row["searched_iou"] for row in ROWS) / len(ROWS)
    assert found["llm"]["iou_gained"] + found["library"]["iou_gained"] == pytest.approx(gained)


def test_without_a_search_there_is_nothing_to_gain_over():
    assert contributions(["llm"], ROWS, {})["llm"] == {"heads": 0.5}

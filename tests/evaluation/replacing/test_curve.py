"""Points of a run's curve, their orders and texts, and IoU beside cost."""

import math
import shutil
from collections.abc import Iterator, Mapping

import pytest
import torch
from tests.evaluation.replacing.by_hand import as_found, by_hand
from tests.evaluation.replacing.sources import LATEST
from torch import Tensor

from headscript.assignment import ranking
from headscript.evaluation import sample
from headscript.evaluation.correlation import spearman
from headscript.evaluation.portraits import RunReader
from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.heads import Head
from headscript.models import Model
from headscript.recording import Recording
from headscript.replacement import Pattern
from headscript.runs import Run
from headscript.texts import Document


def test_every_point_is_what_replacing_those_heads_gives(
    run: Run, model: Model, documents: list[Document]
) -> None:
    curve = replacement_curve(run, documents, model=model, fractions=(0.5, 0, 0.25))
    texts = [model.encode(document.text) for document in documents]
    programs = run.programs()
    orders = {order: ranking(run, "found", order) for order in ("cost", "iou")}
    uniform: Mapping[Head, Pattern] = dict.fromkeys(programs, even)
    assert [point.fraction for point in curve.curve[:3]] == [0, 0.25, 0.5]
    seen = set()
    for point in curve.curve:
        if point.fraction == 0:
            assert not any((point.perplexity_increase, point.kl, *point.ci95, *point.kl_ci95))
            assert point.heads == 0
            assert point.coverage == point.top1_agreement == 1
            continue
        asked = {0.25: 3, 0.5: 6}[point.fraction]
        assert point.heads == min(asked, 5)
        assert point.coverage == point.heads / asked
        assert point.ci95[0] <= point.perplexity_increase <= point.ci95[1]
        if point.order in orders and point.programs in ("found", "uniform"):
            source: Mapping[Head, Pattern] = programs if point.programs == "found" else uniform
            chosen = {head: source[head] for head in orders[point.order][:asked]}
            assert as_found(point) == pytest.approx(by_hand(model, texts, chosen), abs=2e-5)
            seen.add((point.order, point.programs, point.fraction))
    assert len(seen) >= 6
    assert curve.base_perplexity == pytest.approx(
        math.exp(
            sum(float(model.network(ids, labels=ids).loss.detach()) for ids in as_tensors(texts))
            / len(texts)  # all of one length
        ),
        rel=1e-5,
    )
    assert (curve.texts, curve.tokens, curve.predicted, curve.seen) == (4, 48, 44, 0)


def even(text: object) -> Tensor:
    n = len(text)  # type: ignore[arg-type]
    return torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None]


def as_tensors(texts: list[list[int]]) -> Iterator[Tensor]:
    return (torch.tensor([text]) for text in texts)


def test_the_best_order_comes_first_then_the_others_then_the_baselines(
    run: Run, model: Model
) -> None:
    curve = replacement_curve(run, model=model).curve
    orders = list(dict.fromkeys(point.order for point in curve))
    assert set(orders) == {"cost", "greedy", "iou"}
    own = [point for point in curve if point.programs == "found"]
    assert curve[: len(own)] == own
    assert [point.order for point in own] == [order for order in orders for _ in range(9)]

    def mean(order: str) -> float:
        inner = [p for p in own if p.order == order and 0 < p.fraction < 1]
        return sum(point.perplexity_increase for point in inner) / len(inner)

    assert mean(orders[0]) == min(mean(order) for order in orders)
    others = curve[len(own) :]
    assert {point.order for point in others} == {orders[0]}
    assert list(dict.fromkeys(point.programs for point in others)) == [
        *("uniform", "first token", "zero", "mean by position", "random program", "intended")
    ]
    assert {point.fraction for point in others} == {0.05, 0.25, 0.5, 1}


def test_the_same_seed_gives_the_same_curve_and_fewer_fractions_the_same_points(
    run: Run, model: Model
) -> None:
    first = replacement_curve(run, model=model)
    assert replacement_curve(run, model=model) == first
    fewer = replacement_curve(
        run, model=model, fractions=(0.25,), orders=("iou",), baseline_fractions=()
    )
    (wanted,) = (
        p for p in first.curve if (p.order, p.programs) == ("iou", "found") and p.heads == 3
    )
    assert fewer.curve == [wanted]
    assert (fewer.spearman, fewer.spearman_ci95, fewer.by_head) == (None, None, [])


def test_iou_and_cost_are_given_for_each_head_and_correlated(run: Run, model: Model) -> None:
    curve = replacement_curve(run, model=model, fractions=(0.1,), orders=("cost",))
    assert {row.head: row.iou for row in curve.by_head} == {
        str(Head(row.layer, row.head)): row.iou for row in run.results().heads
    }
    assert {row.head: row.cost for row in curve.by_head} == run.read_json("costs/found.json")
    assert curve.spearman is not None
    assert -1 <= curve.spearman <= 1
    assert curve.spearman_ci95 is not None
    low, high = curve.spearman_ci95
    assert low <= curve.spearman <= high


def tune_by_hand(run: Run) -> None:
    """A version with a program for each head that `explain` did not find."""
    for number, head in enumerate(run.covered_heads()):
        source = LATEST.replace("tilt=1.5", f"tilt={0.2 * number}")
        run.write(f"versions/tuned/{head}.py", source.encode())
    run.write_json("versions/tuned/version.json", {})


def ious_by_hand(run: Run, version: str, numbers: list[int]) -> dict[str, float]:
    """The mean over some test texts, from the recorded patterns."""
    recording = Recording.open(run.recording_folder("test"))
    texts = run.texts("test")
    found = {}
    for head, program in run.programs(version).items():
        read = RunReader(run, program.entries)
        ious = []
        for number in numbers:
            ids = texts[number].token_ids
            real, predicted = recording.pattern(head, number), program(read(ids))
            wrong = float((real - predicted).abs().sum())
            ious.append((2 * len(ids) - wrong) / (2 * len(ids) + wrong))
        found[str(head)] = sum(ious) / len(ious)
    return found


def test_the_iou_beside_a_cost_is_that_of_the_same_version(
    run: Run, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune_by_hand(run)

    def measured() -> ReplacementCurve:
        return replacement_curve(
            run, model=model, fractions=(0.1,), orders=("cost",), baseline_fractions=()
        )

    tuned = measured()
    ious = {row.head: row.iou for row in tuned.by_head}
    assert tuned.iou_texts == len(run.texts("test")) == 2
    assert ious == pytest.approx(ious_by_hand(run, "tuned", [0, 1]), abs=1e-4)
    found = {str(Head(row.layer, row.head)): row.iou for row in run.results().heads}
    assert ious != pytest.approx(found, abs=0.01)
    costs = run.read_json("costs/tuned.json")
    assert tuned.spearman == spearman([ious[head] for head in costs], list(costs.values()))

    # Where all would take long, a few of the texts are drawn.
    monkeypatch.setattr(sample, "_CELLS", 1)
    monkeypatch.setattr(sample, "_FEWEST", 1)
    few = measured()
    assert few.iou_texts == 1
    ious = {row.head: row.iou for row in few.by_head}
    assert any(
        ious == pytest.approx(ious_by_hand(run, "tuned", [number]), abs=1e-4) for number in (0, 1)
    )

    shutil.rmtree(run.recording_folder("test"))
    unknown = measured()
    assert (unknown.spearman, unknown.by_head, unknown.iou_texts) == (None, [], None)
    assert unknown.left_out == {"IoU": "the run's recording of the test texts is gone"}
    assert run.read_json("costs/tuned.json") == costs

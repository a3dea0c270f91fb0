"""What it costs when programs take the place of heads: a run's curve, its costs and orders."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.small_run import save_model, save_texts
from torch import Tensor

from headscript.assignment import ranking
from headscript.errors import HeadscriptError
from headscript.evaluation import sample
from headscript.evaluation.causal_cost import CausalCosts, CostBench, cost_texts, measured_file
from headscript.evaluation.correlation import spearman
from headscript.evaluation.portraits import RunReader
from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.evaluation.sweep import Point
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.recording import Recording
from headscript.records import RunText
from headscript.replacement import Pattern, replaced
from headscript.runs import Run
from headscript.texts import Document, load_texts

HEADER = "from headscript.language import log, run, softmax\n\n\n"
FAILING = HEADER + (
    'def attend(text, tilt=1.0):\n    """Fails."""\n'
    "    return softmax(tilt * (log(text.distance) - log(text.distance)))\n"
)
AHEAD = HEADER + (
    'def attend(text, tilt=1.5):\n    """Knows which token is the last."""\n'
    "    return softmax(tilt * text.last)\n"
)
LATEST = HEADER + (
    'def attend(text, tilt=1.5):\n    """Looks back a little."""\n'
    "    return softmax(-tilt * text.distance)\n"
)


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A copy that a test may change, open for writing."""
    with Run.open_for_writing(shutil.copytree(small_run, tmp_path / "run")) as opened:
        yield opened


@pytest.fixture(scope="session")
def model(small_run: Path) -> Model:
    return load_model(small_run.parent / "model")


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    return load_texts(save_texts(tmp_path / "other.txt", number=4, seed=9))


def by_hand(
    model: Model, texts: list[list[int]], assignment: Mapping[Head, Pattern]
) -> tuple[float, float, float]:
    """Perplexity increase, KL and agreement, through `replaced` and text by text."""
    surprise, base, apart, agree, places = 0.0, 0.0, 0.0, 0, 0
    for text in texts:
        ids = torch.tensor([text])
        with torch.no_grad():
            before = model.network(ids).logits[0, :-1].double().log_softmax(-1)
            with replaced(model, assignment) as network:
                after = network(ids).logits[0, :-1].double().log_softmax(-1)
        wanted = torch.tensor(text[1:])[:, None]
        base -= float(before.gather(1, wanted).sum())
        surprise -= float(after.gather(1, wanted).sum())
        apart += float((before.exp() * (before - after)).sum())
        agree += int((before.argmax(1) == after.argmax(1)).sum())
        places += len(wanted)
    return math.expm1((surprise - base) / places), apart / places, agree / places


def as_found(point: Point) -> tuple[float, float, float]:
    return point.perplexity_increase, point.kl, point.top1_agreement


# The curve ---------------------------------------------------------------------------------------


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


# Texts -------------------------------------------------------------------------------------------


def quick(
    run: Run,
    documents: list[Document] | None,
    model: Model,
    *,
    max_texts: int | None = None,
    max_tokens: int | None = None,
) -> ReplacementCurve:
    return replacement_curve(
        run,
        documents,
        model=model,
        orders=("iou",),
        fractions=(0.25,),
        baseline_fractions=(),
        max_texts=max_texts,
        max_tokens=max_tokens,
    )


def test_the_runs_own_test_texts_unless_others_are_given(run: Run, model: Model) -> None:
    own = [Document(text.id, text.text) for text in run.texts("test")]
    assert quick(run, None, model) == quick(run, own, model)
    whole = [Document(text.id, text.text) for text in run.texts()]
    assert quick(run, whole, model).seen == 8
    assert quick(run, whole, model, max_texts=3).texts == 3
    assert quick(run, None, model, max_texts=1).texts == 1
    assert quick(run, None, model, max_tokens=5).tokens == 10
    assert quick(run, own, model, max_tokens=5).tokens == 10


def test_texts_of_one_token_have_nothing_to_predict(
    run: Run, model: Model, documents: list[Document]
) -> None:
    short = Document("short", "w5")
    assert quick(run, [*documents, short], model) == quick(run, documents, model)
    with pytest.raises(HeadscriptError, match="nothing to predict"):
        quick(run, [short], model)
    with pytest.raises(HeadscriptError, match="200 tokens is longer than the 64"):
        quick(run, [Document("tome", "w4 w5 " * 100)], model)


# Programs ----------------------------------------------------------------------------------------


def test_a_program_that_fails_is_not_replaced_and_not_covered(
    run: Run, model: Model, documents: list[Document]
) -> None:
    run.write("programs/L01H02.py", FAILING.encode())
    curve = replacement_curve(run, documents, model=model, fractions=(0.4, 1), cost_tokens=60)
    assert list(curve.failures) == ["L01H02"]
    assert "no attention pattern" in curve.failures["L01H02"]
    assert "L01H02" not in {row.head for row in curve.by_head}
    programs = {head: p for head, p in run.programs().items() if head != Head(1, 2)}
    texts = [model.encode(document.text) for document in documents]
    wanted = by_hand(model, texts, programs)
    for point in curve.curve:
        if point.programs == "found":
            assert point.heads == 4
            assert point.coverage == 4 / {0.4: 5, 1: 12}[point.fraction]
            assert as_found(point) == pytest.approx(wanted, abs=2e-5)
        else:
            assert point.heads <= 4


def test_programs_that_see_the_future_need_a_word_and_mark_the_result(
    run: Run, model: Model
) -> None:
    run.write("programs/L01H02.py", AHEAD.encode())
    with pytest.raises(HeadscriptError, match=r"L01H02 is not prefix-consistent.*--allow-incons"):
        replacement_curve(run, model=model)
    assert not run.has("costs")
    curve = replacement_curve(run, model=model, fractions=(1,), allow_inconsistent=True)
    assert not curve.prefix_consistent
    assert curve.curve[0].heads == 5


def test_another_version_of_the_programs(run: Run, model: Model) -> None:
    shutil.copytree(run.program_folder(), run.program_folder("tuned"))
    (run.program_folder("tuned") / "version.json").write_text("{}")
    found = replacement_curve(run, model=model, version="found", fractions=(0, 0.25))
    tuned = replacement_curve(run, model=model, fractions=(0, 0.25), baseline_fractions=(0.25,))
    assert (found.version, tuned.version) == ("found", "tuned")
    assert [p.kl for p in found.curve[:6]] == [p.kl for p in tuned.curve[:6]]
    assert {point.programs for point in tuned.curve} >= {"tuned", "uniform", "random program"}
    assert "intended" not in {point.programs for point in tuned.curve}
    assert list(tuned.left_out) == ["intended"]
    assert run.has("costs/tuned.json")
    with pytest.raises(HeadscriptError, match="no programs 'nobodys'"):
        replacement_curve(run, model=model, version="nobodys")


def test_baselines_whose_sources_are_gone_are_left_out_and_said(run: Run, model: Model) -> None:
    shutil.rmtree(run.directory / "recording")
    shutil.rmtree(run.directory / "search")
    curve = replacement_curve(run, model=model, fractions=(0.25,))
    assert set(curve.left_out) == {"mean by position", "intended"}
    assert {p.programs for p in curve.curve} == {
        *("found", "uniform", "first token", "zero", "random program")
    }


def test_intended_programs_are_those_of_the_search(run: Run, model: Model) -> None:
    """Where no head was given another's program they cost the same; where one was, not."""
    names = [str(head) for head in run.covered_heads()]
    others = {names[0], names[-1]}
    for name, other in zip(sorted(others), sorted(others, reverse=True), strict=True):
        run.write(f"programs/{name}.py", own_source(run, other).encode())
    curve = replacement_curve(run, model=model, fractions=(0.4,), baseline_fractions=(0.4,)).curve
    (own,) = {p.kl for p in curve if p.programs == "found"}
    (intended,) = (p for p in curve if p.programs == "intended")
    assert intended.kl != own
    for name in others:  # as if each had kept its own
        run.write(f"programs/{name}.py", own_source(run, name).encode())
    curve = replacement_curve(run, model=model, fractions=(0.4,), baseline_fractions=(0.4,)).curve
    assert {p.kl for p in curve if p.programs in ("found", "intended")} == {intended.kl}


def own_source(run: Run, name: str) -> str:
    from headscript.propose.writing import read_frontiers, write_program

    head = Head.parse(name)
    return write_program(run, read_frontiers(run, [head.layer])[head])[0].source


# Costs -------------------------------------------------------------------------------------------


def costs_of(run: Run, model: Model, on_event: Listener = ignore, **more: Any) -> CausalCosts:
    return CausalCosts(run, "found", model, run.programs(), on_event=on_event, **more)


def kl_by_hand(run: Run, model: Model, heads: list[Head]) -> float:
    programs = run.programs()
    texts = cost_texts(run, 1_500)
    return by_hand(model, texts, {head: programs[head] for head in heads})[1]


def test_the_cost_of_a_head_is_its_divergence_on_select_texts(run: Run, model: Model) -> None:
    costs = costs_of(run, model).alone()
    assert list(costs) == list(run.programs())
    select = {tuple(text.token_ids[:2]) for text in run.texts("select")}
    assert {tuple(text[:2]) for text in cost_texts(run, 1_500)} == select
    for head, cost in costs.items():
        assert cost == pytest.approx(kl_by_hand(run, model, [head]), abs=1e-6)
    assert ranking(run, "found", "cost") == sorted(costs, key=lambda head: costs[head])


def test_costs_look_at_select_texts_alone(
    run: Run, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    texts = Run.texts

    def asking(self: Run, split: str | None = None) -> list[RunText]:
        asked.append(split)
        return texts(self, split)

    monkeypatch.setattr(Run, "texts", asking)
    costs_of(run, model).greedy(5)
    assert set(asked) == {"select"}


def test_costs_are_measured_once_for_a_program(run: Run, model: Model) -> None:
    events: list[Event] = []
    first = costs_of(run, model, events.append)
    order = first.greedy(3)
    assert {event.stage for event in events} == {"cost of each head", "greedy order"}
    files = [run.directory / "costs" / "found.json", run.directory / measured_file("found")]
    before = [file.stat().st_mtime_ns for file in files]
    events.clear()
    again = costs_of(run, model, events.append)
    assert (again.alone(), again.greedy(3)) == (first.alone(), order)
    assert events == []
    assert [file.stat().st_mtime_ns for file in files] == before
    # Another program is measured, and it alone; other tokens begin anew.
    program = run.program_file(Head(1, 2))
    program.write_text(LATEST)
    changed = costs_of(run, model, events.append).alone()
    assert [event.total for event in events] == [1, 1]
    assert {head for head in changed if changed[head] != first.alone()[head]} == {Head(1, 2)}
    events.clear()
    costs_of(run, model, events.append, tokens=24).alone()
    assert events[-1].total == 5
    assert json.loads(files[1].read_bytes())["tokens"] == 24


def test_a_run_that_is_only_read_says_so_before_anything_is_measured(
    run: Run, model: Model
) -> None:
    events: list[Event] = []
    run.close()
    with pytest.raises(RuntimeError, match="open for reading only"):
        replacement_curve(run, model=model, on_event=events.append)
    assert events == []
    assert quick(run, None, model).curve[0].heads == 3


class Killed(Exception):
    pass


@pytest.mark.parametrize("stage", ["cost of each head", "greedy order"])
def test_what_was_measured_before_a_kill_is_not_measured_again(
    run: Run, model: Model, stage: str, tmp_path: Path
) -> None:
    whole = shutil.copytree(run.directory, tmp_path / "undisturbed")
    with Run.open_for_writing(whole) as undisturbed:
        wanted = costs_of(undisturbed, model).greedy(4)

    def kill(event: Event) -> None:
        if event.stage == stage and event.done == 2:
            raise Killed

    with pytest.raises(Killed):
        costs_of(run, model, kill).greedy(4)
    events: list[Event] = []
    assert costs_of(run, model, events.append).greedy(4) == wanted
    firsts = {event.stage: event for event in reversed(events)}
    if stage == "greedy order":
        assert set(firsts) == {"greedy order"}
        assert firsts["greedy order"].done == 2
    else:
        assert firsts["cost of each head"].total == 4  # the one of layer 0 was kept
    for file in ("costs/found.json", measured_file("found")):
        assert run.read(file) == (whole / file).read_bytes()


def test_greedy_takes_the_cheapest_first_and_adds_up(run: Run, model: Model) -> None:
    costs = costs_of(run, model)
    alone, order = costs.alone(), costs.greedy(5)
    assert sorted(order) == sorted(alone)
    assert order[0] == min(alone, key=lambda head: alone[head])
    taken = run.read_json(measured_file("found"))["greedy"]["taken"]
    assert [Head.parse(name) for name, _ in taken] == order
    for number, (_, total) in enumerate(taken, 1):
        assert total == pytest.approx(kl_by_hand(run, model, order[:number]), abs=1e-6)
    # Costs that only grow, as here, make the lazy order the greedy one.
    left = set(alone)
    for number, head in enumerate(order):
        added = {other: kl_by_hand(run, model, [*order[:number], other]) for other in left}
        assert added[head] == pytest.approx(min(added.values()), abs=1e-6)
        left.remove(head)


def test_greedy_goes_on_from_what_is_kept_and_ends_by_cost(run: Run, model: Model) -> None:
    alone = costs_of(run, model).alone()
    by_cost = sorted(alone, key=lambda head: alone[head])
    assert costs_of(run, model).greedy(0) == by_cost
    two = costs_of(run, model).greedy(2)
    assert two[2:] == [head for head in by_cost if head not in two[:2]]
    events: list[Event] = []
    four = costs_of(run, model, events.append).greedy(4)
    assert four[:2] == two[:2]
    assert [event.done for event in events] == [2, 3, 4]
    assert costs_of(run, model).greedy(99) == costs_of(run, model).greedy(5)


def test_no_text_to_measure_costs_on(run: Run, model: Model) -> None:
    with pytest.raises(HeadscriptError, match="--cost-tokens"):
        cost_texts(run, 1)
    assert sum(map(len, cost_texts(run, 2))) == 2
    assert [len(text) for text in cost_texts(run, 16)] == [4, 4]  # a quarter each, of two texts
    with CostBench(model, {}, [[5, 6, 7]]) as bench:
        assert bench.cost(frozenset()) == pytest.approx(0, abs=1e-6)


# Bad input ---------------------------------------------------------------------------------------


def test_bad_input_is_told_before_anything_is_written(
    run: Run, model: Model, tmp_path: Path
) -> None:
    before = sorted(run.directory.rglob("*"))

    def refused(match: str, **options: object) -> None:
        with pytest.raises(HeadscriptError, match=match):
            replacement_curve(run, **({"model": model} | options))  # type: ignore[arg-type]

    refused("between 0 and 1, and 1.5 does not", fractions=(0, 1.5))
    refused("and -0.1 does not", baseline_fractions=(-0.1,))
    refused("and nan does not", fractions=(float("nan"),))
    refused("and 2 does not", greedy_until=2)
    refused("no order 'random'; choose among cost, greedy, iou", orders=("random",))
    refused("at least one", fractions=())
    refused("is not the model of", model=save_model(tmp_path / "other", seed=1))
    assert sorted(run.directory.rglob("*")) == before
    run.write("programs/L01H02.py", b"import os\n")
    refused("L01H02.py, line 1")
    (run.directory / "results.json").unlink()
    refused("not finished")


def test_an_encoder_predicts_no_next_token(run: Run, model: Model) -> None:
    record = run.read_json("run.json")
    record["model"]["causal"] = False
    run.write_json("run.json", record)
    with pytest.raises(HeadscriptError, match="encoder, which predicts no next token"):
        replacement_curve(Run.open(run.directory), model=model)

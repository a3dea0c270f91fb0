"""What each head costs by itself and in the greedy order, measured once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.replacing.by_hand import by_hand
from tests.evaluation.replacing.sources import LATEST

from headscript.assignment import ranking
from headscript.costs import measured_file
from headscript.errors import HeadscriptError
from headscript.evaluation.causal_cost import CausalCosts, CostBench, cost_texts
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.models import Model
from headscript.records import RunText
from headscript.runs import Run


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

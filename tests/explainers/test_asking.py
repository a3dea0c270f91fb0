"""Asking through the real SDKs: every request comes to an outcome with a name, in its order."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from math import ceil
from random import Random

import pytest
from tests.explainers.asked import KEY, QUICK, WIRES, asked, explainer, request
from tests.explainers.fault_server import INPUT_TOKENS, OUTPUT_TOKENS, FaultServer

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.explainers import Answer, Failure, Price, Store, ask
from headscript.explainers.connections import MOST_BYTES
from headscript.explainers.patience import Patience
from headscript.explainers.requests import tally

SHORT = Patience(timeout=1, tries=2, first_pause=0.01, longest_pause=0.02)


@pytest.mark.parametrize("wire", WIRES)
def test_answers_come_in_the_order_of_the_requests_with_tokens_and_cost(
    server: FaultServer, store: Store, wire: str
) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    server.delay = 0.02
    outcomes = asked(server, wire, store, prompts, price=Price(1.0, 10.0))
    assert outcomes == [
        Answer(f"answer to {prompt}", INPUT_TOKENS, OUTPUT_TOKENS, "stop", cost=0.00022)
        for prompt in prompts
    ]
    assert 1 < server.busiest <= QUICK.concurrency


def test_each_server_is_asked_in_its_own_form(server: FaultServer, store: Store) -> None:
    for wire in WIRES:
        asked(server, wire, store, ["the prompt"])
    openai, anthropic, other = server.received
    assert openai.path == other.path == "/v1/chat/completions"
    assert anthropic.path == "/v1/messages"
    both = [{"role": "system", "content": "You are a careful reader."}]
    user = [{"role": "user", "content": "the prompt"}]
    plain = {"model": "small", "temperature": 0.7}
    assert openai.body == plain | {"messages": both + user, "max_completion_tokens": 50}
    assert other.body == plain | {"messages": both + user, "max_tokens": 50}
    assert anthropic.body == plain | {
        "messages": user,
        "system": "You are a careful reader.",
        "max_tokens": 50,
    }
    assert {each.headers["authorization"] for each in server.received} == {f"Bearer {KEY}"}
    assert "anthropic-version" in anthropic.headers


def test_the_same_requests_again_cost_nothing(server: FaultServer, store: Store) -> None:
    first = asked(server, "openai", store, ["a", "b", "a"])
    assert [outcome.cached for outcome in first] == [False, False, True]
    again = asked(server, "openai", store, ["b", "a", "c"])
    assert [outcome.cached for outcome in again] == [True, True, False]
    assert server.seen() == {"a": 1, "b": 1, "c": 1}
    assert isinstance(again[1], Answer)
    assert again[1].text == "answer to a"


def test_samples_of_a_prompt_are_asked_apart(server: FaultServer, store: Store) -> None:
    requests = [request("a", sample=0), request("a", sample=1), request("a", max_tokens=60)]
    ask(explainer(server, "other"), requests, store, patience=QUICK)
    assert server.seen() == {"a": 3}


ONCE = {  # faults, and the outcome of a request that meets nothing else
    "429": "rate_limited",
    "429_at_any_time": "rate_limited",
    "too_long": "too_long",
    "500": "server_error",
    "529": "server_error",
    "cut": "connection",
    "cut_at_once": "connection",
    "no_http": "connection",
    "drip": "timeout",
    "drip_head": "timeout",
    "hang": "timeout",
    "half_json": "malformed",
    "html": "malformed",
    "nothing": "malformed",
    "no_utf8": "malformed",
    "a_list": "malformed",
    "a_number": "malformed",
    "null": "malformed",
    "deep": "malformed",
    "digits": "malformed",
    "compressed": "malformed",
    "wrong_types": "malformed",
    "wrong_inside": "malformed",
    "no_message": "malformed",
    "error_in_200": "malformed",
    "no_choices": "empty",
    "null_content": "empty",
    "empty": "empty",
    "refusal": "refused",
    "cut_off": "answer",
    "no_usage": "answer",
    "wrong_usage": "answer",
    "half_a_character": "answer",
}


@pytest.mark.parametrize("wire", WIRES)
def test_every_fault_comes_to_an_outcome_with_a_name_and_stops_no_other(
    server: FaultServer, store: Store, wire: str
) -> None:
    server.plan = lambda prompt, before: prompt if prompt in ONCE else "answer"
    prompts = ["good", *ONCE, "also good"]
    outcomes = asked(server, wire, store, prompts, patience=SHORT)
    named = {
        prompt: "answer" if isinstance(outcome, Answer) else str(outcome.kind)
        for prompt, outcome in zip(prompts, outcomes, strict=True)
    }
    assert named == {"good": "answer", **ONCE, "also good": "answer"}
    assert sum(tally(outcomes).values()) == len(prompts)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            assert outcome.message.endswith((".", "times."))
            assert "\n" not in outcome.message
            assert len(outcome.message) < 400


@pytest.mark.parametrize("fault", ["flood", "flood_of_errors"])
def test_an_answer_without_an_end_is_left_at_a_bound(
    server: FaultServer, store: Store, fault: str
) -> None:
    server.plan = lambda prompt, before: fault
    (outcome,) = asked(server, "openai", store, ["a"])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "too_large"
    assert server.seen() == {"a": 1}
    assert MOST_BYTES < server.flooded < 2 * MOST_BYTES  # some of it in the sockets


def test_an_answer_that_was_cut_off_says_so(server: FaultServer, store: Store) -> None:
    server.plan = lambda prompt, before: "cut_off"
    for wire in WIRES:
        (outcome,) = asked(server, wire, store, ["a"])
        assert isinstance(outcome, Answer)
        assert (outcome.text, outcome.finish_reason) == ("def att", "length")


def test_use_that_the_server_does_not_tell_is_not_known(server: FaultServer, store: Store) -> None:
    server.plan = lambda prompt, before: prompt
    for wire in WIRES:
        for outcome in asked(server, wire, store, ["no_usage", "wrong_usage"], price=Price(1, 1)):
            assert (outcome.input_tokens, outcome.output_tokens, outcome.cost) == (None,) * 3
    spent = store.spent()
    assert spent.without_cost == spent.calls == 6
    assert spent.counted_tokens > 6 * 50  # each at its most


@pytest.mark.parametrize("fault", ["429", "500", "529", "cut", "cut_at_once", "drip", "no_http"])
@pytest.mark.parametrize("wire", WIRES)
def test_what_passes_is_tried_again(
    server: FaultServer, store: Store, wire: str, fault: str
) -> None:
    server.plan = lambda prompt, before: "answer" if before else fault
    (outcome,) = asked(server, wire, store, ["a"], patience=SHORT)
    assert isinstance(outcome, Answer)
    assert server.seen() == {"a": 2}


@pytest.mark.parametrize("fault", ["400", "401", "402", "403", "404", "quota", "redirect"])
@pytest.mark.parametrize("wire", WIRES)
def test_what_does_not_pass_stops_everything_at_once_and_keeps_what_was_in_flight(
    server: FaultServer, store: Store, wire: str, fault: str
) -> None:
    server.plan = lambda prompt, before: fault if prompt == "2" else "answer"
    server.delay = 0.05
    server.together = 3
    patience = Patience(concurrency=3)
    with pytest.raises(HeadscriptError) as caught:
        asked(server, wire, store, [str(number) for number in range(20)], patience=patience)
    status = {"quota": "no credit left", "redirect": "307"}.get(fault, fault)
    assert status in str(caught.value)
    assert len(server.received) <= 6
    assert store.spent().calls == sum(server.answered.values()) >= 2
    assert caught.value.__cause__ is None


def test_a_server_that_is_not_there_stops_everything_in_one_sentence(store: Store) -> None:
    with FaultServer() as gone:
        pass
    with pytest.raises(HeadscriptError, match=r"cannot be reached .*; is it running"):
        asked(gone, "other", store, ["a", "b"])


@pytest.mark.parametrize("dated", [False, True])
def test_a_server_that_asks_to_wait_is_left_alone_until_then(
    server: FaultServer, store: Store, dated: bool
) -> None:
    """The first answer asks for a pause; nothing is sent before it is over."""
    arrivals: list[float] = []
    until = 0

    def plan(prompt: str, before: int) -> str:
        nonlocal until
        arrivals.append(time.time())
        if len(arrivals) > 1:
            return "answer"
        until = ceil(arrivals[0]) + 1  # a date has whole seconds
        server.retry_after = formatdate(until, usegmt=True) if dated else "1"
        return "429"

    server.plan = plan
    patience = Patience(concurrency=1, first_pause=0.01)
    outcomes = asked(server, "openai", store, ["a", "b", "c"], patience=patience)
    assert tally(outcomes) == {"answer": 3}
    assert arrivals[1] >= (until if dated else arrivals[0] + 1) - 0.05


def test_other_requests_keep_quiet_as_well(server: FaultServer, store: Store) -> None:
    at: dict[str, float] = {}

    def plan(prompt: str, before: int) -> str:
        at.setdefault(prompt, time.monotonic())
        return {"a": "answer" if before else "429", "b": "late"}.get(prompt, "answer")

    server.plan = plan
    server.retry_after = "1"
    server.together = 2  # the second is on its way before, and answered after
    asked(server, "openai", store, ["a", "b", "c"], patience=Patience(concurrency=2))
    assert server.seen() == {"a": 2, "b": 1, "c": 1}
    assert at["c"] - at["a"] > 1


def test_a_wait_beyond_all_patience_is_a_failure_that_says_how_long(
    server: FaultServer, store: Store
) -> None:
    server.plan = lambda prompt, before: "429"
    server.retry_after = "86400"
    (outcome,) = asked(server, "openai", store, ["a"])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "rate_limited"
    assert "86400 seconds" in outcome.message
    assert server.seen() == {"a": 1}


def test_the_time_out_is_of_the_whole_try(server: FaultServer, store: Store) -> None:
    server.plan = lambda prompt, before: "drip"
    begun = time.monotonic()
    (outcome,) = asked(server, "openai", store, ["a"], patience=Patience(timeout=0.5, tries=1))
    assert 0.5 <= time.monotonic() - begun < 20  # what drips has no end
    assert isinstance(outcome, Failure)
    assert outcome.kind == "timeout"
    assert store.spent().lost == 1


def test_the_first_event_says_what_is_ahead_and_the_last_what_came(
    server: FaultServer, store: Store
) -> None:
    asked(server, "openai", store, ["known"])
    server.plan = lambda prompt, before: "refusal" if prompt == "b" else "answer"
    events: list[Event] = []
    asked(server, "openai", store, ["known", "a", "b"], on_event=events.append, price=Price(3, 15))
    assert events[0].message.startswith("2 requests to send, 1 answered before; about ")
    assert "at most 100 out; at most about $0.00" in events[0].message
    assert (events[0].done, events[0].total) == (1, 3)
    assert events[-1] == Event("asking", 3, 3, "2 answered, 1 refused")


def test_asking_works_where_a_loop_runs_already(server: FaultServer, store: Store) -> None:
    async def in_a_notebook() -> list[object]:
        return list(asked(server, "openai", store, ["a"]))

    (outcome,) = asyncio.run(in_a_notebook())
    assert isinstance(outcome, Answer)


def test_pauses_grow_to_a_bound_and_are_drawn() -> None:
    patience = Patience(tries=9, first_pause=1, longest_pause=8, longest_wait=60)
    chance = Random(1)
    drawn = [patience.pause(tries, None, chance) for tries in range(1, 9)]
    for pause, usual in zip(drawn, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
        assert pause is not None
        assert usual / 2 <= pause <= usual
    assert len(set(drawn)) == 8
    assert patience.pause(9, None, chance) is None
    for asked_for in (0.0, 3.0, 60.0):
        pause = patience.pause(1, asked_for, chance)
        assert pause is not None
        assert asked_for <= pause <= asked_for + 0.5
    assert patience.pause(1, 61.0, chance) is None

"""Budgets, prices and estimates: what is spent stays below, and is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.explainers.asked import asked, explainer, request
from tests.explainers.fault_server import INPUT_TOKENS, OUTPUT_TOKENS, FaultServer

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.explainers import (
    Answer,
    Budget,
    ExplainerSettings,
    Failure,
    Price,
    Store,
    ask,
    open_explainer,
)
from headscript.explainers.budget import most_of, parse_budget
from headscript.explainers.patience import Patience
from headscript.explainers.prices import parse_price, price_of
from headscript.explainers.requests import tally

A_CALL = INPUT_TOKENS + OUTPUT_TOKENS


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_budget_stops_cleanly_and_is_not_passed(
    server: FaultServer, store: Store, concurrency: int
) -> None:
    server.delay = 0.01
    prompts = [str(number) for number in range(30)]
    patience = Patience(concurrency=concurrency)
    budget = Budget(10 * A_CALL + 50, "tokens")  # of which one more might take 75
    outcomes = asked(server, "openai", store, prompts, budget=budget, patience=patience)
    answered = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert len(answered) == len(server.received) == sum(server.answered.values()) == 10
    assert outcomes[:10] == answered  # in order, and whole
    for outcome in outcomes[10:]:
        assert isinstance(outcome, Failure)
        assert outcome.kind == "over_budget"
        assert "of the budget of 450 tokens, 400 tokens are spent" in outcome.message


def test_the_budget_of_a_run_holds_over_all_its_sessions(
    server: FaultServer, tmp_path: Path
) -> None:
    prompts = [str(number) for number in range(6)]
    price = Price(1000, 5000)  # 0.02 + 0.10 dollars a call, and at most 0.275
    for _ in range(3):
        with Store(tmp_path / "s") as store:
            outcomes = asked(server, "openai", store, prompts, budget=Budget(0.5), price=price)
            assert store.spent().cost == pytest.approx(0.24)
        assert tally(outcomes) == {"answer": 2, "over_budget": 4}
    assert len(server.received) == 2
    with Store(tmp_path / "s") as store:
        outcomes = asked(server, "openai", store, prompts, budget=Budget(10.0), price=price)
        assert tally(outcomes) == {"answer": 6}


def test_tries_that_may_be_charged_for_count_at_their_most(
    server: FaultServer, store: Store
) -> None:
    server.plan = lambda prompt, before: "drip"
    most = most_of(request("a"), None).of("tokens")
    patience = Patience(timeout=0.2, tries=5, first_pause=0.01, longest_pause=0.01)
    budget = Budget(2.5 * most, "tokens")
    outcomes = asked(server, "openai", store, ["a", "b"], budget=budget, patience=patience)
    assert len(server.received) <= 2
    assert store.spent().lost == len(server.received)
    assert store.spent().counted_tokens <= 2.5 * most
    assert set(tally(outcomes)) <= {"timeout", "over_budget"}


def test_a_budget_in_dollars_needs_a_price_and_a_batch_has_none(
    server: FaultServer, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(HeadscriptError, match="needs the price"):
        asked(server, "openai", store, ["a"], budget=Budget(1.0))
    with pytest.raises(HeadscriptError, match="paid for where it is sent"):
        ask(open_explainer(f"batch:{tmp_path}/b"), [request("a")], store, Budget(1.0))
    assert not server.received


def test_a_price_that_is_not_given_leaves_the_cost_unknown(
    server: FaultServer, store: Store
) -> None:
    told: list[Event] = []
    (outcome,) = asked(server, "openai", store, ["a"], on_event=told.append)
    assert outcome.cost is None
    assert "the cost is not known" in told[0].message
    assert "the cost of 1 not known" in str(store.spent())


def test_the_estimate_is_above_what_real_tokenizers_count() -> None:
    """The text below has 67 tokens for GPT-4's tokenizer, 74 for SmolLM2's."""
    text = (
        "def attend(text, sink=4.1, comma=1.3, recency=0.4):\n"
        '    """Rests on the first token; looks back to commas."""\n'
        "    return softmax(sink * text.first + comma * key(text.is_comma) - recency * "
        "log(text.distance + 1))\n"
    )
    estimate = most_of(request(text), None).input_tokens
    assert 74 < estimate < 2 * 74


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2.50", Budget(2.5)),
        ("3usd", Budget(3)),
        ("500_000tokens", Budget(500_000, "tokens")),
        ("10 Tokens", Budget(10, "tokens")),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "$5", "five", "-1", "1e9", "nan", "5 euros", ".5", "5usd!"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(HeadscriptError, match="is no budget"):
        parse_budget(text)


def test_prices_come_from_the_option_or_the_table(tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    assert price_of("openai:m", table) is None
    table.write_text('["openai:m"]\ninput = 1.25\noutput = 10\n["openai:half"]\ninput = 1\n')
    assert price_of("openai:m", table) == Price(1.25, 10)
    assert price_of("openai:other", table) is None
    with pytest.raises(HeadscriptError, match="no 'input' and 'output'"):
        price_of("openai:half", table)
    given = ExplainerSettings(explainer="openai:m", price="1,2")
    assert given.the_price("openai:m") == Price(1, 2)
    left = ExplainerSettings(explainer="openai:m")  # HEADSCRIPT_PRICES names the same file
    assert left.the_price("openai:m") == Price(1.25, 10)
    table.write_text("not toml")
    with pytest.raises(HeadscriptError, match=re.escape(str(table))):
        left.the_price("openai:m")


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(HeadscriptError, match="is no price"):
        parse_price(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": 0}, "max_tokens must be more than 0"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"concurrency": -1}, "concurrency must be"),
        ({"temperature": 3.0}, "temperature must be 0 to 2"),
        ({"budget": "much"}, "is no budget"),
        ({"price": "high"}, "is no price"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, object], said: str) -> None:
    settings = ExplainerSettings.model_validate({"explainer": "openai:m"} | change)
    with pytest.raises(HeadscriptError, match=said):
        settings.checked()


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "gpt",
        "openai",
        "openai:",
        "ftp://host/v1#m",
        "http://#m",
        "http://host/v1",
        "http://host:99999/v1#m",
        "http://user:password@host/v1#m",
        "http://host/v1?key=abc#m",
        "batch:",
    ],
)
def test_what_names_no_explainer_is_refused_in_a_sentence(spec: str) -> None:
    with pytest.raises(HeadscriptError) as caught:
        open_explainer(spec, environment={"OPENAI_API_KEY": "sk-0123456789"})
    assert "password@" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_explainers_are_named_as_they_were_asked_for(server: FaultServer) -> None:
    assert (
        open_explainer("http://127.0.0.1:1/v1/#org/m:8b").name == "http://127.0.0.1:1/v1#org/m:8b"
    )
    assert explainer(server, "openai").name == f"openai:small at {server.address}/v1"
    keys = {"OPENAI_API_KEY": "sk-0123456789", "ANTHROPIC_API_KEY": "sk-0123456789"}
    for name in ("openai:a", "anthropic:b"):
        assert open_explainer(name, environment=keys).name == name
    assert open_explainer("batch:some/folder#m").name == "batch#m"

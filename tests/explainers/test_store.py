"""The store: what goes in comes out, whatever it is, and several processes may use it at once."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.explainers.asked import asked, request
from tests.explainers.fault_server import FaultServer

from headscript.errors import HeadscriptError
from headscript.explainers import Answer, Failure, FailureKind, Message, Outcome, Request, Store
from headscript.explainers.budget import Amount
from headscript.explainers.requests import is_final

words = some.text(max_size=40)
tokens = some.none() | some.integers(0, 2**40)
costs = some.none() | some.floats(0, 1e6)
requests = some.builds(
    Request,
    messages=some.lists(
        some.builds(Message, some.sampled_from(["system", "user", "assistant"]), words),
        min_size=1,
        max_size=3,
    ).map(tuple),
    max_tokens=some.integers(1, 100_000),
    temperature=some.none() | some.floats(0, 2),
    sample=some.integers(0, 9),
)
answers = some.builds(Answer, words, tokens, tokens, words, costs)
failures = some.builds(Failure, some.sampled_from(FailureKind), words, tokens, tokens, costs)
NOTHING = Amount(0, 0, 0.0)


@settings(max_examples=30, deadline=None)
@given(some.lists(some.tuples(requests, words, answers | failures), max_size=6))
def test_what_is_kept_comes_back_as_it_was(entries: list[tuple[Request, str, Outcome]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.sqlite"
        expected: dict[str, Outcome] = {}
        with Store(path) as store:
            for asked_for, model, outcome in entries:
                key = asked_for.key(model)
                store.put(key, model, asked_for, outcome, "{}", NOTHING)
                if is_final(outcome):
                    expected.setdefault(key, replace(outcome, cached=True))
        with Store(path) as store:
            for asked_for, model, _ in entries:
                key = asked_for.key(model)
                assert store.get(key) == expected.get(key)
            assert store.spent().calls == len(entries)


@given(requests, requests, words, words)
def test_the_key_tells_whatever_is_asked_apart(
    one: Request, other: Request, model: str, other_model: str
) -> None:
    same = (one, model) == (other, other_model)
    assert (one.key(model) == other.key(other_model)) == same
    assert one.key(model) == replace(one).key(model)


def test_the_key_does_not_move_between_versions() -> None:
    """Or all that was paid for would be lost."""
    asked_for = Request((Message("user", "Größe"),), 5, 1, 2)
    assert asked_for.key("m") == replace(asked_for, temperature=1.0).key("m")
    assert asked_for.key("m") == (
        "564ab334e996bc0753b46673b07c0ec0eaaa573b304587e2c50652b405b0a06c"
    )


def test_answers_are_kept_as_they_came(server: FaultServer, store: Store) -> None:
    asked(server, "openai", store, ["the prompt"])
    (body,) = store.bodies([request("the prompt").key(f"openai:small at {server.address}/v1")])
    assert json.loads(body)["choices"][0]["message"]["content"] == "answer to the prompt"
    assert json.loads(body)["id"] == "chatcmpl-1"


def test_each_run_has_an_account_of_its_own_and_all_share_the_answers(
    server: FaultServer, tmp_path: Path
) -> None:
    with Store(tmp_path / "s", run="first") as store:
        asked(server, "openai", store, ["a", "b"])
        assert store.spent().calls == 2
    with Store(tmp_path / "s", run="second") as store:
        asked(server, "openai", store, ["b", "c"])
        assert store.spent().calls == 1
    assert server.seen() == {"a": 1, "b": 1, "c": 1}


def test_files_of_another_kind_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("something else altogether " * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE a (b)")
    database.close()
    newer = tmp_path / "newer.sqlite"
    Store(newer).close()
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.close()
    for file in (text, other, newer):
        before = file.read_bytes() if file == text else None
        with pytest.raises(HeadscriptError, match=file.name):
            Store(file)
        assert before is None or file.read_bytes() == before
    with pytest.raises(HeadscriptError, match="cannot be used"):
        Store(text / "below")


PROCESS = """
import sys
from headscript.explainers import Message, Request, Store, ask, open_explainer
from headscript.explainers.patience import Patience
path, spec, number = sys.argv[1:]
requests = [Request((Message("user", f"prompt {n}"),), 50) for n in range(int(number))]
print("ready", flush=True)
sys.stdin.readline()
with Store(path) as store:
    outcomes = ask(open_explainer(spec), requests, store, patience=Patience(concurrency=2))
    texts = [outcome.text for outcome in outcomes]
    print(texts == [f"answer to {each.messages[0].content}" for each in requests])
"""


def start(server: FaultServer, store: Path, number: int) -> subprocess.Popen[str]:
    spec = f"{server.address}/v1#small"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROCESS, str(store), spec, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_at_once_pay_for_each_answer_once(server: FaultServer, tmp_path: Path) -> None:
    server.delay = 0.05
    processes = [start(server, tmp_path / "s", 20) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["True\n"] * 3
    assert set(server.seen().values()) == {1}
    assert len(server.seen()) == 20
    with Store(tmp_path / "s") as store:
        assert store.spent().calls == 20
    assert [file.name for file in tmp_path.iterdir()] == ["s"]  # no lock is left behind


def test_a_new_store_is_opened_by_many_at_once(tmp_path: Path) -> None:
    def opened(path: Path) -> None:
        begin.wait(60)
        Store(path).close()

    begin = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        for number in range(50):
            each = [threads.submit(opened, tmp_path / str(number)) for _ in range(8)]
            assert [future.exception(60) for future in each] == [None] * 8


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(
    server: FaultServer, tmp_path: Path
) -> None:
    """Killed in the middle with requests in flight, which are all that is asked again."""
    server.plan = lambda prompt, before: (
        "hang" if prompt in ("prompt 9", "prompt 12") and not before else "answer"
    )
    process = start(server, tmp_path / "s", 30)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    for _ in range(600):
        if {"prompt 9", "prompt 12"} <= set(server.seen()):
            break
        time.sleep(0.05)
    time.sleep(0.3)  # both places are taken by what hangs
    process.kill()
    process.communicate()
    with Store(tmp_path / "s") as store:
        assert store.spent().calls == 11
    assert len(server.received) == 13

    process = start(server, tmp_path / "s", 30)
    assert process.communicate("\n", timeout=60)[0] == "True\n"
    twice = {prompt for prompt, times in server.seen().items() if times > 1}
    assert twice == {"prompt 9", "prompt 12"}  # nobody ever got an answer to these
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 30

    process = start(server, tmp_path / "s", 30)
    before = len(server.received)
    assert process.communicate("\n", timeout=60)[0] == "True\n"
    assert len(server.received) == before

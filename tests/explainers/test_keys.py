"""Keys go to their service and nowhere else: not to files, messages, logs, or other processes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
from tests.explainers.asked import KEY, QUICK, WIRES, asked, explainer, request
from tests.explainers.fault_server import FaultServer

from headscript.engines import processes
from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.explainers import Failure, Store, ask, open_explainer
from headscript.explainers.keys import ApiKey, environment_without_keys, read_key
from headscript.explainers.patience import Patience


@pytest.mark.parametrize("wire", WIRES)
def test_a_key_is_in_no_file_no_message_no_event_and_no_log(
    server: FaultServer, tmp_path: Path, wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Even of a server that repeats it, and with all that the libraries can log."""
    caplog.set_level(logging.DEBUG)
    faults = ["answer", "repeat_key", "repeat_key_in_error", "html", "cut", "429"]
    server.plan = lambda prompt, before: prompt
    events: list[Event] = []
    store = Store(tmp_path / "kept" / "answers.sqlite")
    patience = Patience(timeout=5, tries=2, first_pause=0.01)
    outcomes = asked(server, wire, store, faults, on_event=events.append, patience=patience)
    while_open = _all_bytes(tmp_path)  # with what SQLite keeps beside it
    with pytest.raises(HeadscriptError) as caught:
        asked(server, wire, store, ["repeat_key_at_401"])
    store.close()

    assert "Incorrect API key provided: [key]" in str(caught.value)
    assert "[key]" in str(outcomes[1])
    assert isinstance(outcomes[2], Failure)
    assert "what is [key]?" in outcomes[2].message
    assert b"[key]" in while_open + _all_bytes(tmp_path)
    everything = [
        while_open,
        _all_bytes(tmp_path),
        repr(outcomes).encode(),
        repr(events).encode(),
        "".join(traceback.format_exception(caught.value)).encode(),
        caplog.text.encode(),
        repr(explainer(server, wire)).encode(),
    ]
    assert len(caplog.records) > 10
    assert any(KEY in " ".join(each.headers.values()) for each in server.received)
    for place in everything:
        assert KEY.encode() not in place


def _all_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_a_key_of_json_characters_is_hidden_inside_json_as_well() -> None:
    key = ApiKey('quo"te\\d-secret', "X")
    assert key.hide(json.dumps({"a": 'is quo"te\\d-secret here'})) == '{"a": "is [key] here"}'
    assert ApiKey("none", "X").hide("there is none") == "there is none"


def test_a_key_shows_itself_to_nobody_and_goes_to_no_other_process() -> None:
    key = ApiKey(KEY, "OPENAI_API_KEY")
    assert KEY not in f"{key} {key!r} {[key]}"
    with pytest.raises(TypeError):
        ForkingPickler.dumps(key)
    with pytest.raises(TypeError, match="not sent to another process"):
        ForkingPickler.dumps(open_explainer("openai:m", environment={"OPENAI_API_KEY": KEY}))


def test_each_server_gets_its_own_key_alone(server: FaultServer, store: Store) -> None:
    environment = {
        "OPENAI_API_KEY": "sk-of-openai-1234",
        "ANTHROPIC_API_KEY": "sk-of-anthropic-1234",
        "OPENAI_ORG_ID": "an-organisation",
        "OPENAI_CUSTOM_HEADERS": "X-Gateway: secret-of-a-gateway",
    }
    other = open_explainer(f"{server.address}/v1#m", environment=environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ask(other, [request("a")], store, patience=QUICK)
    (received,) = server.received
    assert "authorization" not in received.headers
    assert set(received.headers) <= {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-stainless-raw-response",
    }
    assert received.headers["user-agent"] == "headscript"


@pytest.mark.parametrize("secret", ["with space", "with\nline", "ключ-от-дверей"])
def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(HeadscriptError, match="copy it again") as caught:
        read_key("OPENAI_API_KEY", {"OPENAI_API_KEY": secret})
    assert secret not in str(caught.value)


def test_a_missing_key_is_named_by_its_variable() -> None:
    for spec, variable in (("openai:m", "OPENAI_API_KEY"), ("anthropic:m", "ANTHROPIC_API_KEY")):
        with pytest.raises(HeadscriptError, match=variable):
            open_explainer(spec, environment={variable: "  "})
    open_explainer("http://127.0.0.1:9/v1#m", environment={})


def test_workers_start_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines start their processes with, put to the test by a child that tells."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HEADSCRIPT_API_KEY"):
        monkeypatch.setenv(name, KEY)
    started: list[dict[str, str]] = []
    real = subprocess.Popen

    def start(*arguments: object, env: dict[str, str], **options: object) -> subprocess.Popen[str]:
        started.append(env)
        return real(
            [sys.executable, "-c", "print(dict(__import__('os').environ))"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    monkeypatch.setattr("headscript.engines.processes.subprocess.Popen", start)
    told, _ = processes.start("headscript.engines.worker", variables={}).communicate(timeout=60)
    assert KEY not in told
    assert "PATH" in told
    assert KEY not in str(started)
    assert KEY in os.environ.values()
    assert KEY not in environment_without_keys().values()

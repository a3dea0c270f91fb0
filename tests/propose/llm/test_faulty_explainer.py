"""The whole command before an explainer that fails in every known way.

A run comes to its end whatever is answered, every request and every program has an outcome that
results.json counts, and nothing that an answer holds is executed outside the sandbox.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cli.commands import Answer, command
from tests.explainers.fault_server import FaultServer
from tests.propose.llm.scripted import CURVED, GOOD, head_of, save_given
from tests.small_run import HEADS

from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.judging import FOLDER, read_candidates
from headscript.results import ProposerSummary
from headscript.runs import Run
from headscript.sandbox import isolation

SANDBOX = Path(__file__).parents[2] / "sandbox" / "hostile"


def block(code: str) -> str:
    return f"This is what it does:\n\n```python\n{code}```\n"


def program(result: str, *lines: str, constants: str = "a=1.0") -> str:
    body = "".join(f"    {line}\n" for line in [*lines, f"return {result}"])
    return block(f"def attend(text, {constants}):\n{body}")


def hostile(name: str) -> str:
    """A program that means harm, as the tests of the sandbox have it."""
    return block((SANDBOX / f"{name}.py").read_text())


PROSE = "The head seems to attend to the previous token, but I would need more data to be sure."
HALF = "```python\ndef attend(text, first=1.0, near=0.5):\n    scores = first * text.fi"
WRONG_NAMES = program("softmax(a * text.attention_sink + text.glances(3))")
WRONG_SHAPE = program("a * text.is_comma")
HARM = program(
    "softmax(a * text.first)",
    "__import__('pathlib').Path('CANARY').write_text('gone')",
    constants="a=open('CANARY', 'w').write('gone')",
)
HARM_BESIDE = block(
    "open('CANARY', 'w').write('gone')\n\n\ndef attend(text):\n    return eval('1')\n"
)
DOUBLED = [f"f{i + 1} = f{i} + f{i}" for i in range(40)]
DOUBLING = program("softmax(f40)", "f0 = a * text.first", *DOUBLED)
CHAINED = "text.distance < (" * 40 + "text.distance" + ") < text.distance" * 40
CHAINS = program(f"softmax(a * ({CHAINED}))")
TOO_MANY = program(
    "softmax(" + " + ".join(f"c{i} * text.previous({i})" for i in range(40)) + ")",
    constants=", ".join(f"c{i}=0.1" for i in range(40)),
)  # fmt: skip
ENDLESS_SUM = program("softmax(a * text.first" + " + text.first" * 600 + ")")
INFINITE = program("softmax(a * log(text.previous(1) | text.first))")
OVERFLOWING = program("softmax(a * exp(100 * text.distance))")
AHEAD = program("softmax(a * text.last)")

# What the server or the model behind it does with each head, and how it ends.
BROKEN_SERVER = {
    "L00H00": ("429", "rate_limited"),
    "L00H01": ("429_at_any_time", "rate_limited"),
    "L00H02": ("500", "server_error"),
    "L00H03": ("cut", "connection"),
    "L01H00": ("drip", "timeout"),
    "L01H01": ("no_choices", "empty"),
}
BROKEN_ANSWERS = {
    "L01H02": (PROSE, Outcome.NO_CODE),
    "L01H03": (HALF, Outcome.CUT_OFF),
    "L02H00": (WRONG_NAMES, Outcome.REFUSED),
    "L02H01": (HARM, Outcome.REFUSED),
    "L02H02": (WRONG_SHAPE, Outcome.REFUSED),
    "L02H03": (hostile("write_by_array"), Outcome.NO_PATTERN),
}
SECOND_ROUND = {
    "L01H02": ("wrong_types", "malformed"),
    "L01H03": ("half_json", "malformed"),
    "L02H00": ("refusal", "refused"),
    "L02H01": ("too_long", "too_long"),
    "L02H02": ("html", "malformed"),
    "L02H03": ("cut_off", "answer"),  # "def att" and no more
}
NEVER_KEPT = 5 + 4  # requests without an answer of the model, in the first round and the second


class Place(NamedTuple):
    """A model with texts, and a file that nothing may touch."""

    folder: Path
    canary: Path

    def untouched(self) -> bool:
        beside = [file for file in self.canary.parent.iterdir() if file != self.canary]
        return self.canary.read_text() == "kept" and not beside


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = save_given(tmp_path_factory.mktemp("given"))
    canary = tmp_path_factory.mktemp("canary") / "canary"
    canary.write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HEADSCRIPT_API_KEY"):
            patch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        patch.setenv("HEADSCRIPT_PRICES", str(folder / "prices.toml"))
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        yield Place(folder, canary)


class Finished(NamedTuple):
    """A run that a command made, and how to start it again."""

    place: Place
    server: FaultServer
    arguments: list[object]
    answer: Answer

    @property
    def run(self) -> Run:
        return Run.open(self.folder)

    @property
    def shown(self) -> str:
        """What was printed, without spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.answer.out.splitlines())

    @property
    def folder(self) -> Path:
        return Path(str(self.arguments[self.arguments.index("--out") + 1]))

    @property
    def llm(self) -> ProposerSummary:
        return self.run.results().summary.proposers["llm"]

    def candidates(self, number: int) -> list[Candidate]:
        """All of a round."""
        return [
            each
            for file in sorted((self.folder / FOLDER / f"llm-{number}").glob("L??.json"))
            for each in read_candidates(self.run, str(file.relative_to(self.folder)))
        ]


def explained(
    place: Place, server: FaultServer, out: Path, proposers: str, *more: object
) -> Finished:
    arguments: list[object] = ["explain", place.folder / "model"]
    arguments += ["--texts", place.folder / "texts.jsonl", "--out", out, "--proposer", proposers]
    arguments += ["--explainer", f"{server.address}/v1#faulty", "--max-terms", 3, "--workers", 1]
    arguments += ["--timeout", 2, "--tries", 2, *more]
    return Finished(place, server, arguments, command(*arguments))


def asked_now(server: FaultServer) -> tuple[str, int]:
    """The head that the request before the server is about, and its round."""
    messages = server.received[-1].body["messages"]
    return head_of(messages), (len(messages) - 2) // 2


# Nothing but faults ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """All heads of the model, the language model alone, one program a prompt, two rounds."""
    folder = tmp_path_factory.mktemp("alone")

    def plan(prompt: str, before: int) -> str:
        head, number = asked_now(server)
        return SECOND_ROUND[head][0] if number else BROKEN_SERVER.get(head, ("answer",))[0]

    def text(prompt: str) -> str:
        return BROKEN_ANSWERS[asked_now(server)[0]][0].replace("CANARY", str(place.canary))

    server = FaultServer(plan=plan, text=text, retry_after="1")
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSCRIPT_ANSWERS", str(folder / "answers.sqlite"))
        yield explained(place, server, folder / "run", "llm", "--candidates", 1)


def test_a_run_of_nothing_but_faults_ends_clearly(alone: Finished) -> None:
    assert alone.answer.code == 0
    out = alone.shown
    assert alone.run.finished
    assert re.search(r"coverage +0 %", out)
    assert re.search(r"llm +in the programs of 0 % of heads", out)
    assert re.search(
        r"requests +18: 7 answered, 3 malformed, 2 rate limited, 1 connection, 1 empty,\s+"
        r"1 refused, 1 server error, 1 timeout, 1 too long\n",
        out,
    )
    assert re.search(r"programs +6 of 18 asked for", out)
    assert re.search(r"outcomes +no answer 11, refused 3, cut off 2, no code 1, no pattern 1", out)
    assert re.search(rf"reasons +{re.escape(str(alone.folder / FOLDER))}", out)
    assert "12 heads without a working program" in out
    assert all(row.program is None and row.iou == 0 for row in alone.run.results().heads)


def test_every_request_ends_as_its_fault_says(alone: Finished) -> None:
    first = alone.run.read_json(f"{FOLDER}/llm-0/answers.json")
    assert {head: row.get("failure", "answer") for head, row in first.items()} == {
        **{head: kind for head, (_, kind) in BROKEN_SERVER.items()},
        **dict.fromkeys(BROKEN_ANSWERS, "answer"),
    }
    again = alone.run.read_json(f"{FOLDER}/llm-1/answers.json")
    assert {head: row.get("failure", "answer") for head, row in again.items()} == {
        head: kind for head, (_, kind) in SECOND_ROUND.items()
    }
    sent = Counter(head_of(each.body["messages"]) for each in alone.server.received[:23])
    assert all(sent[head] == 2 for head in list(BROKEN_SERVER)[:5])  # what may pass, again
    assert all(sent[head] == 2 for head in BROKEN_ANSWERS)  # once a round
    assert sent["L01H01"] == 1


def test_every_program_has_the_outcome_it_deserves(alone: Finished) -> None:
    first = {str(each.head): each for each in alone.candidates(0)}
    expected = {head: outcome for head, (_, outcome) in BROKEN_ANSWERS.items()}
    if isolation().level != "full":
        expected["L02H03"] = Outcome.FREE_FORM
    assert {head: each.outcome for head, each in first.items()} == {
        **dict.fromkeys(BROKEN_SERVER, Outcome.NO_ANSWER),
        **expected,
    }
    again = {str(each.head): each.outcome for each in alone.candidates(1)}
    assert again == dict.fromkeys(SECOND_ROUND, Outcome.NO_ANSWER) | {"L02H03": Outcome.CUT_OFF}
    for head, each in first.items():
        assert each.reason.endswith((".", "times.")), each
        if head in BROKEN_SERVER:
            assert each.reason.startswith(f"{BROKEN_SERVER[head][1]}: ")


def test_the_counts_in_the_results_add_up(alone: Finished) -> None:
    found = alone.llm
    candidates = alone.candidates(0) + alone.candidates(1)
    assert found.requests == found.asked_for == 18
    assert found.answers is not None
    assert found.requests == found.answers + sum(found.failures.values())
    assert found.outcomes == Counter(str(each.outcome) for each in candidates)
    assert sum(found.outcomes.values()) == found.asked_for
    assert found.outcomes["no answer"] == sum(found.failures.values())
    assert found.programs == sum(bool(each.source) for each in candidates) == 6
    assert found.input_tokens is not None
    paid = found.answers + found.failures["empty"] + found.failures["refused"]
    assert found.input_tokens == 20 * paid
    assert found.cost is None


def test_the_same_command_again_asks_nothing(alone: Finished) -> None:
    before = len(alone.server.received)
    again = command(*alone.arguments)
    assert again.code == 0
    assert again.out == alone.answer.out
    told = json.loads(command(*alone.arguments, "--json").out)
    assert told["summary"]["proposers"]["llm"] == alone.llm.model_dump(mode="json")
    assert len(alone.server.received) == before


def test_another_run_asks_only_for_what_the_model_never_said(alone: Finished) -> None:
    before = len(alone.server.received)
    other = [*alone.arguments]
    other[other.index("--out") + 1] = alone.folder.with_name("other")
    answer = command(*other)
    assert answer.code == 0
    fresh = Counter(head_of(each.body["messages"]) for each in alone.server.received[before:])
    assert len(fresh) == NEVER_KEPT
    assert not fresh.keys() & {"L01H01", "L02H00", "L02H03"}  # empty, refused, answered
    assert Run.open(alone.folder.with_name("other")).results().summary.proposers["llm"] == alone.llm


def test_nothing_in_an_answer_was_executed(alone: Finished) -> None:
    said = "\n".join(each.source for each in alone.candidates(0))
    assert said.count(str(alone.place.canary)) >= 3
    assert alone.place.untouched()


# Beside the search -------------------------------------------------------------------------------

MIXED = {
    "L00H01": [GOOD, HARM, DOUBLING, AHEAD],
    "L01H00": [HARM_BESIDE, hostile("write_by_array"), CURVED, hostile("kill_parent"), WRONG_SHAPE],
    "L01H01": [INFINITE, ENDLESS_SUM, OVERFLOWING, CHAINS],
    "L01H02": [TOO_MANY, WRONG_NAMES, PROSE, HALF],
}
PASSING = {"L00H01": "429", "L01H00": "cut", "L01H01": "500", "L01H02": "drip"}
MIXED_OUTCOMES = {
    "L00H01": ["ok", "refused", "refused", "looks ahead"],
    "L01H00": ["refused", "no pattern", "ok", "no pattern", "refused"],
    "L01H01": ["ok", "ok", "no pattern", "refused"],
    "L01H02": ["refused", "refused", "cut off"],
    "L01H03": ["no answer"],
}


@pytest.fixture(scope="module")
def beside(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Five heads, the search and the language model; the server mostly recovers."""
    folder = tmp_path_factory.mktemp("beside")

    def plan(prompt: str, before: int) -> str:
        head, _ = asked_now(server)
        return "500" if head == "L01H03" else "answer" if before else PASSING[head]

    def text(prompt: str) -> str:
        return "\n".join(MIXED[asked_now(server)[0]]).replace("CANARY", str(place.canary))

    server = FaultServer(plan=plan, text=text)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSCRIPT_ANSWERS", str(folder / "answers.sqlite"))
        more = ["--heads", HEADS, "--rounds", 0]
        yield explained(place, server, folder / "run", "search,llm", *more)


def test_beside_the_search_all_heads_get_programs(beside: Finished) -> None:
    assert beside.answer.code == 0
    results = beside.run.results()
    assert results.summary.coverage == 1
    for row in results.heads:
        assert row.status == "ok"
        assert row.program is not None
        assert (beside.folder / row.program).is_file()
        assert row.terms is not None
        assert row.terms <= 3
        assert row.searched_iou is not None
    assert "without a working program" not in beside.answer.out


@pytest.mark.skipif(isolation().level != "full", reason="free-form programs need the sandbox")
def test_what_is_wrong_in_an_answer_leaves_the_rest_of_it(beside: Finished) -> None:
    found: dict[str, list[str]] = {}
    for each in beside.candidates(0):
        found.setdefault(str(each.head), []).append(str(each.outcome))
        assert each.reason or each.outcome is Outcome.OK
    assert found == MIXED_OUTCOMES


def test_programs_and_requests_without_any_add_up(beside: Finished) -> None:
    found = beside.llm
    assert (found.requests, found.answers, found.failures) == (5, 4, {"server_error": 1})
    assert found.asked_for == 20
    assert found.programs is not None
    assert sum(found.outcomes.values()) == found.programs + found.outcomes["no answer"]
    assert found.outcomes == Counter(str(each.outcome) for each in beside.candidates(0))
    assert re.search(r"requests +5: 4 answered, 1 server error\n", beside.shown)
    assert re.search(rf"programs +{found.programs} of 20 asked for", beside.answer.out)


def test_no_number_of_a_program_that_breaks_down_gets_into_the_run(beside: Finished) -> None:
    def refuse(name: str) -> None:
        pytest.fail(f"{name} in a file of the run")

    for file in beside.folder.rglob("*.json"):
        if "tokenizer" not in file.parts:
            json.loads(file.read_text(), parse_constant=refuse)


def test_hostile_programs_beside_good_ones_touch_nothing(beside: Finished) -> None:
    assert beside.place.untouched()

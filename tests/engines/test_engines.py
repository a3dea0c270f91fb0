"""The laws of all engines: the same files, each item once, nothing lost when workers die.

The Ray cases run on a real cluster of two nodes on this machine, one of which is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
import torch
from tests.cli.commands import command
from tests.models.networks import tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig

from headscript.engines import EngineSettings, open_engine
from headscript.engines.local import LocalEngine
from headscript.engines.worker import Post, Worker, standing_of
from headscript.errors import HeadscriptError
from headscript.evaluation.scoring import TextScorer, TextScores
from headscript.evaluation.scoring_parts import score_in_parts
from headscript.events import Event
from headscript.heads import Head
from headscript.models import load_model
from headscript.programs import Program
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.judging import write_proposed
from headscript.records import SPLITS, RunConfig
from headscript.runs import Run
from headscript.stages import prepare_texts, record_splits

LAYERS = 6
ITEMS = ["judge llm-0 2", *(f"search {layer}" for layer in (0, 1, 2, 4, 5)), "combine 3"]
KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
MARK = "HEADSCRIPT_TEST_MARK"
ENGINES = [
    "local",
    pytest.param(
        "ray",
        marks=[
            pytest.mark.skipif(find_spec("ray") is None, reason="needs the package ray"),
            pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
        ],
    ),
]
FREE_FORM = """
import numpy as np


def look_at_the_first_token(sentence, tokenizer):
    size = len(tokenizer([sentence])["input_ids"][0])
    matrix = np.zeros((size, size))
    matrix[:, 0] = 1
    return "first token", matrix
"""


def save_model(folder: Path) -> Path:
    """A Llama of 6 layers with 4 heads each."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run recorded in this process and searched by one worker of this machine."""
    folder = tmp_path_factory.mktemp("reference")
    draw = Random(0)
    texts = [" ".join(f"w{draw.randint(4, 63)}" for _ in range(30)) for _ in range(14)]
    (folder / "texts.txt").write_text("\n\n".join(texts))
    config = RunConfig(
        model=str(save_model(folder / "model")),
        texts=str(folder / "texts.txt"),
        max_terms=3,
        fit_cells=2_500,
    )
    with Run.create_or_resume(folder / "run", config) as run:
        model = load_model(config.model)
        run.settle_model(model)
        run_texts = prepare_texts(config, model)
        run.settle_texts(run_texts)
        run.save_tokenizer(model.tokenizer)
        record_splits(run, model, run_texts, model.heads, lambda event: None)
        candidate = Candidate(Head(2, 1), "llm", Outcome.FREE_FORM, FREE_FORM)
        write_proposed(run, "llm-0", 2, [candidate])
        assert list(LocalEngine(run, 1).run(["search 3", *ITEMS])) == ["search 3", *ITEMS]
    return run.directory


@pytest.fixture
def run(reference: Path, tmp_path: Path) -> Run:
    """A copy of it from before the items were done."""
    run = Run.open(shutil.copytree(reference, tmp_path / "run"))
    for file in (run.directory / "search").iterdir():
        if file.name != "L03.json":  # what "combine 3" goes on from
            file.unlink()
    (run.directory / "candidates/llm-0/L02.json").unlink()
    shutil.rmtree(run.directory / "candidates/combined")
    return run


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A variable by which every process is known that comes of this test."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return mark


class Cluster:
    """The cluster of `tests/engines/cluster.py`."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).with_name("cluster.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.address: str = told["address"]
        self.second: int = told["second"]
        """The process of the second node that starts its workers."""

    def remove_second(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("remove\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "removed\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with a core each; the last test that takes it removes the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(MARK, raising=False)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex * 2)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # it is on the loopback
        folder = Path("/tmp") / f"hs-{uuid.uuid4().hex[:8]}"  # sockets have short paths
        started = Cluster(folder)
        try:
            yield started
        finally:
            started.process.communicate(timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


def settings(engine: str, request: pytest.FixtureRequest, workers: int = 2) -> EngineSettings:
    if engine == "local":
        return EngineSettings("local", workers)
    return EngineSettings("ray", workers, request.getfixturevalue("cluster").address)


# What a test sees ---------------------------------------------------------------------------------


def files(run: Path, folder: str) -> dict[str, bytes]:
    """Finished files by name."""
    found = (run / folder).rglob("*")
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in found
        if file.is_file() and ".part" not in str(file)
    }


def inodes(run: Path) -> dict[str, int]:
    """By finished file what shows that it was not written again."""
    kept = [*run.glob("search/L*.json"), *run.glob("recording/*/shard-*")]
    return {str(file.relative_to(run)): file.stat().st_ino for file in kept}


def processes_of(mark: str, command: str = "") -> dict[int, str]:
    """Running processes that come of a test, with their state; `command` is a part of theirs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            ours = mark.encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if ours and state != "Z" and command in line and int(folder.name) != os.getpid():
            found[int(folder.name)] = state
    return found


def workers_of(mark: str) -> dict[int, str]:
    """Workers with their state. What one starts has its command line too, until it runs its own."""
    found = processes_of(mark, "headscript.engines.worker") | processes_of(mark, "ray::_Actor")
    theirs = {None, *found}
    return {worker: state for worker, state in found.items() if parent_of(worker) not in theirs}


def parent_of(process: int) -> int | None:
    """The process that started one; None once that has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def environment_of(process: int) -> str:
    """What it was started with; nothing once it has ended."""
    try:
        return Path(f"/proc/{process}/environ").read_text()
    except OSError:
        return ""


def wait_until_gone(mark: str, seconds: float = 120) -> None:
    """Wait until nothing runs that comes of a test."""
    end = time.monotonic() + seconds
    while left := processes_of(mark):
        assert time.monotonic() < end, [
            Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")[:80] for process in left
        ]
        time.sleep(0.05)


# Laws ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mistake_is_one_sentence_and_what_was_done_before_is_there(
    engine: str, run: Run, reference: Path, request: pytest.FixtureRequest
) -> None:
    done: list[str] = []
    with (
        open_engine(settings(engine, request, workers=1), run) as opened,
        pytest.raises(HeadscriptError, match=r"^Layer 77 is not in the recording .*\.$"),
    ):
        done.extend(opened.run(["search 4", "search 77", "search 5"]))
    assert done == ["search 4"]
    assert sorted(file.name for file in (run.directory / "search").iterdir()) == [
        "L03.json",
        "L04.json",
    ]
    name = "search/L04.json"
    assert (run.directory / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_what_needs_the_model_is_done_where_there_is_a_gpu(
    engine: str, run: Run, reference: Path, mark: str, request: pytest.FixtureRequest
) -> None:
    """Recording and scoring; on the only node that says it has one, though it has none."""
    model = load_model(run.config.model)
    recorded = files(run.directory, "recording")
    for split in SPLITS:
        shutil.rmtree(run.directory / "recording" / split)
    run_texts, events = run.texts(), list[Event]()
    cluster = request.getfixturevalue("cluster")
    parents: set[int | None] = set()

    def on_event(event: Event) -> None:
        events.append(event)
        parents.update(map(parent_of, workers_of(mark)))

    programs = {
        Head(layer, 1): Program.parse(
            "from headscript.language import run, softmax\n\n\n"
            f"def attend(text, tilt={layer}.3):\n    return softmax(tilt * text.first)\n"
        )
        for layer in range(LAYERS)
    }
    ids = [list(text.token_ids) for text in run_texts[:5]]
    scored: dict[int, TextScores] = {}
    with open_engine(settings(engine, request), run) as opened:
        assert opened.elsewhere
        lock = Run.open_for_writing(run.directory)
        record_splits(lock, model, run_texts, model.heads, on_event, engine=opened)
        lock.close()
        assert [event.done for event in events][-3:] == sorted(event.done for event in events)[-3:]
        assert events[-1].done == events[-1].total == len(run_texts)
        isolation = score_in_parts(
            run, model, programs, ids, 40, 5, scored.__setitem__, opened, on_event
        )
    assert files(run.directory, "recording") == recorded
    assert parents == {cluster.second}
    assert isolation is None
    scorer = TextScorer(run, model, programs, 40, 5)
    for number, tokens in enumerate(ids):
        here = scorer(number, tokens)
        assert torch.equal(scored[number].programs, here.programs)
        assert scored[number].baselines.keys() == here.baselines.keys()
        for name, values in here.baselines.items():
            assert torch.equal(scored[number].baselines[name], values), name
    assert not list((run.directory / "parts").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_driver_that_is_killed_leaves_nothing_running_and_another_goes_on(
    engine: str,
    run: Run,
    reference: Path,
    mark: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """The first has a Ray cluster of its own, which ends with it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    items = ITEMS[1:]

    def start(address: str, items: Sequence[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.engines.driver", str(run.directory), engine]
        return subprocess.Popen(
            [*command, address, *items],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    folders = set(Path("/tmp").glob("hs-ray-*"))
    driver = start("", items)
    assert driver.stdout is not None
    first = driver.stdout.readline().strip()
    if engine == "ray":
        assert processes_of(mark, "gcs_server")
    driver.kill()
    rest, noise = driver.communicate()
    done = [first, *rest.split("\n")[:-1]]
    assert done == items[: len(done)]
    assert noise == ""
    wait_until_gone(mark)
    before = inodes(run.directory)
    missing = [item for item in items if not is_done(run, item)]
    assert 0 < len(missing) < len(items)
    assert set(done).isdisjoint(missing)

    address = settings(engine, request).address or ""
    again = start(address, missing)
    assert again.communicate() == ("".join(f"{item}\n" for item in missing), "")
    assert again.returncode == 0
    wait_until_gone(mark)
    after = inodes(run.directory)
    assert {name: after[name] for name in before} == before
    assert files(run.directory, "search") == files(reference, "search")
    assert not (tmp_path / ".ray").exists()
    assert set(Path("/tmp").glob("hs-ray-*")) <= folders


def is_done(run: Run, item: str) -> bool:
    job, layer = item.split()
    folder = {"search": "search", "combine": "candidates/combined"}[job]
    return run.has(f"{folder}/L{int(layer):02d}.json")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_is_killed_costs_the_item_it_had_in_hand(
    engine: str,
    run: Run,
    reference: Path,
    mark: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """And a node that is removed costs those of its workers; the end is that of one worker."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    chosen = settings(engine, request)
    done: list[str] = []
    written: dict[str, int] = {}
    killed: list[int] = []
    removed = engine == "local"
    with open_engine(chosen, run) as opened:
        for item in opened.run(ITEMS):
            done.append(item)
            now = inodes(run.directory)
            assert {name: now[name] for name in written} == written, "an item was done again"
            written = now
            workers = workers_of(mark)
            assert len(workers) <= 2
            for worker in workers:
                assert KEY not in environment_of(worker)
            if not killed and len(done) == 2:
                busy = [worker for worker, state in workers.items() if state == "R"]
                killed += busy[:1] or workers  # an idle one dies with what it is given next
                for worker in killed:
                    os.kill(worker, signal.SIGKILL)
            elif killed and not removed:
                request.getfixturevalue("cluster").remove_second()
                removed = True
        assert killed
        assert removed
        assert sorted(done) == sorted(ITEMS)
        assert opened.peak_bytes > 1e8
    for folder in ("search", "candidates"):
        assert files(run.directory, folder) == files(reference, folder)
    wait_until_gone(mark)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "address", "sentence"),
    [
        ("spark", None, r"no engine 'spark'; choose among local, ray"),
        ("local", "10.0.0.1:6379", r"10\.0\.0\.1:6379 is of a Ray cluster; it goes with"),
        ("ray", "ray://10.0.0.1:10001", r"client server; start headscript on a machine of the"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(name: str, address: str | None, sentence: str) -> None:
    with pytest.raises(HeadscriptError, match=sentence):
        EngineSettings(name, None, address).checked()


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "smollm2-135m", "--texts", "stories", "--out", "OUT"),
        ("score", "OUT", "--texts", "stories"),
        ("replace", "OUT"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_refuse_an_engine_before_they_begin(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "run"
    given = [str(place) if argument == "OUT" else argument for argument in arguments]
    answer = command(*given, "--engine", "spark", "--workers", 2, "--address", "auto")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "headscript: There is no engine 'spark'; choose among local, ray.\n"
    assert not place.exists()


def test_ray_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscript.engines.opening.find_spec", lambda name: None)
    with pytest.raises(HeadscriptError, match=r"install 'headscript\[ray\]'"):
        EngineSettings("ray").checked()


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_cluster_that_is_not_there_is_one_sentence(engine: str, run: Run) -> None:
    with (
        open_engine(EngineSettings(engine, 1, "127.0.0.1:9"), run) as opened,
        pytest.raises(HeadscriptError, match=r"no Ray cluster at 127\.0\.0\.1:9 .*refused"),
    ):
        list(opened.run(["search 0"]))


def test_a_worker_that_does_not_see_the_run_or_has_other_versions_refuses(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # here that is ours
    standing = standing_of(run.directory)
    assert Worker(Post(str(run.directory), standing=standing)).prepare().error == ""
    elsewhere = Worker(Post(str(tmp_path / "nowhere"), standing=standing)).prepare()
    assert "does not see the run" in elsewhere.error
    assert "all of them share" in elsewhere.error
    other = json.dumps(json.loads(standing) | {"torch": "1.0"})
    assert "torch 2" in Worker(Post(str(run.directory), standing=other)).prepare().error
    (run.directory / "run.json").write_text("{}")
    assert "does not see" in Worker(Post(str(run.directory), standing=standing)).prepare().error

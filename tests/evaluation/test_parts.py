"""Scores and replacement curves whose parts are done by workers with a model of their own.

The workers are processes of this machine that are told to do what those of a cluster do; what these
do is tested in tests/engines.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.small_run import save_model, save_texts

from headscript.engines import EngineSettings
from headscript.engines.local import LocalEngine
from headscript.engines.parts import Job, job_of
from headscript.engines.worker import Worker
from headscript.errors import HeadscriptError
from headscript.evaluation import score_run
from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.events import Event
from headscript.runs import Run
from headscript.texts import Document, load_texts

FAILING = (
    "from headscript.language import log, run, softmax\n\n\n"
    'def attend(text, tilt=1.0):\n    """Fails."""\n'
    "    return softmax(tilt * (log(text.distance) - log(text.distance)))\n"
)
ONE = EngineSettings("local", workers=1)


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Iterator[Run]:
    """A run with a program that fails."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    (folder / "programs" / "L01H02.py").write_text(FAILING)
    with Run.open_for_writing(folder) as opened:
        yield opened


@pytest.fixture
def documents(tmp_path: Path) -> list[Document]:
    """Of many tokens, so that they make several parts."""
    return load_texts(save_texts(tmp_path / "other.txt", number=200, seed=9))


def curve_of(run: Run, documents: list[Document], events: list[Event]) -> ReplacementCurve:
    return replacement_curve(
        run,
        documents,
        fractions=(0, 0.25, 0.5),
        baseline_fractions=(0.25,),
        engine=ONE,
        on_event=events.append,
    )


def test_parts_give_the_same_score_and_the_same_curve_to_the_last_digit(
    run: Run, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    copy = shutil.copytree(run.directory, tmp_path / "copy")
    score, curve = score_run(run, documents), curve_of(run, documents, [])
    assert [row.status for row in score.by_head].count("ok") == 4
    assert list(curve.failures) == ["L01H02"]

    monkeypatch.setattr(LocalEngine, "elsewhere", True)
    with Run.open_for_writing(copy) as other:
        assert score_run(other, documents, engine=ONE, on_event=events.append) == score
        assert curve_of(other, documents, events) == curve
    assert not list((copy / "parts").iterdir())
    for costs in ("found.json", "found.measured.json"):
        assert (copy / "costs" / costs).read_text() == (run.directory / "costs" / costs).read_text()
    stages = {"scoring", "cost of each head", "greedy order", "replacing heads", "baselines"}
    assert stages <= {event.stage for event in events}
    for stage in stages:
        of_stage = [event for event in events if event.stage == stage]
        assert of_stage[-1].done == of_stage[-1].total
        assert len({event.done for event in of_stage}) > 1 or stage == "cost of each head"


# The files of a job -------------------------------------------------------------------------------


class Answering:
    """An engine whose workers are this process."""

    elsewhere, peak_bytes = True, 0

    def __init__(self, job: Job, until: int) -> None:
        self.job, self.until, self.asked = job, until, list[str]()

    def run(self, items: list[str], *, model: object = None) -> Iterator[str]:
        for item in items:
            if len(self.asked) == self.until:
                raise HeadscriptError("The worker is gone.")
            self.asked.append(item)
            self.job.write(int(item.split()[-1]), {"of": item})
            yield item


def test_a_job_that_was_given_up_goes_on_with_the_parts_that_are_missing(run: Run) -> None:
    asked = {"texts": [1, 2, 3]}
    done: list[int] = []
    with pytest.raises(HeadscriptError, match="is gone"), job_of(run, "score", asked) as job:
        job.do(Answering(job, until=2), 5, None, done.append)  # type: ignore[arg-type]
    with job_of(run, "score", asked) as job:
        assert job.asked() == asked
        engine = Answering(job, until=9)
        job.do(engine, 5, None, done.append)  # type: ignore[arg-type]
        assert engine.asked == [f"score {job.name} {part}" for part in (2, 3, 4)]
        assert job.read(4) == {"of": f"score {job.name} 4"}
        with (
            pytest.raises(HeadscriptError, match="Another process does the same"),
            job_of(run, "score", asked),
        ):
            pass
    assert done == [0, 1, 0, 1, 2, 3, 4]
    assert not job.folder.exists()
    with job_of(run, "score", {"texts": [1, 2]}) as other:
        assert other.name != job.name


def test_a_worker_refuses_a_part_of_a_model_that_is_not_the_runs(run: Run, tmp_path: Path) -> None:
    from headscript.engines.worker import Post

    other = save_model(tmp_path / "other", seed=5)
    answer = Worker(Post(str(run.directory), str(other))).do("record fit 0")
    assert "is not the model of" in answer.error
    answer = Worker(Post(str(run.directory), run.config.model)).do("score score-nothing 0")
    assert "job.json cannot be read" in answer.error
    answer = Worker(Post(str(run.directory))).do("dance 0")
    assert "no job is called 'dance'" in answer.broke

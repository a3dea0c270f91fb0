"""The report of a study that is not done, was changed or is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
pytest.importorskip("markdown_it", reason="needs the extra 'report'")

from tests.study.report.reading import section, tables_in, text_of

from headscript.errors import HeadscriptError
from headscript.study import open_study
from headscript.study.folder import StudyFolder
from headscript.study.report import published, write_report
from headscript.study.report.gathering import gather
from headscript.study.report.tables import tables_of
from headscript.study.report.writing import report_text
from headscript.study.spec import Opened
from headscript.study.steps import steps_of


def test_a_study_of_which_nothing_is_done_has_a_report(
    tiny_study_file: Path, tmp_path: Path
) -> None:
    opened = open_study(tiny_study_file)
    with StudyFolder.create_or_resume(tmp_path / "out", opened) as folder:
        write_report(folder)
        report = (tmp_path / "out" / "report.md").read_text()
    assert f"0 of {len(steps_of(opened.study))} steps are done." in report
    assert "Not done yet: explaining decoder on tales;" in section(report, 2)
    for number in (3, 4, 5, 6):
        assert "Not done yet: " in section(report, number)
    assert (tmp_path / "out" / "results" / "steps.csv").is_file()
    assert not (tmp_path / "out" / "results" / "heads.csv").exists()
    assert not (tmp_path / "out" / "figures").exists()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("explain", 2),
        ("protocol", 3),
        ("transfer", 4),
        ("domains", 5),
        ("replace", 6),
        ("tune", 6),
        ("ask", 7),
        ("atlas", 1),
    ],
)
def test_sections_say_what_is_missing(copied: StudyFolder, kind: str, number: int) -> None:
    steps = steps_of(copied.study)
    if kind == "ask" and not copied.study.ask.texts:
        pytest.skip("needs lm-evaluation-harness, of the extra 'eval'")
    first = next(step for step in steps if step.kind == kind)
    gone = [step for step in steps if step == first]
    if kind == "explain":  # nothing of a run without programs can be there
        gone = [
            step
            for step in steps
            if (step.model, step.texts) == ("decoder", "tales")
            or "decoder" in step.source
            or "tales" in step.source
        ]
    for step in gone:
        (copied.directory / "steps" / f"{step.name.replace(' ', '-')}.json").unlink()
    report = text_of(copied)
    assert f"{len(steps) - len(gone)} of {len(steps)} steps are done." in report
    assert f"Not done yet: {first}" in section(report, number)
    assert str(first) in section(report, 1)


def test_a_plan_stands_beside_what_steps_took(copied: StudyFolder) -> None:
    steps = [
        {"name": step.name, "says": str(step), "seconds": 90.0} for step in steps_of(copied.study)
    ]
    copied.write("plan.json", json.dumps({"steps": steps}).encode())
    report = text_of(copied)
    kinds = tables_in(section(report, 9))[0]
    assert next(row for row in kinds if row["steps"] == "programs")["planned"] == "6 min 00 s"
    assert "No plan was kept" not in report
    (copied.directory / "plan.json").unlink()
    report = text_of(copied)
    assert "No plan was kept" in report
    assert "planned" not in tables_in(section(report, 9))[0][0]
    copied.write("plan.json", b'{"steps": [1]}')
    with pytest.raises(HeadscriptError, match=r"plan in .* is damaged"):
        gather(copied)


def test_what_was_left_out_is_said(tiny_study_file: Path, tmp_path: Path) -> None:
    opened = open_study(tiny_study_file)
    left_out = {"a third_model": "there is no folder <third>"}
    with StudyFolder.create_or_resume(tmp_path, Opened(opened.study, left_out)) as folder:
        report = text_of(folder)
    assert r"- Left out: a third\_model: there is no folder \<third\>." in section(report, 1)


def test_the_papers_figures_stand_beside_its_models(copied: StudyFolder) -> None:
    found = gather(copied)
    gpt2 = published.MODELS[0]
    runs = {
        key: replace(run, published=gpt2 if run.model == "decoder" else None)
        for key, run in found.runs.items()
    }
    found = replace(found, runs=runs)
    report = report_text(found, tables_of(found), [])
    scores = tables_in(section(report, 2))[0]
    assert [row["the paper's mean"] for row in scores] == ["0.69", "0.69", "", ""]
    increases = tables_in(section(report, 6))[0]
    assert [row["the paper"] for row in increases] == ["", "+3.7 %", "+5 %"]


def test_what_a_language_model_cost_is_said(copied: StudyFolder) -> None:
    file = copied.run_folder("decoder", "tales") / "results.json"
    results = json.loads(file.read_bytes())
    asked = {"requests": 7, "input_tokens": 1234, "output_tokens": 200, "cost": 1.254}
    results["summary"]["proposers"]["llm"] = {"heads": 0.5, **asked}
    file.write_text(json.dumps(results))
    text = section(text_of(copied), 9)
    row = tables_in(text)[1][0]
    assert (row["requests"], row["tokens in"], row["price"]) == ("7", "1,234", "$1.25")
    assert "The language model cost $1.25 in all." in text


def test_the_same_study_gives_the_same_bytes(copied: StudyFolder) -> None:
    def content() -> dict[str, bytes]:
        places = [copied.directory / "results", copied.directory / "figures"]
        files = [file for place in places for file in place.glob("*.*")]
        files += [copied.directory / "report.md", copied.directory / "report.html"]
        return {str(file.relative_to(copied.directory)): file.read_bytes() for file in files}

    before = content()
    for path in before:
        (copied.directory / path).unlink()
    write_report(copied)
    assert content() == before


def test_programs_are_looked_at_once(copied: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscript.report.atlas import account

    looked = []
    whole = account.account_of

    def spied(run: Any, *given: Any, **named: Any) -> Any:
        looked.append(run.directory.name)
        return whole(run, *given, **named)

    monkeypatch.setattr(account, "account_of", spied)
    gather(copied)
    assert looked == []
    program = next((copied.run_folder("decoder", "sums") / "programs").glob("*.py"))
    program.write_text(program.read_text() + "\n")
    gather(copied)
    assert looked == ["sums"]
    gather(copied)
    assert looked == ["sums"]


def test_a_damaged_step_is_named(copied: StudyFolder) -> None:
    copied.write("steps/protocol-decoder-tales.json", b'{"step": ')
    before = (copied.directory / "report.md").read_bytes()
    with pytest.raises(HeadscriptError, match=r"protocol-decoder-tales\.json cannot be read"):
        write_report(copied)
    assert (copied.directory / "report.md").read_bytes() == before

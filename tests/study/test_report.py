"""The report of a study: its numbers are those of the runs' files, whatever of it is done."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
pytest.importorskip("markdown_it", reason="needs the extra 'report'")

import polars
from markdown_it import MarkdownIt

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.study import open_study
from headscript.study.folder import StudyFolder
from headscript.study.report import published, write_report
from headscript.study.report.gathering import gather
from headscript.study.report.markdown import Table, code, escaped, table
from headscript.study.report.tables import TABLES, tables_of
from headscript.study.report.vocabulary import overall, pooled
from headscript.study.report.writing import report_text
from headscript.study.spec import Opened
from headscript.study.steps import steps_of

MODELS, TEXTS = ("decoder", "encoder"), ("tales", "sums")
RUNS = [(model, texts) for model in MODELS for texts in TEXTS]


@pytest.fixture(scope="module")
def report(tiny_study: Path) -> str:
    """The report of the finished study, as Markdown."""
    return (tiny_study / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def copied(tiny_study: Path, tiny_study_file: Path, tmp_path: Path) -> Iterator[StudyFolder]:
    """A copy of the finished study, open."""
    shutil.copytree(tiny_study, tmp_path / "out")
    with StudyFolder.create_or_resume(tmp_path / "out", open_study(tiny_study_file)) as folder:
        yield folder


def text_of(folder: StudyFolder) -> str:
    """The report of what there is, without its figures."""
    found = gather(folder)
    return report_text(found, tables_of(found), [])


def section(report: str, number: int) -> str:
    """The text of a section."""
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", report, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def tables_in(text: str) -> list[list[dict[str, str]]]:
    """The tables of a Markdown text, each as rows from column to cell, the last of a name."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        lines = [
            [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        found.append([dict(zip(lines[0], row, strict=True)) for row in lines[2:]])
    return found


def json_of(folder: Path, path: str) -> Any:
    """A JSON file of the study."""
    return json.loads((folder / path).read_bytes())


def results_of(folder: Path, model: str, texts: str) -> Any:
    """What 'headscript explain' left."""
    return json_of(folder, f"runs/{model}/{texts}/results.json")


def step_of(folder: Path, name: str) -> Any:
    """What a step left."""
    return json_of(folder, f"steps/{name}.json")["found"]


def with_ends(mean: float, ends: list[float]) -> str:
    """An IoU as 'headscript show' rounds it."""
    return f"{mean:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def per_cent(value: float) -> str:
    """An increase as 'headscript replace' rounds it, where it is below 100 %."""
    return f"{100 * value:+,.1f} %" if abs(value) < 0.9995 else f"{100 * value:+,.0f} %"


# Numbers -----------------------------------------------------------------------------------------


def test_scores_and_baselines_are_those_of_the_runs(tiny_study: Path, report: str) -> None:
    scores, baselines = tables_in(section(report, 2))[:2]
    assert [(row["model"], row["texts"]) for row in scores] == RUNS
    for row, beside in zip(scores, baselines, strict=True):
        summary = results_of(tiny_study, row["model"], row["texts"])["summary"]
        assert row["mean IoU (95 % interval)"] == with_ends(
            summary["iou"]["mean"], summary["iou"]["ci95"]
        )
        assert row["median IoU"] == f"{summary['iou']['median']:.3f}"
        assert row["median terms"] == f"{summary['terms']['median']:g}"
        assert row["coverage"] == f"{100 * summary['coverage']:.4g} %"
        assert row["prefix-consistent"] == f"{100 * summary['prefix_consistent']:.4g} %"
        assert row["test texts"] == str(summary["texts"]["test"])
        for name, value in summary["baselines"].items():
            assert beside[name] == f"{value:.3f}"


def test_splits_say_how_many_texts_and_tokens(tiny_study: Path, report: str) -> None:
    splits = next(rows for rows in tables_in(section(report, 1)) if "fit: texts" in rows[0])
    for row in splits:
        facts = json_of(tiny_study, f"runs/{row['model']}/{row['texts']}/run.json")["texts"]
        assert row["test: texts"] == str(facts["test"]["texts"])
        assert row["tokens"] == str(facts["test"]["tokens"])  # the last column of that name


def test_both_protocols_are_those_of_the_steps(tiny_study: Path, report: str) -> None:
    sides, intended, baselines = tables_in(section(report, 3))
    for row, program, pattern in zip(sides, intended, baselines, strict=True):
        found = step_of(tiny_study, f"protocol-{row['model']}-{row['texts']}")
        summary = results_of(tiny_study, row["model"], row["texts"])["summary"]
        five, unseen = found["five"], found["unseen"]
        assert row["chosen and reported on the sentences"] == with_ends(five["mean"], five["ci95"])
        assert row["the same choice on unseen text"] == with_ends(unseen["mean"], unseen["ci95"])
        assert row["lost"] == f"{unseen['mean'] - five['mean']:+.3f}"
        assert row["gained by it"] == f"{summary['iou']['mean'] - unseen['mean']:+.3f}"
        lost = fmean(head["unseen_iou"] < head["five_iou"] for head in found["heads"])
        assert row["heads that lose"] == f"{100 * lost:.1f} %"
        written = "sentences: written for the head"
        assert program[written] == f"{found['five_intended']['mean']:.3f}"
        assert program["sentences: our choice"] == f"{found['five_ours']['mean']:.3f}"
        assert program["unseen: written for the head"] == f"{summary['intended_iou']:.3f}"
        assert pattern["sentences: uniform"] == f"{found['baselines']['uniform']:.3f}"
        assert pattern["unseen: uniform"] == f"{summary['baselines']['uniform']:.3f}"


def test_programs_across_models_and_texts_are_those_of_the_steps(
    tiny_study: Path, report: str
) -> None:
    (models,) = tables_in(section(report, 4))
    assert len(models) == 4
    for row in models:
        source, target, texts = row["programs of"], row["heads of"], row["texts"]
        found = step_of(tiny_study, f"transfer-{target}-{texts}-{source}")
        assert row["mean IoU (95 % interval)"] == with_ends(
            found["best"]["mean"], found["best"]["ci95"]
        )
        own = results_of(tiny_study, target, texts)["summary"]["iou"]
        assert row["its own programs"] == with_ends(own["mean"], own["ci95"])
        assert row["unsuited"] == str(found["unsuited"])
    domains = tables_in(section(report, 5))[0]
    assert len(domains) == 4
    for row in domains:
        found = step_of(tiny_study, f"domains-{row['model']}-{row['on']}-{row['from']}")
        assert row["own program as it is"] == with_ends(found["own"]["mean"], found["own"]["ci95"])
        assert row["chosen anew"] == with_ends(found["best"]["mean"], found["best"]["ci95"])
        there = {
            str(Head(head["layer"], head["head"])): head["iou"]
            for head in results_of(tiny_study, row["model"], row["on"])["heads"]
        }
        hold = fmean(head["own_iou"] >= there[head["head"]] - 0.05 for head in found["heads"])
        assert row["heads that hold"] == f"{100 * hold:.1f} %"


@pytest.mark.parametrize("version", ["found", "tuned"])
def test_perplexities_are_those_of_replace(tiny_study: Path, report: str, version: str) -> None:
    text = section(report, 6)
    curve = json_of(tiny_study, f"runs/decoder/tales/replacement/{version}/test.json")
    rows = {row["replaced"]: row for row in tables_in(text)[0]}
    orders = {"cost": "by cost", "iou": "by IoU"}
    own = [point for point in curve["curve"] if point["programs"] == version]
    assert len(own) == 6
    for point in own:
        low, high = point["ci95"]
        cell = rows[f"{100 * point['fraction']:.4g} %"][f"{version}, {orders[point['order']]}"]
        increase = per_cent(point["perplexity_increase"])
        assert cell == f"{increase} ({per_cent(low)} to {per_cent(high)})"
    low, high = curve["base_ci95"]
    assert f"{curve['base_perplexity']:.2f} ({low:.2f} to {high:.2f})" in text
    ranks = next(rows for rows in tables_in(text) if "programs" in rows[0])
    (row,) = [row for row in ranks if row["programs"] == version]
    low, high = curve["spearman_ci95"]
    cell = row["Spearman of IoU and cost (95 % interval)"]
    assert cell == f"{curve['spearman']:+.2f} ({low:+.2f} to {high:+.2f})"


def test_baselines_in_the_place_of_heads_are_those_of_replace(
    tiny_study: Path, report: str
) -> None:
    curve = json_of(tiny_study, "runs/decoder/tales/replacement/found/test.json")["curve"]
    others = next(rows for rows in tables_in(section(report, 6)) if "uniform" in rows[0])
    points = {point["programs"]: point for point in curve if point["programs"] != "found"}
    assert points.keys() == others[0].keys() - {"replaced"}
    for name, point in points.items():
        assert others[0][name].startswith(per_cent(point["perplexity_increase"]) + " (")


def test_answers_are_those_of_evaluate(tiny_study: Path, report: str) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    (rows,) = tables_in(section(report, 7))
    by_task = {row["task"]: row for row in rows}
    answers = json_of(tiny_study, "runs/decoder/tales/qa/tuned.json")["answers"]
    assert {row["task"] for row in answers} == {"piqa", "sciq"}
    for row in answers:
        cell = by_task[row["task"]][f"{100 * row['fraction']:.4g} %"]
        assert cell == f"{100 * row['accuracy']:.1f} ± {100 * row['stderr']:.1f}"
    mean = fmean(row["accuracy"] for row in answers if row["fraction"] == 0.25)
    assert by_task["mean"]["25 %"].startswith(f"{100 * mean:.1f} ±")
    before = fmean(row["accuracy"] for row in answers if row["fraction"] == 0)
    assert by_task["change of the mean"]["25 %"].startswith(f"{100 * (mean - before):+.1f}")


def test_what_is_not_explained_is_that_of_the_atlas(tiny_study: Path, report: str) -> None:
    from headscript.report.atlas.account import account_of
    from headscript.report.atlas.unexplained import unexplained
    from headscript.runs import Run

    mass, regions, *_ = tables_in(section(report, 8))
    account = account_of(Run.open(tiny_study / "runs/decoder/tales"), "found")
    found = unexplained(account)
    assert found is not None
    low, high = found["ci95"]
    said = f"{100 * found['mass']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    assert mass[0]["mass not matched (95 % interval)"] == said
    missed = regions[2]
    assert missed["the head, the program, what is missed"] == "missed"
    for region, shares in found["by_region"].items():
        assert missed[region] == f"{100 * shares['missed']:.1f} %"


def test_tuning_is_what_tune_wrote_down(tiny_study: Path, report: str) -> None:
    record = json_of(tiny_study, "runs/decoder/tales/versions/tuned/version.json")
    rows = next(rows for rows in tables_in(section(report, 6)) if "KL before" in rows[0])
    assert [row["replaced"] for row in rows] == ["25 %"]
    assert rows[0]["KL before"] == f"{record['before']['kl']['0.25']:.4f}"
    assert rows[0]["IoU before"] == f"{record['before']['iou']:.3f}"
    assert rows[0]["perplexity before"] == per_cent(record["before"]["perplexity_increase"]["0.25"])


def test_times_are_those_of_the_steps(tiny_study: Path, report: str) -> None:
    kinds = tables_in(section(report, 9))[0]
    seconds = [json_of(file, "")["seconds"] for file in (tiny_study / "steps").glob("explain-*")]
    programs = next(row for row in kinds if row["steps"] == "programs")
    total = sum(seconds)
    assert programs["time"] == (f"{total:.1f} s" if total < 10 else f"{total:.0f} s")
    assert (programs["done"], programs["of"]) == ("4", "4")


def test_tables_hold_the_numbers_in_full(tiny_study: Path) -> None:
    heads = polars.read_parquet(tiny_study / "results" / "heads.parquet").to_dicts()
    with (tiny_study / "results" / "summary.csv").open() as file:
        summaries = list(csv.DictReader(file))
    for model, texts in RUNS:
        found = results_of(tiny_study, model, texts)
        rows = [row for row in heads if (row["model"], row["texts"]) == (model, texts)]
        assert [row["iou"] for row in rows] == [head["iou"] for head in found["heads"]]
        assert [row["ci95_low"] for row in rows] == [head["ci95"][0] for head in found["heads"]]
        given = step_of(tiny_study, f"protocol-{model}-{texts}")["heads"]
        assert [row["unseen_iou"] for row in rows] == [head["unseen_iou"] for head in given]
        (row,) = [row for row in summaries if (row["model"], row["texts"]) == (model, texts)]
        assert float(row["iou"]) == found["summary"]["iou"]["mean"]
    costs = json_of(tiny_study, "runs/decoder/tales/costs/found.json")
    own = [row for row in heads if (row["model"], row["texts"]) == ("decoder", "tales")]
    assert {row["name"]: row["cost_found"] for row in own} == costs
    for name in TABLES:
        if name != "questions":
            assert (tiny_study / "results" / f"{name}.csv").is_file()
            assert (tiny_study / "results" / f"{name}.parquet").is_file()


def test_figures_show_the_rows_of_the_tables(tiny_study: Path) -> None:
    for name in ("protocols", "replacement", "domains", "transfer"):
        for ending in ("png", "pdf", "svg", "csv"):
            assert (tiny_study / "figures" / f"study-{name}.{ending}").stat().st_size > 100
    with (tiny_study / "figures" / "study-replacement.csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["programs"] != "paper"]
    curve = json_of(tiny_study, "runs/decoder/tales/replacement/found/test.json")["curve"]
    best = [point for point in curve if point["order"] == curve[0]["order"]]
    expected = [p["perplexity_increase"] for p in best if p["programs"] == "found"]
    found = [row for row in ours if row["programs"] == "found"]
    assert [float(row["perplexity_increase"]) for row in found] == expected
    assert {row["model"] for row in rows if row["programs"] == "paper"} == {
        model.name for model in published.MODELS if model.perplexity_increase
    }


# Files -------------------------------------------------------------------------------------------


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


VOID = ("meta", "img", "br", "hr")


class Seen(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self._in: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if "td" in self._in or "th" in self._in:
            self.cells[-1] += data
        if "h1" in self._in:
            self.title += data


@pytest.fixture(scope="module")
def seen(tiny_study: Path) -> Seen:
    """The page of the finished study."""
    parser = Seen()
    parser.feed((tiny_study / "report.html").read_text(encoding="utf-8"))
    return parser


def test_the_page_says_what_the_markdown_says(seen: Seen, report: str) -> None:
    assert seen.title == "A *tiny* study"
    expected = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", report, re.MULTILINE):
        for number, line in enumerate(block.splitlines()):
            if number != 1:
                expected += [
                    cell.strip().replace("\\", "")
                    for cell in re.split(r"(?<!\\)\|", line)[1:-1]
                    if "](" not in cell and "`" not in cell
                ]
    shown = iter(seen.cells)
    assert all(cell in shown for cell in expected)  # in their order
    assert len(expected) > 200


def test_the_page_loads_nothing_and_runs_nothing(seen: Seen, tiny_study: Path) -> None:
    tags = [tag for tag, _ in seen.tags]
    assert not {"script", "iframe", "object", "embed", "link", "form"}.intersection(tags)
    assert all(
        not name.startswith("on") and name != "style" for _, given in seen.tags for name in given
    )
    images = [given["src"] for tag, given in seen.tags if tag == "img"]
    assert len(images) == 4
    assert all(image is not None and image.startswith("data:image/svg+xml") for image in images)
    policy = next(
        given["content"]
        for tag, given in seen.tags
        if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    places = [given["href"] for tag, given in seen.tags if tag == "a"]
    outside = [place for place in places if place is not None and not place.startswith("#")]
    assert any(place.startswith("atlases/") for place in outside)
    assert all((tiny_study / place).exists() for place in outside)


# States ------------------------------------------------------------------------------------------


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


def test_a_damaged_step_is_named(copied: StudyFolder) -> None:
    copied.write("steps/protocol-decoder-tales.json", b'{"step": ')
    before = (copied.directory / "report.md").read_bytes()
    with pytest.raises(HeadscriptError, match=r"protocol-decoder-tales\.json cannot be read"):
        write_report(copied)
    assert (copied.directory / "report.md").read_bytes() == before


# The paper, words, Markdown ----------------------------------------------------------------------


def test_the_papers_models_are_known_by_name_and_by_number_of_heads() -> None:
    for source, heads, name in (
        ("openai-community/gpt2", 144, "GPT-2 small"),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 704, "TinyLlama-1.1B"),
        ("meta-llama/Llama-3.2-3B", 672, "Llama-3.2-3B"),
        ("models/bert-base-uncased/", 144, "BERT-base"),
    ):
        found = published.published_of(source, heads)
        assert found is not None
        assert found.name == name
        assert published.published_of(source, heads - 1) is None
    assert published.published_of("smollm2-135m", 144) is None


def test_the_papers_study_has_figures_for_each_of_its_models() -> None:
    for model in open_study("paper").study.models:
        found = published.published_of(model.source, model.layers * model.heads_per_layer)
        assert found is not None


def test_words_carry_over_beyond_chance() -> None:
    def row(word: str, uses: int, both: int, chance: float) -> dict[str, Any]:
        return {"word": word, "heads_from": uses, "both": both, "chance": chance}

    rows = [row("first", 8, 8, 0.5), row("first", 2, 1, 1.0), row("comma", 10, 2, 0.3)]
    rows.append(row("rare", 9, 9, 0.1))
    judged = pooled(rows)
    assert [(each["word"], each["heads_from"]) for each in judged] == [("first", 10), ("comma", 10)]
    assert judged[0]["carried"] == 0.9
    assert judged[0]["chance"] == pytest.approx(0.6)
    assert judged[1]["beyond_chance"] == pytest.approx(-0.1)
    together = overall(rows)
    assert together is not None
    assert together["uses"] == 29
    assert together["carried"] == pytest.approx(20 / 29)
    assert overall([]) is None


def test_words_of_programs_are_counted_by_head(copied: StudyFolder) -> None:
    found = gather(copied)
    first, second = (found.runs["decoder", texts].looked.words for texts in TEXTS)
    rows = [
        row
        for row in tables_of(found)["vocabulary"]
        if (row["model"], row["from"], row["to"]) == ("decoder", *TEXTS)
    ]
    heads = set(first) & set(second)
    assert {row["word"] for row in rows} == {word for head in heads for word in first[head]}
    for row in rows:
        uses = [head for head in heads if row["word"] in first[head]]
        assert row["heads_from"] == len(uses)
        assert row["both"] == sum(row["word"] in second[head] for head in uses)
        assert row["chance"] == sum(row["word"] in second[h] for h in heads) / len(heads)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20))
def test_words_read_as_they_are(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    for markdown, tag in (
        (table(Table(("what", "is"), [("x", text)], names=2)), "td"),
        (f"- {escaped(text)}", "li"),
    ):
        parser = Seen()
        parser.feed(reader.render(markdown).replace("li>", "td>"))
        assert parser.cells[-1].strip() == text, tag


@settings(deadline=None)
@given(st.text(alphabet="ab`|\\ -", min_size=1, max_size=12))
def test_code_in_a_table_reads_as_it_is(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    line = " ".join(text.split())
    if not line:
        return
    parser = Seen()
    parser.feed(reader.render(table(Table(("what", "is"), [("x", code(line))], names=2))))
    assert parser.cells[-1] == line

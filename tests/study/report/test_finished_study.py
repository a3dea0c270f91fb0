"""A finished study: its report and page have the numbers of the runs' files."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import fmean

import pytest

pytest.importorskip("matplotlib", reason="needs the extra 'figures'")
pytest.importorskip("markdown_it", reason="needs the extra 'report'")

import polars
from tests.study.report.reading import (
    RUNS,
    TEXTS,
    Seen,
    json_of,
    per_cent,
    results_of,
    section,
    step_of,
    tables_in,
    with_ends,
)

from headscript.heads import Head
from headscript.study.folder import StudyFolder
from headscript.study.report import published
from headscript.study.report.gathering import gather
from headscript.study.report.tables import TABLES, tables_of

# Numbers ------------------------------------------------------------------------------------------


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
    assert [(row["model"], row["texts"]) for row in splits] == RUNS
    for row in splits:
        facts = json_of(tiny_study, f"runs/{row['model']}/{row['texts']}/run.json")["texts"]
        assert row["test: texts"] == str(facts["test"]["texts"])
        assert row["tokens"] == str(facts["test"]["tokens"])  # the last column of that name


def test_both_protocols_are_those_of_the_steps(tiny_study: Path, report: str) -> None:
    sides, parts, intended, baselines = tables_in(section(report, 3))
    assert [(row["model"], row["texts"]) for row in sides] == RUNS
    for row, part, program, pattern in zip(sides, parts, intended, baselines, strict=True):
        found = step_of(tiny_study, f"protocol-{row['model']}-{row['texts']}")
        summary = results_of(tiny_study, row["model"], row["texts"])["summary"]
        five, unseen = found["five"], found["unseen"]
        assert row["chosen and reported on the sentences"] == with_ends(five["mean"], five["ci95"])
        assert row["the same choice on unseen text"] == with_ends(unseen["mean"], unseen["ci95"])
        assert row["lost"] == f"{unseen['mean'] - five['mean']:+.3f}"
        assert row["gained by it"] == f"{summary['iou']['mean'] - unseen['mean']:+.3f}"
        lost = fmean(head["unseen_iou"] < head["five_iou"] for head in found["heads"])
        assert row["heads that lose"] == f"{100 * lost:.1f} %"
        reasons = (
            "the sentences are easier",
            "reported where it was chosen",
            "the choice is worse",
        )
        assert part["lost"] == row["lost"]
        assert float(row["lost"]) == pytest.approx(sum(float(part[r]) for r in reasons), abs=2e-3)
        easier = summary["iou"]["mean"] - found["five_ours"]["mean"]
        assert part["the sentences are easier"] == f"{easier:+.3f}"
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


def test_words_of_programs_are_counted_by_head(copied: StudyFolder) -> None:
    found = gather(copied)
    first, second = (found.runs["decoder", texts].looked.words for texts in TEXTS)
    rows = [
        row
        for row in tables_of(found)["vocabulary"]
        if (row["model"], row["from"], row["to"]) == ("decoder", *TEXTS)
    ]
    heads = set(first) & set(second)
    assert rows
    assert {row["word"] for row in rows} == {word for head in heads for word in first[head]}
    for row in rows:
        uses = [head for head in heads if row["word"] in first[head]]
        assert row["heads_from"] == len(uses)
        assert row["both"] == sum(row["word"] in second[head] for head in uses)
        assert row["chance"] == sum(row["word"] in second[h] for h in heads) / len(heads)


# Files --------------------------------------------------------------------------------------------


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

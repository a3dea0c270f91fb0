"""The payload of the atlas: what it says of a run is what the run says."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report.planted_run import PROGRAMS, detail_of, make_run, written

from headscript.costs import costs_file, measured_file
from headscript.errors import HeadscriptError
from headscript.evaluation import score_run
from headscript.evaluation.accuracy import Answers, Kept
from headscript.evaluation.replacing import replacement_curve
from headscript.heads import Head
from headscript.language.gate import GateError
from headscript.report.atlas.evidence import answers_of
from headscript.report.atlas.gathering import brief, gather
from headscript.report.replacement import write_replacement
from headscript.runs import Run
from headscript.texts import Document
from headscript.tuning.tune import tune
from headscript.tuning.versions import TuneSettings

COVERED = [str(head) for head in PROGRAMS]
UNCOVERED = ["L01H02", "L01H03"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with all that one can have but answers; for reading only."""
    run = make_run(tmp_path_factory.mktemp("whole"))
    tune(run.directory, settings=TuneSettings(steps=12, step_tokens=60, dtype="float32"))
    with Run.open_for_writing(run.directory) as opened:
        curve = replacement_curve(opened, fractions=(0, 0.25), baseline_fractions=())
        write_replacement(opened, curve, figures=False)
    return Run.open(run.directory)


@pytest.fixture
def own(whole: Run, tmp_path: Path) -> Iterator[Run]:
    """A copy that a test may change, open for writing."""
    with Run.open_for_writing(shutil.copytree(whole.directory, tmp_path / "run")) as opened:
        yield opened


def rows_of(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in payload["heads"]}


def test_the_payload_is_json_and_says_what_the_run_says(whole: Run) -> None:
    payload = gather(whole, version="found").payload
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert payload["format"] == 1
    assert payload["note"] == ""
    assert payload["title"] == "model, programs 'found'"
    assert payload["made"]["model"] == {
        "name": "model",
        "architecture": "LlamaForCausalLM",
        "weights_hash": whole.model.weights_hash,
        "causal": True,
        "layers": 3,
        "heads_per_layer": [4, 4, 4],
    }
    # A page is passed on; where things lay on its maker's disk is nobody's business.
    assert str(whole.directory.parent) not in json.dumps(payload)
    assert payload["made"]["config"]["texts"] == "texts.txt"
    assert payload["texts"]["test"] == 3
    assert payload["texts"]["tokens"] == {"fit": 12, "select": 12, "test": 35}
    assert payload["sample"] == {"texts": 3, "of": 3, "tokens": 35}
    results = whole.results()
    assert payload["summary"]["iou"]["mean"] == pytest.approx(results.summary.iou.mean, rel=1e-4)
    assert [row["id"] for row in payload["heads"]] == ["L00H01", "L01H00", "L01H01", *UNCOVERED]
    for row, result in zip(payload["heads"], results.heads, strict=True):
        assert row["iou"] == pytest.approx(result.iou, rel=1e-4, abs=1e-9)
        if row["id"] in COVERED:
            # The sample is all test texts here, so it must give the same.
            assert row["sample_iou"] == pytest.approx(result.iou, abs=1e-4)
            assert row["ci95"] == pytest.approx(result.ci95, rel=1e-4)
            assert row["split"] == "test"
            assert row["baselines"]["uniform"] > 0
            assert row["kind"] == "log-linear"


def test_details_hold_the_program_and_its_terms(whole: Run) -> None:
    payload = gather(whole, version="found").payload
    for head, program in whole.programs("found").items():
        detail = detail_of(payload, str(head))
        row = rows_of(payload)[str(head)]
        assert "".join(text for _, text in detail["source"]) == program.source
        assert detail["explanation"] == program.explanation
        assert row["headline"] == " ".join(program.explanation.split("\n\n")[0].split())
        assert row["words"] == sorted(program.entries)
        assert row["terms"] == program.terms == len(detail["weights"])
        assert detail["frontier"] == [[0, 0.25], [2, 0.5]]
        assert [place["which"] for place in detail["texts"]] == ["best", "median", "worst"]
    assert set(payload["vocabulary"]) == {w for row in payload["heads"] for w in row["words"]}
    assert payload["details"][2] == ""


def test_an_uncovered_head_is_shown_as_such(whole: Run) -> None:
    payload = gather(whole).payload
    for name in UNCOVERED:
        row, detail = rows_of(payload)[name], detail_of(payload, name)
        assert row["status"] == "no program was proposed"
        assert row["iou"] == 0
        assert row["missed"] is row["sample_iou"] is row["ci95"] is row["kind"] is None
        assert detail["source"] == detail["weights"] == []
        assert [place["which"] for place in detail["texts"]] == ["some"]


def test_the_mass_that_is_not_explained(whole: Run) -> None:
    payload = gather(whole, version="found").payload
    found, rows = payload["summary"]["unexplained"], rows_of(payload)
    missed = {name: rows[name]["missed"] for name in COVERED}
    assert found["uncovered"] == UNCOVERED
    assert found["not_run"] == []
    assert found["worst"] == sorted(COVERED, key=lambda name: -missed[name])
    assert found["mass"] == pytest.approx((sum(missed.values()) + 2) / 5, abs=1e-4)
    low, high = found["ci95"]
    assert low < found["mass"] < high
    regions = found["by_region"].values()
    for which, total in (("real", 1), ("missed", sum(missed.values()) / 3)):
        assert sum(region[which] for region in regions) == pytest.approx(total, abs=1e-3)


def test_a_tuned_version_is_scored_on_the_sample_as_score_does(whole: Run) -> None:
    payload = gather(whole).payload
    assert payload["version"] == "tuned"
    documents = [Document(id=text.id, text=text.text) for text in whole.texts("test")]
    scored = score_run(whole, documents)
    for score in scored.by_head:
        row = rows_of(payload)[score.head]
        assert row["iou"] == pytest.approx(score.iou, abs=1e-3)
        assert row["ci95"] == pytest.approx(score.ci95, abs=2e-3)
        (alternative, *_) = detail_of(payload, score.head)["alternatives"]
        assert alternative["what"] == "version 'found'"
        assert alternative["iou"] != row["iou"]
    record = whole.read_json("versions/tuned/version.json")
    found, tuned = payload["versions"]
    assert (found["name"], found["split"], found["sample_iou"]) == ("found", "test", None)
    assert found["ci95"] == pytest.approx(whole.results().summary.iou.ci95, rel=1e-4)
    assert (tuned["name"], tuned["split"], tuned["ci95"]) == ("tuned", "select", None)
    assert tuned["mean_iou"] == pytest.approx(record["after"]["iou"], rel=1e-4)
    assert tuned["sample_iou"] == pytest.approx(scored.iou.mean, abs=1e-3)
    assert tuned["sample_ci95"] == pytest.approx(scored.iou.ci95, abs=2e-3)
    assert tuned["tuning"]["settings"]["steps"] == 12
    assert tuned["terms"] == found["terms"] == 2


def test_what_was_measured_is_in_it(whole: Run, own: Run) -> None:
    payload = gather(own).payload
    (curve,) = payload["replacement"]
    written_file = own.read_json("replacement/tuned/test.json")
    assert curve["texts"] == "test"
    assert curve["num_texts"] == 3
    assert curve["base_perplexity"] == pytest.approx(written_file["base_perplexity"], rel=1e-4)
    assert len(curve["curve"]) == len(written_file["curve"])
    assert "by_head" not in curve
    costs = own.read_json(costs_file("tuned"))
    for name in COVERED:
        assert rows_of(payload)[name]["cost"] == pytest.approx(costs[name], rel=1e-4)
    assert payload["summary"]["iou_cost"]["heads"] == 3
    # Costs of other programs than these are none of theirs.
    file = own.program_file(Head(1, 0), "tuned")
    file.write_text(written(Head(1, 0), 4.0).source)
    assert rows_of(gather(own).payload)["L01H00"]["cost"] is None
    own.program_file(Head(1, 0), "tuned").write_text(
        whole.program_file(Head(1, 0), "tuned").read_text()
    )
    (own.directory / measured_file("tuned")).unlink()
    assert rows_of(gather(own).payload)["L01H00"]["cost"] == pytest.approx(
        costs["L01H00"], rel=1e-4
    )
    assert rows_of(gather(own, version="found").payload)["L01H00"]["cost"] is None


def answer(
    task: str, fraction: float, right: str, limit: int | None = None, order: str = "cost"
) -> Answers:
    return Answers(
        task=task,
        fraction=fraction,
        heads=round(12 * fraction),
        order=order,
        limit=limit,
        questions=len(right),
        metric="acc",
        accuracy=right.count("1") / len(right),
        stderr=0.1,
        guess=0.5,
        right=right,
        cut=0,
        key=f"{task} {fraction} {right}",
    )


def test_answers_are_those_of_the_most_questions_with_their_means(own: Run) -> None:
    kept = Kept(own, "tuned")
    for row in (
        answer("copa", 0.0, "01", limit=2),
        answer("copa", 0.0, "0111"),
        answer("piqa", 0.0, "0110"),
        answer("copa", 0.25, "0001"),
        answer("copa", 0.25, "0011"),
        answer("piqa", 0.25, "0110"),
        answer("piqa", 0.5, "0000"),
    ):
        kept.add(row)
    kept.write()
    (found,) = gather(own).payload["qa"]
    assert found["version"] == "tuned"
    asked = [(row["task"], row["fraction"], row["accuracy"]) for row in found["answers"]]
    assert asked == [
        ("copa", 0, 0.75),
        ("copa", 0.25, 0.5),
        ("piqa", 0, 0.5),
        ("piqa", 0.25, 0.5),
        ("piqa", 0.5, 0),
    ]
    assert all("right" not in row and "key" not in row for row in found["answers"])
    before, after = found["mean"]
    assert (before["fraction"], before["accuracy"], before["change"]) == (0, 0.625, None)
    assert (after["fraction"], after["accuracy"], after["change"]) == (0.25, 0.5, -0.125)
    assert after["change_stderr"] > 0
    kept.add(answer("copa", 0.25, "1111", order="iou"))
    kept.write()
    other, same = gather(own).payload["qa"]
    assert (other["order"], [row["accuracy"] for row in other["answers"]]) == ("iou", [1])
    assert (same["order"], same["answers"]) == ("cost", found["answers"])
    (own.directory / "qa/tuned.json").write_text('{"answers": [{}]}')
    with pytest.raises(HeadscriptError, match=r"tuned\.json is damaged"):
        answers_of(own)


def test_what_was_proposed_are_alternatives(own: Run) -> None:
    key = own.results().heads[1].program_key
    entries = [
        {
            "head": "L01H00",
            "proposer": proposer,
            "program_key": found,
            "terms": terms,
            "fit_iou": 0.5,
            "select_iou": iou,
        }
        for proposer, found, terms, iou in (
            ("search", "other", 9, 0.4),
            ("llm", key, 3, 0.6),
            ("search+llm", "third", 5, 0.5),
        )
    ]
    own.write_json("candidates/selection.json", entries)
    payload = gather(own, version="found").payload
    assert detail_of(payload, "L01H00")["alternatives"] == [
        {"what": what, "iou": iou, "ci95": None, "terms": terms, "split": "select"}
        for what, iou, terms in (
            ("proposed by llm, chosen", 0.6, 3),
            ("proposed by search+llm", 0.5, 5),
            ("proposed by search", 0.4, 9),
        )
    ]
    assert detail_of(payload, "L01H01")["alternatives"] == []


def test_a_program_that_serves_another_head_says_so(own: Run) -> None:
    results = own.read_json("results.json")
    results["heads"][2] |= {"chosen_from": "L01H00", "intended_iou": 0.25}
    own.write_json("results.json", results)
    payload = gather(own, version="found").payload
    assert rows_of(payload)["L01H00"]["serves"] == ["L01H01"]
    told = {each["what"]: each["iou"] for each in detail_of(payload, "L01H01")["alternatives"]}
    assert told == {"written for this head": 0.25}


def test_an_edited_program_is_scored_anew(own: Run) -> None:
    own.program_file(Head(1, 0)).write_text(written(Head(1, 0), 6.0).source)
    payload = gather(own, version="found").payload
    row, result = rows_of(payload)["L01H00"], own.results().heads[1]
    assert row["edited"]
    assert row["iou"] == row["sample_iou"] != pytest.approx(result.iou, abs=0.01)
    assert not rows_of(payload)["L01H01"]["edited"]


@pytest.mark.parametrize("version", ["found", "tuned"])
def test_without_a_recording_there_are_scores_and_a_note(own: Run, version: str) -> None:
    shutil.rmtree(own.directory / "recording")
    atlas = gather(own, version=version)
    payload = atlas.payload
    assert payload["note"].startswith("There are no patterns: ")
    assert atlas.patterns == ["", "", ""]
    assert payload["tokens"] == payload["shown_texts"] == []
    assert payload["sample"] is payload["summary"]["unexplained"] is None
    row, result = rows_of(payload)["L01H00"], own.results().heads[1]
    assert detail_of(payload, "L01H00")["source"]
    assert detail_of(payload, "L01H00")["texts"] == []
    if version == "found":
        assert row["iou"] == pytest.approx(result.iou, rel=1e-4)
        assert row["split"] == "test"
    else:  # nobody has measured it
        assert row["iou"] is row["ci95"] is row["split"] is None


def test_two_versions_of_one_run(whole: Run) -> None:
    payload = gather(whole, version="found", compare=whole, compare_version="tuned").payload
    other = payload["compare"]
    assert other["version"] == "tuned"
    assert other["same_model"]
    assert other["same_texts"]
    first, second = rows_of(payload), other["heads"]
    changes = {name: second[name]["sample_iou"] - first[name]["sample_iou"] for name in COVERED}
    assert set(other["change"]["heads"]) == set(COVERED)
    for name, (change, low, high) in other["change"]["heads"].items():
        assert change == pytest.approx(changes[name], abs=2e-5)
        assert low <= change <= high
    assert other["change"]["mean"] == pytest.approx(sum(changes.values()) / 3, abs=2e-5)
    detail = detail_of({"heads": other["heads"].values(), "details": other["details"]}, "L01H00")
    assert set(detail) == {"explanation", "source"}
    source = whole.program_file(Head(1, 0), "tuned").read_text()
    assert "".join(text for _, text in detail["source"]) == source
    backwards = gather(whole, version="tuned", compare=whole, compare_version="found").payload
    assert backwards["compare"]["change"]["mean"] == pytest.approx(-other["change"]["mean"])


def test_two_models_are_compared_without_changes(whole: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path, seed=1, family="gpt2")
    payload = gather(whole, compare=other).payload["compare"]
    assert payload["made"]["model"]["architecture"] == "GPT2LMHeadModel"
    assert not payload["same_model"]
    assert not payload["same_texts"]
    assert payload["change"] is None
    assert set(payload["heads"]) == {*COVERED, *UNCOVERED}
    assert payload["summary"]["iou"]["mean"] == pytest.approx(
        other.results().summary.iou.mean, rel=1e-4
    )


def test_what_cannot_be_gathered(own: Run, tmp_path: Path) -> None:
    with pytest.raises(HeadscriptError, match=r"has no programs 'none'; it has found, tuned"):
        gather(own, version="none")
    with pytest.raises(HeadscriptError, match=r"'tuned' of .* would be compared with themselves"):
        gather(own, compare=Run.open(own.directory))
    own.program_file(Head(1, 0)).write_text("import os\n")
    gather(own, version="tuned")
    with pytest.raises(GateError, match=r"L01H00\.py.*line 1"):
        gather(own, version="found")


def test_numbers_are_short_and_finite() -> None:
    value = {"a": [1.23456789, math.nan, math.inf, (2, 1e-9 / 3)], "b": {"c": True, "d": "x"}}
    assert brief(value) == {"a": [1.2346, None, None, [2, 3.3333e-10]], "b": {"c": True, "d": "x"}}

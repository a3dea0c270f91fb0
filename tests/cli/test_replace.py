"""headscript replace, as a person or a program runs it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars
import pytest
from tests.cli.commands import Command
from tests.small_run import save_model, save_texts

from headscript.report.replacement import texts_name

QUICK = ("--orders", "iou", "--fractions", "0.25", "--baseline-fractions", "none", "--no-figures")
POINT = {
    *("fraction", "heads", "perplexity_increase", "ci95", "kl", "top1_agreement", "coverage"),
    *("order", "programs"),
}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for the lock."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith("lock")
    }


def test_replace_measures_all_and_prints_what_its_files_say(run: Path, headscript: Command) -> None:
    answer = headscript("replace", run, "--fractions", "0,0.25,1", "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert found["run"] == str(run)
    assert found["source"] is None
    assert found["base_perplexity"] > 1
    assert {"spearman", "texts", "tokens", "prefix_consistent"} <= found.keys()
    curve = found["curve"]
    assert all(point.keys() >= POINT for point in curve)
    assert [(p["fraction"], p["programs"]) for p in curve[:3]] == [
        *((0, "found"), (0.25, "found"), (1, "found"))
    ]
    assert {point["order"] for point in curve} == {"cost", "greedy", "iou"}
    for stage in ("cost of each head: 5 of 5", "greedy order: 3 of 3", "replacing heads: 2 of 2"):
        assert stage in answer.err
    folder = run / "replacement" / "found"
    assert json.loads((folder / "test.json").read_text())["curve"] == curve
    assert polars.read_parquet(folder / "test.parquet").height == len(curve)

    answer = headscript("replace", run, "--fractions", "0,0.25,1")
    assert answer.code == 0, answer.err
    assert "cost of each head" not in answer.err  # the run has them
    assert "5 heads" not in answer.err
    assert f"perplexity of the model as it is {found['base_perplexity']:.2f}" in answer.out
    for point in curve[:3]:
        increase = f"{100 * point['perplexity_increase']:+.1f} %"
        assert any(
            increase in line and f"{point['kl']:.4f}" in line for line in answer.out.splitlines()
        )
    for part in ("the best order", "2 test texts", "random program", "Spearman", "test.parquet"):
        assert part in answer.out
    assert max(len(line) for line in answer.out.splitlines() if str(run) not in line) <= 100


def test_replace_on_other_texts_of_another_version(
    run: Path, tmp_path: Path, headscript: Command
) -> None:
    shutil.copytree(run / "programs", run / "versions" / "tuned")
    (run / "versions" / "tuned" / "version.json").write_text("{}")
    texts = save_texts(tmp_path / "other.txt", number=3, seed=5)
    more = ("--max-texts", 2, "--max-tokens", 7, "--programs", "tuned", "--json")
    answer = headscript("replace", run, "--texts", texts, *QUICK, *more)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["texts"], found["tokens"], found["version"]) == (2, 14, "tuned")
    assert found["source"] == str(texts)
    assert [point["programs"] for point in found["curve"]] == ["tuned"]
    assert sorted(file.name for file in (run / "replacement" / "tuned").iterdir()) == [
        *(f"{texts_name(str(texts))}.{ending}" for ending in ("json", "parquet"))
    ]
    assert not (run / "costs").exists()


def test_what_a_reader_must_know_is_said(run: Path, headscript: Command) -> None:
    program = run / "programs" / "L01H02.py"
    program.write_text(
        'from headscript.language import softmax\n\n\ndef attend(text, c=1.5):\n    """Ahead."""\n'
        "    return softmax(c * text.last)\n"
    )
    texts = run.parent / "seen.txt"
    rows = [json.loads(line) for line in (run / "texts.jsonl").read_text().splitlines()]
    texts.write_text("\n\n".join(row["text"] for row in rows if row["split"] == "fit"))
    shutil.rmtree(run / "recording")
    options = ("--allow-inconsistent", "--orders", "iou", "--no-figures", "--texts", texts)
    answer = headscript("replace", run, *options)
    assert answer.code == 0, answer.err
    assert "Not all programs are prefix-consistent" in answer.out
    assert "mean by position is left out" in answer.out
    assert "on 6 of these texts" in answer.out


def test_mistakes_are_one_sentence_and_leave_the_run_as_it_was(
    run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    before = contents(run)
    (tmp_path / "long.txt").write_text(" ".join(["w7"] * 100))
    other = save_model(tmp_path / "other", seed=1)
    for arguments, words in (
        (("--fractions", "0,1.5"), "between 0 and 1"),
        (("--fractions", "0,-0.1"), "between 0 and 1"),
        (("--fractions", "a quarter"), "no list of fractions"),
        (("--fractions", ""), "no list of fractions"),
        (("--baseline-fractions", "7"), "between 0 and 1"),
        (("--greedy-until", "1.2"), "between 0 and 1"),
        (("--orders", "cost,luck"), "no order 'luck'"),
        (("--programs", "nobodys"), "no programs 'nobodys'; it has found"),
        (("--model", other), "is not the model of"),
        (("--texts", tmp_path / "long.txt"), "100 tokens is longer than the 64"),
        (("--texts", tmp_path / "none.txt"), "There is no file"),
    ):
        assert words in refused("replace", run, *arguments), arguments
        assert contents(run) == before
    assert "no such folder" in refused("replace", tmp_path / "nowhere")


def test_an_encoder_and_an_unfinished_run_are_refused(
    run: Path, refused: Callable[..., str]
) -> None:
    record = json.loads((run / "run.json").read_text())
    record["model"]["causal"] = False
    (run / "run.json").write_text(json.dumps(record))
    assert "predicts no next token" in refused("replace", run)
    (run / "results.json").unlink()
    assert "not finished" in refused("replace", run)


def test_figures_that_cannot_be_drawn_are_refused_before_anything_is_measured(
    run: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "headscript[figures]" in refused("replace", run, "--figures")
    assert contents(run) == before

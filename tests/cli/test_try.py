"""headscript try: what it prints, writes and refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import Command

from headscript.evaluation.trying import try_program
from headscript.programs import Program

NEAR = '''def attend(text, sink=2.0, near=0.5):
    """Rests on the first token and prefers nearer ones."""
    return softmax(sink * text.first - near * log(text.distance + 1))
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(NEAR)
    return file


def test_it_prints_what_its_json_says(small_run: Path, mine: Path, headscript: Command) -> None:
    answer = headscript("try", small_run, "L1H2", mine, "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert (found["run"], found["file"]) == (str(small_run), str(mine))
    tried = try_program(small_run, "L1H2", mine)
    assert found == {
        "run": str(small_run),
        "file": str(mine),
        **json.loads(json.dumps(tried.as_json())),
    }
    assert found["idea"]["source"] == NEAR
    assert found["fit"] is None
    assert len(found["by_text"]) == found["texts"] == 2

    printed = headscript("try", small_run, "L1H2", mine).out
    assert "Layer 1, head 2  'mine' on 2 select texts, 24 tokens" in printed
    for row in (found["idea"], found["program"], *found["baselines"].values()):
        low, high = row["ci95"]
        assert f"{row['iou']:.3f}  95 % interval {low:.3f} to {high:.3f}" in printed
    difference = found["difference"]
    low, high = difference["ci95"]
    said = f"{difference['mean']:+.3f}  95 % interval {low:+.3f} to {high:+.3f}, paired by text"
    assert said in printed
    assert f"the idea is nearer on {difference['texts_ahead']} of 2 texts" in printed
    assert f"Worst select text  {found['worst']['text']}" in printed
    miss = found["misses"][0]
    assert f"head {miss['model']:.2f}, idea {miss['idea']:.2f}" in printed
    assert "def attend" not in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_on_test_is_the_test_texts(small_run: Path, mine: Path, headscript: Command) -> None:
    found = json.loads(headscript("try", small_run, "L1H2", mine, "--on", "test", "--json").out)
    tested = try_program(small_run, "L1H2", mine, "test")
    assert found["on"] == "test"
    assert [row["text"] for row in found["by_text"]] == list(tested.text_ids)
    assert found["idea"]["iou"] == tested.iou.mean


def test_fitted_constants_are_printed_and_written(
    small_run: Path, mine: Path, tmp_path: Path, headscript: Command
) -> None:
    out = tmp_path / "new" / "fitted.py"
    answer = headscript("try", small_run, "L1H2", mine, "--fit", "--out", out)
    assert answer.code == 0, answer.err
    fitted = Program.load(out)
    assert fitted.constants != Program.load(mine).constants
    for line in fitted.source.strip().splitlines():
        assert line in answer.out
    assert f"written to {out}" in answer.out
    assert mine.read_text() == NEAR
    found = json.loads(headscript("try", small_run, "L1H2", mine, "--fit", "--json").out)
    assert found["idea"]["constants"] == fitted.constants
    assert found["fit"]["iou"] > found["fit"]["iou_before"]
    again = json.loads(headscript("try", small_run, "L1H2", out, "--json").out)
    assert again["idea"]["iou"] == found["idea"]["iou"]


def test_mistakes_are_one_sentence(
    small_run: Path, run: Path, mine: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "fitted.py"
    assert "add --fit" in refused("try", small_run, "L1H2", mine, "--out", out)
    assert "did not record L02H00" in refused("try", small_run, "L2H0", mine, "--fit", "--out", out)
    assert not out.exists()
    assert "There is no program file" in refused("try", small_run, "L1H2", tmp_path / "none.py")
    assert "no such folder" in refused("try", tmp_path / "nowhere", "L1H2", mine)
    (run / "recording" / "select").rename(tmp_path / "elsewhere")
    told = refused("try", run, "L1H2", mine, "--json")
    assert "no recording of its select texts" in told

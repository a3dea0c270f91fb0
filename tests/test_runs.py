"""Runs: begun, locked, killed, resumed, and refused where they are not what is asked for."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest
from pydantic import ValidationError
from tests.models.networks import network_of, tokenizer
from tests.mounts import mounted

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import Model
from headscript.records import Maker, RunConfig, RunText
from headscript.runs import Run, load_run

CONFIG = RunConfig(model="m", texts="t", seed=3)
TEXTS = [
    RunText("1", "fit", "w4 w5\u2028end", (4, 5)),
    RunText("2", "select", "w6", (6,)),
    RunText("3", "test", "w7 w8", (7, 8)),
]
ROW = {"layer": 0, "head": 1, "iou": 0.5, "ci95": (0.4, 0.6), "baselines": {"uniform": 0.1}}
SUMMARY = {
    "iou": {"mean": 0.5, "median": 0.5, "ci95": (0.4, 0.6)},
    "coverage": 1.0,
    "terms": {"median": 1, "mean": 1, "max": 1},
    "heads": 1,
    "texts": {"fit": 1, "select": 1, "test": 1},
}


def model_of(seed: int = 0) -> Model:
    return Model.of(network_of("gpt2", seed=seed), tokenizer(), name=f"gpt2-{seed}")


def edit(run: Path, change: Callable[[Any], None]) -> None:
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def begun(folder: Path) -> Path:
    with Run.create_or_resume(folder, CONFIG) as run:
        run.settle_texts(TEXTS)
    return folder


def test_a_run_says_what_made_it(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "deep" / "run", CONFIG) as run:
        run.settle_model(model_of())
        run.settle_texts(TEXTS)
        run.save_tokenizer(tokenizer())
    record = json.loads((tmp_path / "deep" / "run" / "run.json").read_text())
    assert record["config"]["seed"] == 3
    assert record["model"]["architecture"] == "GPT2LMHeadModel"
    assert record["model"]["heads_per_layer"] == [4, 4, 4]
    assert len(record["model"]["weights_hash"]) == 64
    assert record["texts"]["fit"] | {"sha256": ""} == {"texts": 1, "tokens": 2, "sha256": ""}
    assert record["made_with"] == [Maker.here().model_dump(mode="json")]
    assert {"torch", "transformers", "tokenizers", "numpy"} <= set(
        record["made_with"][0]["libraries"]
    )
    opened = load_run(tmp_path / "deep" / "run")
    assert opened.texts() == TEXTS
    assert opened.texts("test") == TEXTS[2:]
    assert opened.model.heads[-1] == Head(2, 3)
    assert opened.program_file(Head(5, 3)).name == "L05H03.py"
    assert (opened.tokenizer_folder / "tokenizer.json").is_file()


def test_what_was_begun_is_there_when_it_is_resumed(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        run.settle_model(model_of())
        run.settle_texts(TEXTS)
        run.write_json("search/L00.json", {"found": [0.1, 0.2]})
    before = (tmp_path / "run.json").read_bytes()
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        run.settle_model(model_of())
        run.settle_texts(TEXTS)
        assert run.has("search/L00.json")
        assert not run.has("search/L01.json")
        assert run.read_json("search/L00.json") == {"found": [0.1, 0.2]}
    assert (tmp_path / "run.json").read_bytes() == before


def test_results_come_as_json_and_as_a_table(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        assert not run.finished
        with pytest.raises(HeadscriptError, match="not finished; start the same"):
            run.results()
        other = ROW | {"head": 2, "frontier": [(1, 0.3), (2, 0.4)], "status": "no program"}
        run.write_results(SUMMARY, [ROW, other])
    results = Run.open(tmp_path).results()
    assert results.summary.iou.mean == 0.5
    assert results.heads[1].frontier == [(1, 0.3), (2, 0.4)]
    table = polars.read_parquet(tmp_path / "heads.parquet")
    assert table["head"].to_list() == [1, 2]
    assert table["ci95_low"].to_list() == [0.4, 0.4]
    assert table["baseline_uniform"].to_list() == [0.1, 0.1]
    assert table["frontier"].to_list()[1][1] == {"terms": 2, "iou": 0.4}


def test_a_run_without_programs_says_why(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        run.settle_model(model_of())
        with pytest.raises(HeadscriptError, match="not finished; start the same command again"):
            run.programs()
        run.write_results(SUMMARY, [ROW])
        with pytest.raises(HeadscriptError, match=r"has no programs 'found'\."):
            run.programs()


def test_results_that_lack_something_are_not_written(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        with pytest.raises(ValidationError):
            run.write_results(SUMMARY, [{"layer": 0}])
        assert not run.finished


def test_a_run_open_for_reading_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="reading only"):
        Run.open(begun(tmp_path)).write_json("x.json", 1)


# One process at a time ----------------------------------------------------------------------------

HOLD = (
    "import sys\n"
    "from headscript.records import RunConfig\n"
    "from headscript.runs import Run\n"
    "run = Run.create_or_resume(sys.argv[1], RunConfig(model='m', texts='t', seed=3))\n"
    "print('locked', flush=True)\n"
    "number = 0\n"
    "while True:\n"
    "    run.write_json(f'search/L{number % 50:02d}.json', [number] * 20_000)\n"
    "    number += 1\n"
)


def test_a_second_process_is_refused_until_the_first_is_killed_and_then_goes_on(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(HeadscriptError, match=f"is being written by process {process.pid} on"):
            Run.create_or_resume(folder, CONFIG)
        Run.open(folder)  # reading is free
        while len(list((folder / "search").glob("L*.json"))) < 3:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    with Run.create_or_resume(folder, CONFIG) as run:
        for file in sorted((folder / "search").iterdir()):  # each one whole, no part left over
            values = run.read_json(f"search/{file.name}")
            assert len(values) == 20_000
            assert len(set(values)) == 1


def test_the_same_process_cannot_write_a_run_twice_at_once(tmp_path: Path) -> None:
    with (
        Run.create_or_resume(tmp_path, CONFIG),
        pytest.raises(HeadscriptError, match=f"process {os.getpid()} on"),
    ):
        Run.create_or_resume(tmp_path, CONFIG)
    with Run.create_or_resume(tmp_path, CONFIG):
        pass


def test_a_run_killed_before_its_first_file_can_be_begun(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock.pid").write_text("1 on nowhere")
    (tmp_path / ".run.json.123.part").write_text('{"form')
    begun(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_what_killed_processes_left_anywhere_in_a_run_is_removed(tmp_path: Path) -> None:
    begun(tmp_path)
    left = [
        tmp_path / "recording/test/.recording.json.1.part",
        tmp_path / "costs/.found.json.2.part",
    ]
    for part in left:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("{")
    begun(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_refused_start_leaves_the_run_unlocked(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(HeadscriptError, match="other settings"):
        Run.create_or_resume(tmp_path, CONFIG.model_copy(update={"seed": 4}))
    begun(tmp_path)


# What is refused ----------------------------------------------------------------------------------


def test_other_settings_are_named(tmp_path: Path) -> None:
    begun(tmp_path)
    other = CONFIG.model_copy(update={"seed": 4, "max_terms": 9})
    with pytest.raises(
        HeadscriptError, match=r"max_terms was 24 and is now 9; seed was 3 and is now 4\); choose"
    ):
        Run.create_or_resume(tmp_path, other)


def test_another_path_to_the_same_texts_is_no_other_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").touch()
    Path("others.txt").touch()
    for name in ("texts.txt", "./texts.txt", str(tmp_path / "texts.txt")):
        with Run.create_or_resume("run", CONFIG.model_copy(update={"texts": name})) as run:
            assert run.config.texts == "texts.txt"
            run.settle_texts(TEXTS)
    with pytest.raises(HeadscriptError, match=r"texts was 'texts\.txt' and is now 'others\.txt'"):
        Run.create_or_resume("run", CONFIG.model_copy(update={"texts": "others.txt"}))


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        run.settle_model(model_of())
    with Run.create_or_resume(tmp_path, CONFIG) as run:
        run.settle_model(model_of())
        with pytest.raises(HeadscriptError, match=r"begun with gpt2-0 .* gpt2-1 has other weights"):
            run.settle_model(model_of(seed=1))


def test_other_texts_are_refused_by_the_split_they_differ_in(tmp_path: Path) -> None:
    begun(tmp_path)
    with (
        Run.create_or_resume(tmp_path, CONFIG) as run,
        pytest.raises(HeadscriptError, match=r"other texts \(different: test\)"),
    ):
        run.settle_texts([*TEXTS[:2], RunText("3", "test", "w7 w9", (7, 9))])
    assert Run.open(tmp_path).texts() == TEXTS


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(HeadscriptError, match="not empty and holds no run"):
        Run.create_or_resume(tmp_path, CONFIG)
    with pytest.raises(HeadscriptError, match="is a file"):
        Run.create_or_resume(tmp_path / "thesis.tex", CONFIG)
    with pytest.raises(HeadscriptError, match="holds no run"):
        Run.open(tmp_path)
    with pytest.raises(HeadscriptError, match="no such folder"):
        Run.open(tmp_path / "nowhere")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is damaged"),
        ("[1]", "no record of a run"),
        ("{}", "no record of a run"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 99, "new": 1}', "made by another version: it has format 99"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    begun(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(HeadscriptError, match=sentence):
        Run.open(tmp_path)
    with pytest.raises(HeadscriptError, match=sentence):
        Run.create_or_resume(tmp_path, CONFIG)


def test_a_record_with_a_field_changed_to_nonsense_is_damaged(tmp_path: Path) -> None:
    edit(begun(tmp_path), lambda record: record["config"].update(seed="many"))
    with pytest.raises(HeadscriptError, match=r"run\.json is damaged"):
        Run.open(tmp_path)


def test_texts_changed_behind_its_back_are_noticed(tmp_path: Path) -> None:
    begun(tmp_path)
    file = tmp_path / "texts.jsonl"
    original = file.read_text()
    file.write_text(original.replace("w7 w8", "w7 w7"))
    with pytest.raises(HeadscriptError, match="does not hold the texts that the run was made with"):
        Run.open(tmp_path).texts()
    file.write_text(original[:-20])
    with pytest.raises(HeadscriptError, match=r"texts\.jsonl is damaged"):
        Run.open(tmp_path).texts()


def test_another_vocabulary_is_refused_and_another_headscript_may_only_read(tmp_path: Path) -> None:
    edit(begun(tmp_path), lambda record: record["made_with"][0].update(headscript="0.0.1"))
    Run.open(tmp_path)
    with pytest.raises(HeadscriptError, match=r"begun by headscript 0\.0\.1"):
        Run.create_or_resume(tmp_path, CONFIG)
    edit(
        tmp_path,
        lambda record: record["made_with"][0].update(
            headscript=Maker.here().headscript, plugins=["french 1.0"]
        ),
    )
    assert Run.open(tmp_path).record.made_with[0].plugins == ("french 1.0",)
    with pytest.raises(
        HeadscriptError, match=r"other plug-ins .*\(french 1\.0\), and here are none"
    ):
        Run.create_or_resume(tmp_path, CONFIG)
    edit(tmp_path, lambda record: record["made_with"][0].update(vocabulary=0))
    with pytest.raises(HeadscriptError, match="version 0 of the vocabulary"):
        Run.open(tmp_path)


def test_a_run_continued_with_other_libraries_names_both(tmp_path: Path) -> None:
    def age(record: Any) -> None:
        record["made_with"][0]["libraries"]["torch"] = "2.8.0"

    edit(begun(tmp_path), age)
    begun(tmp_path)
    begun(tmp_path)
    makers = Run.open(tmp_path).record.made_with
    assert [maker.libraries["torch"] for maker in makers] == [
        "2.8.0",
        Maker.here().libraries["torch"],
    ]


def test_a_damaged_work_item_is_named(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "item.json").write_text('{"half": ')
    with pytest.raises(HeadscriptError, match=r"item\.json is damaged"):
        Run.open(tmp_path).read_json("item.json")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(HeadscriptError, match=r"results\.json is damaged"):
        Run.open(tmp_path).results()


# Disks --------------------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=128k") as disk:
        with Run.create_or_resume(disk / "run", CONFIG) as run:
            run.settle_texts(TEXTS)
            run.write_json("search/L00.json", [1])
            with pytest.raises(HeadscriptError, match="the disk is full; make room"):
                run.write_json("search/L01.json", [0.123456] * 50_000)
        with Run.create_or_resume(disk / "run", CONFIG) as run:
            assert run.read_json("search/L00.json") == [1]
            assert not run.has("search/L01.json")
            run.settle_texts(TEXTS)
            (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
            with pytest.raises(HeadscriptError, match="tokenizer cannot be written: the disk is"):
                run.save_tokenizer(tokenizer())
        with pytest.raises(HeadscriptError, match="the disk is full"):
            Run.create_or_resume(disk / "another", CONFIG)


def test_a_read_only_disk_can_be_read_and_not_begun_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        begun(disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert Run.open(disk / "run").texts() == TEXTS
        with pytest.raises(HeadscriptError, match="read-only"):
            Run.create_or_resume(disk / "run", CONFIG)
        with pytest.raises(HeadscriptError, match="read-only"):
            Run.create_or_resume(disk / "new", CONFIG)


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the read-only disk is tried instead")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(HeadscriptError, match="no permission"):
            Run.create_or_resume(tmp_path / "run", CONFIG)
    finally:
        tmp_path.chmod(0o700)

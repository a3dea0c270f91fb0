"""Published programs: found, tried in the sandbox, kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.sandbox.tokenizers import SENTENCES, byte_level, word_piece

from headscript.errors import HeadscriptError
from headscript.language.linguistics import pipeline_name
from headscript.language.text import TextReader
from headscript.programs.importing import ImportReport, Verdict, import_programs, write_programs
from headscript.programs.loading import load_program
from headscript.programs.sentences import sentence_of
from headscript.sandbox import Limits, Sandbox, isolation

pytestmark = pytest.mark.skipif(
    isolation().level != "full", reason="needs a system with Landlock and seccomp"
)

PUBLISHED = Path(__file__).parent / "published"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(cpu_seconds=1, seconds=10), workers=1) as found:
        yield found


def imported(name: str, sandbox: Sandbox, texts: tuple[str, ...] = SENTENCES) -> ImportReport:
    return import_programs(PUBLISHED / f"{name}.py", byte_level(), texts, sandbox=sandbox)


def by_name(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {f"{verdict.name}:{verdict.line}": verdict for verdict in verdicts}


def test_joined_programs(sandbox: Sandbox) -> None:
    report = imported("joined", sandbox)
    assert report.found == len(report.accepted) == 6
    assert report.failed == []
    found = {verdict.file: verdict for verdict in report.accepted}
    consistent = {name for name, verdict in found.items() if verdict.prefix_consistent}
    assert consistent == {"previous_word.py", "commas.py", "resting-2.py"}
    assert "row" in found["middle.py"].inconsistency
    assert all((verdict.runs_per_minute or 0) > 100 for verdict in report.accepted)
    assert report.isolation["level"] == "full"


def test_a_module_with_helpers(sandbox: Sandbox) -> None:
    report = imported("module", sandbox)
    assert {verdict.name for verdict in report.accepted} == {
        "pronoun_L2H1",
        "recency",
        "sink",
        "word_parts",
        "vocabulary",
        "drawn",
    }
    (failed,) = report.failed
    assert failed.name == "pieces"
    assert "list is no matrix" in failed.reason
    assert by_name(report.accepted)["pronoun_L2H1:51"].head == (2, 1)
    consistent = {v.name for v in report.accepted if v.prefix_consistent}
    assert consistent == {"pronoun_L2H1", "recency", "sink", "word_parts", "vocabulary"}


@pytest.mark.skipif(pipeline_name() is None, reason="needs spaCy and an English pipeline")
def test_programs_that_use_spacy(sandbox: Sandbox) -> None:
    report = imported("grammar", sandbox)
    assert report.failed == []
    found = {verdict.name: verdict for verdict in report.accepted}
    assert found["dependency_head"].prefix_consistent is False
    assert found["word_by_word"].prefix_consistent is True


def test_programs_that_fail_say_why(sandbox: Sandbox) -> None:
    report = imported("broken", sandbox)
    assert [verdict.name for verdict in report.accepted] == ["works"]
    reasons = {verdict.name: verdict.reason for verdict in report.failed}
    expected = {
        "unfinished": "syntax error in line 12",
        "undefined": "raised NameError in line 4 of the program: name 'size' is not defined",
        "too_small": "wrong shape: 16 x 16 for",
        "nothing": "wrong shape: nothing was returned",
        "random_pattern": "random: two runs on one sentence differ",
        "reads_files": "syntax check: use of numpy.load in line 34",
        "uses_torch": "syntax check: import of torch in line 38",
        "endless": "timeout",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reasons[name].startswith(reason), reasons[name]


def test_the_report_is_json_and_the_programs_are_files(sandbox: Sandbox, tmp_path: Path) -> None:
    report = imported("joined", sandbox)
    write_programs(report, tmp_path / "kept")
    said = json.loads((tmp_path / "kept" / "import.json").read_text())
    assert said == json.loads(json.dumps(report.as_json()))
    assert said["found"] == 6
    assert {"name", "reason", "prefix_consistent", "runs_per_minute"} <= said["accepted"][0].keys()
    files = sorted(file.name for file in (tmp_path / "kept").glob("*.py"))
    assert files == sorted(report.programs)
    text = TextReader(byte_level())(byte_level()(SENTENCES[1])["input_ids"])
    for file in files:
        program = load_program(tmp_path / "kept" / file)
        assert program == report.programs[file]
        assert program.prefix_consistent == report.programs[file].prefix_consistent
        (outcome,) = sandbox.run(
            report.programs[file].code, report.programs[file].function, [sentence_of(text)]
        )
        assert outcome.matrix is not None
        np.testing.assert_array_equal(program(text).numpy(), outcome.matrix)
        torch.testing.assert_close(program(text).sum(1), torch.ones(len(text)))


def test_a_folder_in_use_is_refused_and_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    report = imported("joined", sandbox, SENTENCES[:1])
    with pytest.raises(HeadscriptError, match="not empty"):
        write_programs(report, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_repeated_program_is_written_once(sandbox: Sandbox, tmp_path: Path) -> None:
    one = "import numpy as np\n\n\ndef eye(sentence, tokenizer):\n"
    one += "    return 'eye', np.eye(len(tokenizer(sentence).input_ids))\n"
    file = tmp_path / "twice.py"
    file.write_text(f"{one}\n\n{one}")
    report = import_programs(file, byte_level(), SENTENCES[:1], sandbox=sandbox)
    assert [verdict.same_as for verdict in report.accepted] == [None, "eye.py"]
    assert list(report.programs) == ["eye.py"]


def test_an_encoder_has_no_prefixes(sandbox: Sandbox) -> None:
    report = import_programs(
        PUBLISHED / "joined.py", word_piece(), SENTENCES, causal=False, sandbox=sandbox
    )
    assert len(report.accepted) == 6
    assert {verdict.prefix_consistent for verdict in report.accepted} == {None}


@pytest.mark.parametrize("content", ["", "x = 1\n", "(" * 5000, "def f(a):\n    pass\n"])
def test_a_file_without_programs_is_one_sentence(
    content: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "none.py"
    file.write_text(content)
    with pytest.raises(HeadscriptError, match=r"holds no program|cannot be read"):
        import_programs(file, byte_level(), SENTENCES, sandbox=sandbox)

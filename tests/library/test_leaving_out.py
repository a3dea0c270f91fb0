"""Each text met by programs that were chosen, and fitted, on the others alone."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pytest
import torch
from tests.attention_files.files import ids, patterns, save_files, save_tokenizer
from tests.library.test_matching import LIBRARY

from headscript.attention_files import import_recording, save_attention
from headscript.errors import HeadscriptError
from headscript.evaluation.tables import score_heads
from headscript.language.text import TextReader
from headscript.library import leaving_out
from headscript.library.choosing import Usable
from headscript.library.entries import Library
from headscript.library.leaving_out import Chosen, left_out, on_others
from headscript.library.matching import match
from headscript.packing import pack_rows
from headscript.programs import Program
from headscript.recorded import Recorded
from headscript.records import SPLITS
from headscript.runs import Run
from headscript.similarity import iou


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("words"))


def imported(files: Sequence[Path], words: Path, out: Path) -> Run:
    return import_recording(files, out, tokenizer=words).run


def usable() -> list[Program]:
    return Usable.of(Library(LIBRARY.entries[:3], "three"), causal=True).programs


def test_a_text_has_no_say_in_its_own_choice() -> None:
    ious = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4]])[..., None]  # (texts, programs, 1)
    assert torch.allclose(
        on_others(ious)[..., 0], torch.tensor([[0.25, 0.6], [0.6, 0.25], [0.55, 0.45]])
    )


def test_it_is_what_counting_by_hand_gives(words: Path, tmp_path: Path) -> None:
    recorded = Recorded(imported(save_files(tmp_path / "files"), words, tmp_path / "run"))
    programs = usable()
    found = left_out(programs, recorded, refitting=False)
    splits = {name: recorded.split(name) for name in SPLITS}
    actual = {}
    table = {}  # (text, program, head)
    for split, of_split in splits.items():
        for number, text in enumerate(of_split.texts):
            actual[split, number] = torch.cat(
                [of_split.recording.layer(layer, [number])[0] for layer in (0, 1)]
            )
            for place, program in enumerate(programs):
                predicted = pack_rows(program(text).detach(), causal=True)
                table[split, number, place] = iou(predicted, actual[split, number])
    keys = list(actual)
    wanted = []
    for head in range(6):
        scores = []
        for key in keys:
            others = [other for other in keys if other != key]
            best = max(
                range(len(programs)),
                key=lambda place: mean(float(table[*other, place][head]) for other in others),
            )
            scores.append(float(table[*key, best][head]))
        wanted.append(mean(scores))
    assert [row.as_is for row in found.by_head] == pytest.approx(wanted, abs=1e-5)
    assert found.as_is.mean == pytest.approx(mean(wanted), abs=1e-5)
    assert found.texts == 5
    assert found.refitted is None
    assert found.chosen_on_all >= found.as_is.mean
    uniform = mean(
        float(iou(pack_rows(text.allowed / text.allowed.sum(1)[:, None], True), patterns_of).mean())
        for split, of_split in splits.items()
        for text, patterns_of in zip(
            of_split.texts,
            (actual[split, number] for number in range(len(of_split.texts))),
            strict=True,
        )
    )
    assert found.baselines["uniform"] == pytest.approx(uniform, abs=1e-5)


def test_a_text_left_out_is_not_looked_at(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other attention on one text leaves the programs that meet it what they were."""
    files = save_files(tmp_path / "files")
    chosen: list[list[str]] = []

    def watched(recording, texts, used, as_is, **more):
        chosen.append([program.source for program in (*used.values(), *as_is.values())])
        return score_heads(recording, texts, used, as_is, **more)

    monkeypatch.setattr(leaving_out, "score_heads", watched)
    run = imported(files, words, tmp_path / "run")
    order = [text.id for split in SPLITS for text in run.texts(split)]
    first = left_out(usable(), Recorded(run), refitting=True)
    with_first, chosen = chosen, []
    place = order.index("text2")
    n = len(next(text for text in run.texts() if text.id == "text2").token_ids)
    save_attention(files[2], patterns(n, seed=77), ids(n, seed=2), model="toy")
    other_run = imported(files, words, tmp_path / "other")
    assert [text.id for split in SPLITS for text in other_run.texts(split)] == order
    second = left_out(usable(), Recorded(other_run), refitting=True)
    assert chosen[place] == with_first[place]
    assert chosen != with_first  # where it is not left out, it does have a say
    assert first.as_is != second.as_is


def test_fitting_helps_where_there_is_something_to_fit(words: Path, tmp_path: Path) -> None:
    """All heads look at the first token more than the library's constants do."""
    reader = TextReader(
        Recorded(imported(save_files(tmp_path / "f"), words, tmp_path / "r")).tokenizer
    )
    sure = Program.parse("def attend(text, a=5.0):\n    return softmax(a * text.first)\n")
    files = []
    for place in range(6):
        tokens = ids(7 + place, seed=place)
        pattern = sure(reader(tokens)).detach()
        files.append(tmp_path / f"{place}.safetensors")
        save_attention(files[-1], pattern.expand(1, 2, *pattern.shape), tokens)
    run = imported(files, words, tmp_path / "run")
    found = match(run.directory, library=LIBRARY, leave_one_out=True, out=tmp_path / "matched")
    assert found.left_out is not None
    assert found.left_out.refitted is not None
    assert found.left_out.as_is.mean < 0.8
    assert found.left_out.refitted.mean > 0.97
    # What is left in the run was chosen by the splits, with or without leaving out.
    plain = match(run.directory, library=LIBRARY, out=tmp_path / "plain")
    assert plain.left_out is None
    assert plain.by_head == found.by_head
    assert (
        match(run.directory, library=LIBRARY, leave_one_out=True, out=tmp_path / "matched") == found
    )
    with pytest.raises(HeadscriptError, match="without leaving texts out"):
        match(run.directory, library=LIBRARY, leave_one_out=True, out=tmp_path / "plain")


def test_many_texts_are_for_splits(words: Path, tmp_path: Path) -> None:
    run = imported(save_files(tmp_path / "files", number=51), words, tmp_path / "run")
    with pytest.raises(HeadscriptError, match="50 texts at most, and here are 51"):
        match(run.directory, library=LIBRARY, leave_one_out=True)


def test_some_texts_as_one_recording(words: Path, tmp_path: Path) -> None:
    run = imported(save_files(tmp_path / "files"), words, tmp_path / "run")
    fit, test = (Recorded(run).recording(split) for split in ("fit", "test"))
    some = Chosen([(test, 0), (fit, 2), (fit, 0)])
    assert some.token_counts == [test.token_counts[0], fit.token_counts[2], fit.token_counts[0]]
    assert some.layers == fit.layers
    assert torch.equal(some.layer(1)[1], fit.layer(1, [2])[0])
    assert torch.equal(some.layer(0, [2, 0])[1], test.layer(0)[0])
    head = fit.heads[4]
    assert torch.equal(some.pattern(head, 2), fit.pattern(head, 0))

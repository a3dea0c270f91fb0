"""Programs get the constants of a head that they describe."""

from pathlib import Path

import pytest
import torch
from tests.planted import planted_gpt2, stories

from headscript.evaluation.tables import distances
from headscript.heads import Head
from headscript.language.text import TextReader
from headscript.library.columns import Columns
from headscript.library.refitting import finish, try_programs
from headscript.models import Model
from headscript.programs import Program
from headscript.programs.reading import read_terms
from headscript.recorded import RecordedSplit
from headscript.recording import Recording, record
from headscript.rows import Rows


def program(name: str, scores: str, constants: str) -> Program:
    source = f'def attend(text, {constants}):\n    """Some."""\n    return softmax({scores})\n'
    return Program.parse(source, name)


PROGRAMS = [
    program("decay", "-a * text.distance + b * text.first", "a=1.5, b=0.5"),
    program("previous", "p * text.previous(1) - s * text.itself", "p=1.0, s=1.0"),
    program("comma", "c * key(text.is_comma) - d * text.distance", "c=0.5, d=0.1"),
    program("bent", "where(text.distance < a, 1.0, -1.0)", "a=4.0"),
    program("tied", "a * text.first + a * text.previous(1)", "a=2.0"),
    program("negative", "-5.0 * n * text.same_token - 2 * log(text.distance + n)", "n=1.0"),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Texts and the recording of a network whose heads were built to do known things."""
    made = planted_gpt2()
    model = Model.of(made.network, made.tokenizer)
    ids = [model.encode(text, 40) for text in stories(24)]
    folder: Path = tmp_path_factory.mktemp("planted") / "recording"
    recording = record(model, ids, folder)
    read = TextReader(made.tokenizer, causal=True)
    places = {what: recording.heads.index(head) for head, what in made.heads.items()}
    return [read(each) for each in ids], recording, places


def test_columns_are_the_features_of_the_terms(planted):
    texts, _, _ = planted
    rows = Rows(texts[:5], share=0.6, generator=torch.Generator().manual_seed(1))
    columns = Columns(rows, PROGRAMS, range(len(PROGRAMS)))
    for place in (0, 1, 2):
        weighted = columns.weighted(place)
        terms = read_terms(PROGRAMS[place])
        assert weighted is not None
        assert terms is not None
        named = {name: (term, sign) for term, name, sign in terms}
        wanted = rows.columns([named[name][0] for name in weighted.constants])
        torch.testing.assert_close(columns.of(place), wanted)
        assert weighted.signs.tolist() == [named[name][1] for name in weighted.constants]
        assert weighted.values(weighted.weights) == pytest.approx(PROGRAMS[place].constants)
    assert [columns.weighted(place) for place in (3, 4, 5)] == [None, None, None]


def test_a_program_that_cannot_be_computed_has_no_columns_and_spoils_no_other(planted):
    texts, _, _ = planted
    rows = Rows(texts[:3])
    bad = program("bad", "a * ~text.distance", "a=1.0")
    infinite = program("infinite", "a * log(text.distance)", "a=1.0")
    columns = Columns(rows, [bad, PROGRAMS[0], infinite], range(3))
    assert columns.weighted(0) is None
    assert columns.weighted(2) is None
    torch.testing.assert_close(columns.of(1), Columns(rows, PROGRAMS, [0]).of(0))


@pytest.mark.parametrize(
    ("what", "name"), [("previous", "previous"), ("comma", "comma"), ("first", "decay")]
)
def test_constants_are_found(planted, what, name):
    texts, recording, places = planted
    table, _ = distances(PROGRAMS, texts, recording, max_cells=10**6, seed=0)
    assert float(table[:, places[what]].max()) < 0.8
    tried = try_programs(PROGRAMS, table, texts, recording)
    split = RecordedSplit([], texts, recording)
    refits = finish(PROGRAMS, tried, split, split)
    best = refits[places[what]][0]
    assert PROGRAMS[best.program].name == name
    assert best.select_iou > max(0.9, best.unfitted_select_iou + 0.1)
    again = PROGRAMS[best.program].with_constants(best.constants)
    assert again.constants == best.constants  # they are rounded as they are written
    fitted, _ = distances([again], texts, recording, max_cells=10**6, seed=0)
    assert float(fitted[0, places[what]]) == pytest.approx(best.select_iou, abs=0.05)


def test_what_failed_is_not_tried(planted):
    texts, recording, _ = planted
    table, _ = distances(PROGRAMS, texts[:4], recording, max_cells=10**6, seed=0)
    table[1] = 0
    tried = try_programs(PROGRAMS, table, texts, recording)
    assert all(1 not in found for found in tried)
    assert all({0, 2} <= set(found) for found in tried)
    assert isinstance(recording, Recording)
    assert Head(0, 0) in recording.heads

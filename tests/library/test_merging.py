"""Programs that behave alike become one, and the most useful stay."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import SURFACES

from headscript.language import Text
from headscript.library.entries import Entry, Origin
from headscript.library.merging import covering, likeness, merged
from headscript.packing import pack_rows
from headscript.programs import Program
from headscript.similarity import iou


def program(scores: str, name: str, constants: str = "a=2.0, b=1.0") -> Program:
    source = f'def attend(text, {constants}):\n    """Some."""\n    return softmax({scores})\n'
    return Program.parse(source, name)


PROGRAMS = [
    program("a * text.first - b * text.distance", "long"),
    program("a * text.first - b * text.distance", "nearly", "a=2.02, b=1.0"),
    program("-b * text.distance", "short", "b=1.0"),
    program("a * log(text.distance)", "fails", "a=-1.0"),
]


def texts() -> list[Text]:
    lines = ["Tom| was| in| the|,| in", "Once| upon| the| the|.| was|ing", "Tom|,| was| said"]
    known = [[*line.split("|")] for line in lines]
    vocabulary = sorted({*SURFACES, *(word for line in known for word in line)})
    return [
        Text(line, [vocabulary.index(word) for word in line], len(vocabulary)) for line in known
    ]


def entries(ious=(0.5, 0.6, 0.4, 0.9)) -> list[Entry]:
    return [
        Entry(each, None, (Origin(model="m", head=f"L00H0{number}", proposer="llm"),), found)
        for number, (each, found) in enumerate(zip(PROGRAMS, ious, strict=True))
    ]


def test_likeness_is_the_iou_of_the_patterns():
    found = likeness(PROGRAMS, texts())
    for one, other in itertools.product(range(3), range(3)):
        by_hand = [
            float(iou(pack_rows(PROGRAMS[one](t), True), pack_rows(PROGRAMS[other](t), True)))
            for t in texts()
        ]
        assert float(found[one, other]) == pytest.approx(sum(by_hand) / 3, abs=1e-5)
    assert not found[3].any()
    assert not found[:, 3].any()


def test_a_sample_of_rows_says_about_the_same():
    whole = likeness(PROGRAMS[:3], texts())
    part = likeness(PROGRAMS[:3], texts(), max_cells=30, seed=1)
    assert not torch.equal(part, whole)
    assert bool((part.diagonal() == 1).all())
    assert float((part - whole).abs().max()) < 0.2


def test_alike_programs_become_one_with_the_origins_of_both():
    alike = likeness(PROGRAMS, texts())
    kept = merged(entries(), alike, threshold=0.97)
    assert [(place, entry.name) for place, entry in kept] == [(1, "nearly"), (2, "short")]
    better = kept[0][1]  # of as many terms the better scored stays
    assert [origin.head for origin in better.origins] == ["L00H01", "L00H00"]
    (only,) = merged(entries(), alike, threshold=0.3)
    assert only[1].name == "short"
    assert len(only[1].origins) == 3
    names = [entry.name for _, entry in merged(entries(), alike, threshold=1.1)]
    assert names == ["long", "nearly", "short"]


tables = st.integers(1, 4).flatmap(
    lambda heads: st.lists(
        st.lists(st.integers(0, 20), min_size=heads, max_size=heads), min_size=1, max_size=7
    )
)


@settings(max_examples=150, deadline=None)
@given(tables, st.integers(1, 7))
def test_the_first_raise_the_best_most_and_all_heads_are_covered(rows, most):
    table = torch.tensor(rows, dtype=torch.float32) / 20
    chosen = covering(table, most)
    assert len(set(chosen)) == len(chosen) <= most
    if not chosen:
        assert not table.any()
        return
    assert float(table[chosen[0]].sum()) == pytest.approx(float(table.sum(1).max()))
    # Greedy reaches 1 - 1/e of what any choice of as many does (Nemhauser and others, 1978).
    best_of_any = max(
        float(table[list(some)].amax(0).sum())
        for some in itertools.combinations(range(len(rows)), min(len(chosen), len(rows)))
    )
    assert float(table[chosen].amax(0).sum()) >= (1 - 1 / 2.718281828) * best_of_any - 1e-5
    if most >= len(rows):
        assert sorted(chosen) == [place for place, row in enumerate(rows) if any(row)]


def test_once_all_is_covered_heads_are_covered_anew():
    table = torch.tensor([[0.9, 0.8], [0.7, 0.1], [0.1, 0.75], [0.2, 0.2]])
    assert covering(table, 3) == [0, 2, 1]

"""Patterns of many programs at once are those of each alone, and a failing one spoils no other."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import SURFACES, texts, weighted_terms

from headscript.language import Text
from headscript.packing import pack_rows
from headscript.programs import Program, emit
from headscript.programs.patterns import Patterns

EVEN = Program.parse('def attend(text):\n    """Even."""\n    return softmax(0.0 * text.first)\n')
BENT = Program.parse(
    'def attend(text, wide=3.0):\n    """Bent."""\n'
    "    return softmax(where(text.distance < wide, 1.1, -0.4))\n"
)


def failing(scores: str) -> Program:
    return Program.parse(
        f'def attend(text, c=1.0):\n    """Fails."""\n    return softmax({scores})\n', "failing"
    )


NOT_FINITE = failing("-c * log(text.distance)")
NO_CONDITIONS = failing("c * ~text.distance")


def text_of(*surfaces: str) -> Text:
    return Text(surfaces, [SURFACES.index(surface) for surface in surfaces], len(SURFACES))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(weighted_terms, min_size=1, max_size=4),
    st.lists(texts(), min_size=1, max_size=4),
    st.sampled_from([None, NOT_FINITE, NO_CONDITIONS]),
)
def test_as_each_alone(found, batch, bad):
    programs = [
        emit(f"L00H{number:02d}", "m", [t for t, _ in terms], [w for _, w in terms], causal=True)
        for number, terms in enumerate(found)
    ]
    programs += [EVEN, BENT]
    if bad is not None:
        programs.insert(len(programs) // 2, bad)
    patterns = Patterns(programs, causal=True)
    seen = dict(patterns.on(batch))
    assert sorted(seen) == list(range(len(batch)))
    for number, text in enumerate(batch):
        for place, program in enumerate(programs):
            if program is bad:
                assert not seen[number][place].any()
                continue
            alone = pack_rows(program(text.from_first_query()), True)
            torch.testing.assert_close(seen[number][place], alone, atol=2e-5, rtol=1e-4)
    assert set(patterns.failures) == ({programs.index(bad)} if bad is not None else set())


def test_a_program_that_fails_on_one_text_is_heard_on_the_others():
    comma = failing("c * log(1.0 - text.itself * query(text.is_comma) * 2.0)")
    patterns = Patterns([EVEN, comma], causal=True)
    batch = [text_of("Tom", " was"), text_of("Tom", ",", " was"), text_of("Tom", " in", " was")]
    seen = dict(patterns.on(batch))
    assert "no attention pattern on a text of 3 tokens" in patterns.failures[1]
    assert list(patterns.failures) == [1]
    assert not seen[1][1].any()
    for number in (0, 2):
        assert torch.equal(seen[number][1], pack_rows(comma(batch[number]), True))


def test_more_programs_than_a_bank_holds(monkeypatch):
    monkeypatch.setattr("headscript.programs.patterns._MOST", 8)
    programs = [BENT.with_constants({"wide": float(width)}) for width in range(30)]
    text = text_of("Tom", " was", " in", " in", ",")
    ((_, seen),) = Patterns(programs, causal=True).on([text])
    for program, pattern in zip(programs, seen, strict=True):
        assert torch.equal(pattern, pack_rows(program(text), True))

"""Candidates that meet their head, and terms of several proposers in one program."""

import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.heads import Head
from headscript.packing import pack_rows
from headscript.programs.program import Program
from headscript.programs.terms import Term
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.combining import pool_terms
from headscript.propose.frontier import Frontier
from headscript.propose.judging import Judge
from headscript.propose.search import SearchSettings, Step, prune
from headscript.rows import Rows

HEAD = Head(1, 2)
FIRST, NEAR = Term(None, "text.first", None), Term(None, "text.previous(1)", None)
COMMA = Term(None, None, "text.is_comma")
FRONTIER = Frontier(
    HEAD,
    (Step((), (), (), 0.2), Step((FIRST,), (2.0,), (1.0,), 0.4)),
    (0.2, 0.4),
)
COMMAS = """def attend(text, sink=2.0, comma=1.0):
    \"\"\"Looks at commas.\"\"\"
    return softmax(sink * text.first + comma * key(text.is_comma))
"""


def candidate(source: str, **more) -> Candidate:
    return Candidate(HEAD, "llm", Outcome.OK, source, **more)


def program_of(found: Candidate) -> Program:
    program = found.program()
    assert program is not None
    return program


def rows_and_head(source: str):
    rows = Rows(random_texts([12, 25, 30, 18]))
    program = Program.parse(source)
    packed = [pack_rows(program(text), text.causal)[None] for text in rows.texts]
    return rows, rows.gather(packed)[:, 0].contiguous()


def test_terms_of_all_are_joined_once_and_know_who_named_them():
    pooled = pool_terms(FRONTIER, [candidate(COMMAS, fit_iou=0.5)])
    assert pooled.terms == (FIRST, COMMA)
    assert pooled.start == (2.0, 0.0)
    assert pooled.origins == {FIRST: {"search", "llm"}, COMMA: {"llm"}}


def test_without_a_search_the_best_candidate_is_the_start():
    worse = candidate(COMMAS.replace("text.first", "text.previous(1)"), fit_iou=0.3)
    pooled = pool_terms(None, [worse, candidate(COMMAS, fit_iou=0.5)])
    assert pooled.terms == (FIRST, COMMA, NEAR)
    assert pooled.start == (2.0, 1.0, 0.0)


def test_programs_of_another_form_bring_no_terms():
    curved = "def attend(text, a=1.0):\n    return softmax(a / (text.distance + 1) ** a)\n"
    assert pool_terms(FRONTIER, [candidate(curved, fit_iou=0.9)]).terms == (FIRST,)


def test_the_union_finds_a_head_that_neither_has_alone():
    head = "def attend(text, a=3.0, b=2.0, c=1.5):\n    return softmax({})\n".format(
        "a * text.first + b * key(text.is_comma) + c * text.previous(1)"
    )
    rows, actual = rows_and_head(head)
    searched = Frontier(HEAD, (Step((FIRST, NEAR), (2.0, 1.0), (0.5, 0.5), 0.0),), (0.0,))
    pooled = pool_terms(searched, [candidate(COMMAS, fit_iou=0.5)])
    features, wanted = rows.lanes.columns(pooled.terms), rows.lanes.spread(actual)
    start = torch.tensor(pooled.start)
    steps = prune(rows, pooled.terms, features, start, wanted, SearchSettings())
    assert [len(step.terms) for step in steps] == [0, 1, 2, 3]
    assert steps[-1].iou > 0.98 > steps[-2].iou


def test_a_candidate_is_fitted_named_and_known_again():
    rows, actual = rows_and_head(COMMAS.replace("comma=1.0", "comma=2.5"))
    judge, known = Judge(rows, "some-model"), set[str]()
    found = judge(candidate(COMMAS), actual, known)
    assert found.outcome is Outcome.OK
    assert found.fit_iou is not None
    assert found.proposed_iou is not None
    assert found.fit_iou > 0.99 > found.proposed_iou
    program = program_of(found)
    assert program.name == str(HEAD)
    assert program.explanation == "Looks at commas."
    assert program.source.startswith('"""Head L01H02 of some-model, proposed by llm and fitted."""')
    assert judge(candidate(COMMAS), actual, known).outcome is Outcome.REPEATED
    again = judge(candidate(COMMAS.replace("comma=1.0", "comma=0.3")), actual, {program.key})
    assert again.outcome is Outcome.REPEATED


def test_words_that_no_longer_hold_are_written_anew():
    rows, actual = rows_and_head(COMMAS.replace("comma=1.0", "comma=-2.5"))
    program = program_of(Judge(rows, "m")(candidate(COMMAS), actual, set()))
    assert "less to commas" in program.explanation
    assert "Looks at commas." not in program.source
    wordless = COMMAS.replace('    """Looks at commas."""\n', "")
    assert program_of(Judge(rows, "m")(candidate(wordless), actual, set())).explanation


def test_what_looks_ahead_or_is_no_pattern_ends_with_its_reason():
    rows = Rows(random_texts([12, 25]))
    actual = rows.gather(random_patterns(rows.texts, 1))[:, 0].contiguous()
    judge = Judge(rows, "m")
    ahead = judge(candidate("def attend(text):\n    return softmax(text.last)\n"), actual, set())
    assert ahead.outcome is Outcome.LOOKS_AHEAD
    assert "text.last" in ahead.reason
    broken = "def attend(text, a=1.0):\n    return softmax(a * log(text.distance))\n"
    none = judge(candidate(broken), actual, set())
    assert none.outcome is Outcome.NO_PATTERN
    assert "finite" in none.reason
    assert none.fit_iou is None


def test_a_candidate_reads_back_as_it_was_written():
    kept = candidate(COMMAS, repairs=("import",), proposed_iou=0.25, fit_iou=0.5)
    assert Candidate.from_json(kept.as_json()) == kept

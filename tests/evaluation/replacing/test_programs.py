"""Which programs take the place of heads in a curve, and which baselines stand beside them."""

import shutil

import pytest
from tests.evaluation.replacing.by_hand import as_found, by_hand
from tests.evaluation.replacing.sources import AHEAD, FAILING

from headscript.errors import HeadscriptError
from headscript.evaluation.replacing import replacement_curve
from headscript.heads import Head
from headscript.models import Model
from headscript.runs import Run
from headscript.texts import Document


def test_a_program_that_fails_is_not_replaced_and_not_covered(
    run: Run, model: Model, documents: list[Document]
) -> None:
    run.write("programs/L01H02.py", FAILING.encode())
    curve = replacement_curve(run, documents, model=model, fractions=(0.4, 1), cost_tokens=60)
    assert list(curve.failures) == ["L01H02"]
    assert "no attention pattern" in curve.failures["L01H02"]
    assert "L01H02" not in {row.head for row in curve.by_head}
    programs = {head: p for head, p in run.programs().items() if head != Head(1, 2)}
    texts = [model.encode(document.text) for document in documents]
    wanted = by_hand(model, texts, programs)
    for point in curve.curve:
        if point.programs == "found":
            assert point.heads == 4
            assert point.coverage == 4 / {0.4: 5, 1: 12}[point.fraction]
            assert as_found(point) == pytest.approx(wanted, abs=2e-5)
        else:
            assert point.heads <= 4


def test_programs_that_see_the_future_need_a_word_and_mark_the_result(
    run: Run, model: Model
) -> None:
    run.write("programs/L01H02.py", AHEAD.encode())
    with pytest.raises(HeadscriptError, match=r"L01H02 is not prefix-consistent.*--allow-incons"):
        replacement_curve(run, model=model)
    assert not run.has("costs")
    curve = replacement_curve(run, model=model, fractions=(1,), allow_inconsistent=True)
    assert not curve.prefix_consistent
    assert curve.curve[0].heads == 5


def test_another_version_of_the_programs(run: Run, model: Model) -> None:
    shutil.copytree(run.program_folder(), run.program_folder("tuned"))
    (run.program_folder("tuned") / "version.json").write_text("{}")
    found = replacement_curve(run, model=model, version="found", fractions=(0, 0.25))
    tuned = replacement_curve(run, model=model, fractions=(0, 0.25), baseline_fractions=(0.25,))
    assert (found.version, tuned.version) == ("found", "tuned")
    assert [p.kl for p in found.curve[:6]] == [p.kl for p in tuned.curve[:6]]
    assert {point.programs for point in tuned.curve} >= {"tuned", "uniform", "random program"}
    assert "intended" not in {point.programs for point in tuned.curve}
    assert list(tuned.left_out) == ["intended"]
    assert run.has("costs/tuned.json")
    with pytest.raises(HeadscriptError, match="no programs 'nobodys'"):
        replacement_curve(run, model=model, version="nobodys")


def test_baselines_whose_sources_are_gone_are_left_out_and_said(run: Run, model: Model) -> None:
    shutil.rmtree(run.directory / "recording")
    shutil.rmtree(run.directory / "search")
    curve = replacement_curve(run, model=model, fractions=(0.25,))
    assert set(curve.left_out) == {"mean by position", "intended"}
    assert {p.programs for p in curve.curve} == {
        *("found", "uniform", "first token", "zero", "random program")
    }


def test_intended_programs_are_those_of_the_search(run: Run, model: Model) -> None:
    """Where no head was given another's program they cost the same; where one was, not."""
    names = [str(head) for head in run.covered_heads()]
    others = {names[0], names[-1]}
    for name, other in zip(sorted(others), sorted(others, reverse=True), strict=True):
        run.write(f"programs/{name}.py", own_source(run, other).encode())
    curve = replacement_curve(run, model=model, fractions=(0.4,), baseline_fractions=(0.4,)).curve
    (own,) = {p.kl for p in curve if p.programs == "found"}
    (intended,) = (p for p in curve if p.programs == "intended")
    assert intended.kl != own
    for name in others:  # as if each had kept its own
        run.write(f"programs/{name}.py", own_source(run, name).encode())
    curve = replacement_curve(run, model=model, fractions=(0.4,), baseline_fractions=(0.4,)).curve
    assert {p.kl for p in curve if p.programs in ("found", "intended")} == {intended.kl}


def own_source(run: Run, name: str) -> str:
    from headscript.propose.writing import read_frontiers, write_program

    head = Head.parse(name)
    return write_program(run, read_frontiers(run, [head.layer])[head])[0].source

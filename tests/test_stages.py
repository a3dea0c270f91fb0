"""What a run's texts are, and how the rows of its heads are summed up."""

from pathlib import Path
from random import Random
from statistics import mean

import pytest
from tests.models.networks import network_of, tokenizer

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import HeadScores
from headscript.heads import Head
from headscript.models import Model
from headscript.programs import Program
from headscript.records import RunConfig
from headscript.results import Summary
from headscript.stages import head_row, prepare_texts, summary_of


def words(number: int, seed: int) -> str:
    draw = Random(seed)
    return " ".join(f"w{draw.randint(4, 63)}" for _ in range(number))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.of(network_of("llama-2-groups"), tokenizer(), name="small")


def test_texts_that_are_one_where_they_are_cut(model: Model, tmp_path: Path) -> None:
    """A licence at the head of every file; the model is shown nothing else."""
    licence = words(12, 99)
    texts = [f"{licence} {words(40, seed)}" for seed in range(10)]
    texts += [words(52, seed) for seed in range(10, 20)]
    (tmp_path / "texts.txt").write_text("\n\n".join(texts))
    config = RunConfig(model="small", texts=str(tmp_path / "texts.txt"))
    assert len(prepare_texts(config, model)) == 20
    cut = prepare_texts(config.model_copy(update={"max_tokens": 12}), model)
    assert len(cut) == 11
    assert len({text.token_ids for text in cut}) == 11
    assert {len(text.token_ids) for text in cut} == {12}
    (tmp_path / "texts.txt").write_text("\n\n".join(texts[:10]))
    with pytest.raises(HeadscriptError, match="All 10 texts are near-duplicates"):
        prepare_texts(config.model_copy(update={"max_tokens": 12}), model)


AHEAD = Program.parse(
    'def attend(text, a=1.0, b=2.0):\n    """Ahead."""\n'
    "    return softmax(a * text.last + b * text.first)\n"
)


def summed(programs: list[Program | None]) -> tuple[Summary, list[dict[str, object]]]:
    """Heads of which those with a program score 0.5, on two texts."""
    scores = {
        Head(0, place): HeadScores(
            chosen=[0.6 * bool(program), 0.4 * bool(program)],
            intended=[0.0, 0.0],
            baselines={"uniform": [0.1, 0.3]},
        )
        for place, program in enumerate(programs)
    }
    rows = [
        head_row(head, scores[head], program, ["a", "b"], 0) | {"category": "mixed"}
        for (head, program) in zip(scores, programs, strict=True)
    ]
    return Summary.model_validate(summary_of(rows, scores, {"test": 2}, 0)), rows


def test_programs_are_summed_up_over_the_heads_that_have_one() -> None:
    summary, rows = summed([AHEAD, None, None])
    assert not AHEAD.prefix_consistent
    assert summary.prefix_consistent == 0
    assert summary.terms is not None
    assert (summary.terms.median, summary.terms.mean, summary.terms.max) == (2, 2, 2)
    assert summary.iou.mean == pytest.approx(mean([0.5, 0, 0]))
    assert summary.coverage == pytest.approx(1 / 3)
    assert (rows[1]["terms"], rows[1]["prefix_consistent"]) == (None, None)


def test_no_head_has_a_program() -> None:
    summary, _ = summed([None, None])
    assert (summary.terms, summary.prefix_consistent, summary.coverage) == (None, None, 0)
    assert summary.iou.mean == 0

"""On which texts a curve is measured, and what is refused before it is."""

from pathlib import Path

import pytest
from tests.small_run import save_model

from headscript.errors import HeadscriptError
from headscript.evaluation.replacing import ReplacementCurve, replacement_curve
from headscript.events import Event
from headscript.models import Model
from headscript.runs import Run
from headscript.texts import Document


def quick(
    run: Run,
    documents: list[Document] | None,
    model: Model,
    *,
    max_texts: int | None = None,
    max_tokens: int | None = None,
) -> ReplacementCurve:
    return replacement_curve(
        run,
        documents,
        model=model,
        orders=("iou",),
        fractions=(0.25,),
        baseline_fractions=(),
        max_texts=max_texts,
        max_tokens=max_tokens,
    )


def test_the_runs_own_test_texts_unless_others_are_given(run: Run, model: Model) -> None:
    own = [Document(text.id, text.text) for text in run.texts("test")]
    assert quick(run, None, model) == quick(run, own, model)
    whole = [Document(text.id, text.text) for text in run.texts()]
    assert quick(run, whole, model).seen == 8
    assert quick(run, whole, model, max_texts=3).texts == 3
    assert quick(run, None, model, max_texts=1).texts == 1
    assert quick(run, None, model, max_tokens=5).tokens == 10
    assert quick(run, own, model, max_tokens=5).tokens == 10


def test_texts_of_one_token_have_nothing_to_predict(
    run: Run, model: Model, documents: list[Document]
) -> None:
    short = Document("short", "w5")
    assert quick(run, [*documents, short], model) == quick(run, documents, model)
    with pytest.raises(HeadscriptError, match="nothing to predict"):
        quick(run, [short], model)
    with pytest.raises(HeadscriptError, match="200 tokens is longer than the 64"):
        quick(run, [Document("tome", "w4 w5 " * 100)], model)


def test_a_run_that_is_only_read_says_so_before_anything_is_measured(
    run: Run, model: Model
) -> None:
    events: list[Event] = []
    run.close()
    with pytest.raises(RuntimeError, match="open for reading only"):
        replacement_curve(run, model=model, on_event=events.append)
    assert events == []
    assert quick(run, None, model).curve[0].heads == 3


def test_bad_input_is_told_before_anything_is_written(
    run: Run, model: Model, tmp_path: Path
) -> None:
    before = sorted(run.directory.rglob("*"))

    def refused(match: str, **options: object) -> None:
        with pytest.raises(HeadscriptError, match=match):
            replacement_curve(run, **({"model": model} | options))  # type: ignore[arg-type]

    refused("between 0 and 1, and 1.5 does not", fractions=(0, 1.5))
    refused("and -0.1 does not", baseline_fractions=(-0.1,))
    refused("and nan does not", fractions=(float("nan"),))
    refused("and 2 does not", greedy_until=2)
    refused("no order 'random'; choose among cost, greedy, iou", orders=("random",))
    refused("at least one", fractions=())
    refused("is not the model of", model=save_model(tmp_path / "other", seed=1))
    assert sorted(run.directory.rglob("*")) == before
    run.write("programs/L01H02.py", b"import os\n")
    refused("L01H02.py, line 1")
    (run.directory / "results.json").unlink()
    refused("not finished")


def test_an_encoder_predicts_no_next_token(run: Run, model: Model) -> None:
    record = run.read_json("run.json")
    record["model"]["causal"] = False
    run.write_json("run.json", record)
    with pytest.raises(HeadscriptError, match="encoder, which predicts no next token"):
        replacement_curve(Run.open(run.directory), model=model)

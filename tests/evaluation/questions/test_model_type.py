"""The model type that the harness is given answers as the harness's own model would."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from headscript.errors import HeadscriptError
from headscript.evaluation.answers import Pair, Scorer
from headscript.evaluation.tasks.loading import TASKS, load_tasks
from headscript.models import Model, load_model
from headscript.replacement import replaced
from headscript.runs import Run

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness, of the extra 'eval'")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from tests.evaluation.questions.asking import assert_same_answers, instances, plain

from headscript.evaluation.harness import HeadscriptLM, assignments


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_likelihoods_are_those_of_the_harness_own_model(
    small_run: Path, model: Model, data: Path, fraction: float
) -> None:
    """Also where prompts are cut, and where the harness pads on the right without a mask."""
    run = Run.open(small_run)
    lm = HeadscriptLM(run, assignments(run, [0.0, 0.3, 1.0], "found", None), model=model)
    lm.fraction = fraction
    asked = [i for task in load_tasks(TASKS, data=data).values() for i in instances(task)]
    Random(0).shuffle(asked)
    found = lm.loglikelihood(asked)
    with replaced(model, lm.assignments[fraction]):
        assert_same_answers(found, plain(model).loglikelihood(asked, disable_tqdm=True))
    assert lm.num_cut > 0
    assert len(set(found)) > len(found) / 2


def test_likelihoods_of_a_trained_model_are_those_of_the_harness_own(shared: Path) -> None:
    model = load_model(shared / "models" / "stories260k")
    own, scorer = plain(model, 8), Scorer(model, [{}])
    asked = [
        i
        for task in load_tasks(TASKS, data=shared / "data" / "qa").values()
        for i in instances(task, 2)
    ]
    pairs = [Pair(*map(tuple, own._encode_pair(*i.args))) for i in asked]
    assert_same_answers(scorer(pairs)[0], own.loglikelihood(asked, disable_tqdm=True))


def test_whole_texts_and_generated_ones_are_those_of_the_harness_own_model(
    small_run: Path, model: Model
) -> None:
    ending = deepcopy(model.tokenizer)
    ending.add_special_tokens({"eos_token": "</s>"})
    model = dataclasses.replace(model, tokenizer=ending)
    lm = HeadscriptLM(small_run, 1.0, model=model, batch_size=2)
    texts = ["w4 w9 w30 w5 w5 w61", "w8", " ".join(f"w{4 + n % 60}" for n in range(100))]
    rolling = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    options = {"until": ["w7"], "max_gen_toks": 6}
    generating = [Instance("generate_until", {}, (text, options), 0) for text in texts[:2]]
    untouched = plain(model, 2).loglikelihood_rolling(rolling, disable_tqdm=True)
    with replaced(model, lm.assignments[1.0]):
        own = plain(model, 2)
        expected = own.loglikelihood_rolling(rolling, disable_tqdm=True)
        texts = own.generate_until(generating, disable_tqdm=True)
    found = lm.loglikelihood_rolling(rolling, disable_tqdm=True)
    assert found == pytest.approx(expected, abs=1e-4)
    assert found != pytest.approx(untouched, abs=1e-2)
    assert lm.generate_until(generating, disable_tqdm=True) == texts
    assert all(texts)


def test_its_cache_of_answers_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    """It would give the answers of one fraction as those of another."""
    tasks = list(load_tasks(["copa"], data=data).values())
    with pytest.raises(HeadscriptError, match="does not ask which model answered"):
        simple_evaluate(
            "headscript", {"run": str(run)}, tasks=tasks, use_cache=str(tmp_path / "cache")
        )


def test_answers_of_one_fraction_are_never_those_of_another(
    small_run: Path, model: Model, data: Path
) -> None:
    run = Run.open(small_run)
    lm = HeadscriptLM(run, assignments(run, [0.0, 1.0], "found", None), model=model)
    asked = instances(load_tasks(["piqa"], data=data)["piqa"])
    found: dict[float, list[Any]] = {}
    for fraction in (0.0, 1.0, 0.0, 1.0):
        lm.fraction = fraction
        answers = lm.loglikelihood(asked)
        assert found.setdefault(fraction, answers) == answers
    assert found[0.0] != found[1.0]
    for fraction, answers in found.items():
        alone = HeadscriptLM(run, fraction, model=model)
        assert_same_answers(alone.loglikelihood(asked), answers)


def test_the_batch_size_that_is_asked_for_is_used(small_run: Path, model: Model) -> None:
    assert HeadscriptLM(small_run, model=model, batch_size=3)._scorer.batch_size == 3
    assert HeadscriptLM(small_run, model=model, batch_size="5").batch_size == 5
    assert HeadscriptLM(small_run, model=model, batch_size="auto").batch_size == 16
    for wrong in ("0", -1, "many"):
        with pytest.raises(HeadscriptError, match="batch size"):
            HeadscriptLM(small_run, model=model, batch_size=wrong)


def test_the_model_is_left_as_it_was(small_run: Path, data: Path) -> None:
    """The harness adds a padding token to a tokenizer that has none; programs must not see it."""
    words = {"<unk>": 0} | {f"w{number}": number for number in range(4, 64)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    bare = PreTrainedTokenizerFast(tokenizer_object=core)
    model = load_model(small_run.parent / "model")
    model = dataclasses.replace(model, tokenizer=bare)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    size = len(bare)

    lm = HeadscriptLM(small_run, 1.0, model=model, device="cuda:0")
    lm.loglikelihood(instances(load_tasks(["piqa"], data=data)["piqa"]))

    assert lm.tokenizer.pad_token is not None
    assert (len(bare), bare.pad_token) == (size, None)
    after = model.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (model.network.training, model.network.device.type) == (False, "cpu")
    assert model.network.config._attn_implementation == "sdpa"

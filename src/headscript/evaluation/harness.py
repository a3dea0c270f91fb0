"""The model type "headscript" of lm-evaluation-harness: a run's model, with heads replaced.

Importing this module registers it. In Python:

    import headscript.evaluation.harness
    lm_eval.simple_evaluate("headscript", "run=RUN,replace=0.25", tasks=["piqa"])

and on the command line, with all options of `lm_eval`:

    python -m headscript.lm_eval --model headscript --model_args run=RUN,replace=0.25 --tasks piqa
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from headscript.assignment import check_model, head_count, ranking
from headscript.errors import HeadscriptError
from headscript.evaluation.answers import BATCH_SIZE, Likelihood, Pair, Scorer
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.models.attention import mixing
from headscript.programs import Program
from headscript.runs import Run, load_run

Encoded = tuple[tuple[str, str], list[int], list[int]]
"""A request as the harness tokenises it: its two strings, the prompt and the answer."""


@register_model("headscript")
class HeadscriptLM(HFLM):  # type: ignore[misc]  # the harness has no types
    """A run's model with a fraction of its heads replaced by their programs.

    `run` is a run's folder; `programs`, `order` and `model` mean what they mean in
    `headscript evaluate`. `replace` may be what `assignments` gives, for several fractions: then
    `fraction` says as which the model answers, and what is asked of one is found out for all at
    once, which costs less.
    `data` is for the tasks that read local files, and means nothing here.

    Raises HeadscriptError for a run, version, order or fraction that is not there, another model
    than the run's, an encoder, and a batch size that is no whole number or below 1.
    """

    def __init__(
        self,
        run: str | Path | Run,
        replace: float | str | Mapping[float, Mapping[Head, Program]] = 0.0,
        programs: str | None = None,
        order: str | None = None,
        model: str | Path | Model | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        data: str | None = None,
    ) -> None:
        run = run if isinstance(run, Run) else load_run(run)
        refuse_encoder(run)
        batch = _checked_batch_size(batch_size)
        self.version = run.versions()[-1] if programs is None else programs
        self.assignments = (
            dict(replace)
            if isinstance(replace, Mapping)
            else assignments(run, [_fraction(replace)], self.version, order)
        )
        self.fraction = next(iter(self.assignments))
        self.on_done: Callable[[int, int], None] = lambda done, total: None
        """Told how many of the answers asked for are scored, and of how many."""
        self.num_cut = 0
        """Answers scored without the beginning of their prompt: the model takes no more tokens."""
        if not isinstance(model, Model):
            model = load_model(model or run.model_name, device=_device(device))
        check_model(run, model)
        self.source = model
        # The tokenizer is copied, for the harness may add a token to it, and programs count them.
        with _without_warnings():
            super().__init__(
                pretrained=model.network,
                tokenizer=deepcopy(model.tokenizer),
                batch_size=batch,
                max_length=model.max_tokens,
                prefix_token_id=_prefix_token(model),
            )
        self._scorer = Scorer(model, list(self.assignments.values()), batch)
        self._known: dict[float, dict[Pair, Likelihood]] = {f: {} for f in self.assignments}

    def forget(self) -> None:
        """Drop the answers that are known; they are kept so that fractions can share the work."""
        for known in self._known.values():
            known.clear()

    # What the harness asks for -------------------------------------------------------------------

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """The log-likelihood of each request's answer, and whether it is the likeliest."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self,
        requests: list[Encoded],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Likelihood]:
        pairs = [self._fitting(prompt, answer) for _, prompt, answer in requests]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known[self.fraction]]
        if new:
            found = self._scorer(new, lambda done: self.on_done(done, len(new)))
            for known, likelihoods in zip(self._known.values(), found, strict=True):
                known.update(zip(new, likelihoods, strict=True))
        return [self._known[self.fraction][pair] for pair in pairs]

    def _fitting(self, prompt: list[int], answer: list[int]) -> Pair:
        """Prompt and answer, the prompt's beginning left out where the model takes no more."""
        most = self.source.max_tokens + 1  # the last token is predicted, not read
        if len(answer) >= most:
            raise HeadscriptError(
                f"An answer of {len(answer)} tokens is longer than the {most - 1} that "
                f"{self.source.name} takes."
            )
        if not answer:
            raise HeadscriptError("A task has an answer that is empty: it has no likelihood.")
        self.num_cut += len(prompt) + len(answer) > most
        return Pair(tuple(prompt[-(most - len(answer)) :]), tuple(answer))

    def _model_call(
        self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        with self._replaced():
            logits: Tensor = super()._model_call(inps, attn_mask, labels)
        return logits

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **options: Any
    ) -> Tensor:
        with self._replaced():
            ids: Tensor = super()._model_generate(context, max_length, stop, **options)
        return ids

    def set_cache_hook(self, cache_hook: object) -> None:
        """Refuse the harness's cache of answers, which does not know who gave them."""
        raise HeadscriptError(
            "The harness's response cache (--use_cache) does not ask which model answered, so "
            "other heads replaced would get the same answers; leave it out."
        )

    def get_model_info(self) -> dict[str, Any]:
        """What is written beside the harness's results."""
        return {
            "model_num_parameters": self.source.network.num_parameters(),
            "model_dtype": str(self.source.network.dtype),
            "model_weights_hash": self.source.weights_hash,
            "model_name": self.source.name,
            "programs": self.version,
            "replaced": [str(head) for head in self.assignments[self.fraction]],
        }

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        number = list(self.assignments).index(self.fraction)
        replacement = self._scorer.replacements[number]
        if replacement is None:
            yield
        else:
            with mixing(self.source.network, replacement):
                yield


def assignments(
    run: Run, fractions: Sequence[float], version: str, order: str | None
) -> dict[float, Mapping[Head, Program]]:
    """What `headscript.assignment.assign` gives for each fraction, the programs read once."""
    counts = {fraction: head_count(fraction, len(run.model.heads)) for fraction in fractions}
    programs = run.programs(version)
    ranked = ranking(run, version, order, programs)
    return {
        fraction: {head: programs[head] for head in ranked[:count]}
        for fraction, count in counts.items()
    }


def refuse_encoder(run: Run) -> None:
    """Raise HeadscriptError where a run's model predicts no next token."""
    if not run.model.causal:
        raise HeadscriptError(
            f"{run.model.name} is an encoder, which predicts no next token, so it cannot be asked "
            "questions in this way; take the run of a decoder."
        )


def _fraction(replace: float | str) -> float:
    """The fraction as a number."""
    try:
        return float(replace)
    except ValueError:
        raise HeadscriptError(f"replace={replace} is no fraction of heads; write 0.25.") from None


def _checked_batch_size(asked: int | str | None) -> int:
    """The batch size as a number; "auto", which the harness offers, is ours to choose."""
    if asked is None or str(asked).startswith("auto"):
        return BATCH_SIZE
    try:
        size = int(asked)
    except ValueError:
        size = 0
    if size < 1:
        raise HeadscriptError(f"A batch size is a whole number from 1 up, and {asked!r} is none.")
    return size


def _device(asked: str | None) -> str:
    """The device to load on; the harness asks for CUDA where nobody said anything."""
    if asked is None or (asked.startswith("cuda") and not torch.cuda.is_available()):
        return "cpu"
    return asked


def _prefix_token(model: Model) -> int | None:
    """What stands before an answer without a prompt, where the tokenizer does not know."""
    tokenizer, config = model.tokenizer, model.network.config
    if tokenizer.bos_token_id is not None or tokenizer.eos_token_id is not None:
        return None
    candidates = (config.bos_token_id, config.eos_token_id, tokenizer.unk_token_id, 0)
    return next(token for token in candidates if isinstance(token, int))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep the harness from warning of a network that is at hand, which is what we mean."""
    logger = logging.getLogger("lm_eval.models.huggingface")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

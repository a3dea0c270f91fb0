"""What a model writes with heads replaced, beside what it writes as it is.

The model is compared as it is, with a run's programs in the place of heads, and with some of these
programs edited by hand: in the text it goes on with, in what it holds likeliest after a prompt, and
in perplexity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from headscript.assignment import assign, check_model, default_order
from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.language import token_surfaces
from headscript.models import Model, load_model
from headscript.models.attention import mixing
from headscript.programs.loading import load_program
from headscript.replacement import Replacement, Switch
from headscript.results import Interval
from headscript.runs import Run
from headscript.texts import Document

ORIGINAL, REPLACED, EDITED = "original", "replaced", "edited"
"""The ways the model is run."""

OnText = Callable[[str, str], None]
"""Told which way, and what was written that way so far, the prompt left out."""

_TOP = 5  # likeliest next tokens of each way
_RESAMPLES = 2_000
_LARGEST = 700.0  # nats a token; a perplexity beyond is no floating-point number


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class NextToken(_Frozen):
    """A token that may come after the prompt, and its probability each way."""

    token: str
    """As it reads in the text, a leading space included."""
    original: float
    replaced: float
    edited: float | None = None


class Written(_Frozen):
    """What was written after a prompt, each way."""

    prompt: str
    original: str
    """The continuation; the prompt is left out."""
    replaced: str
    edited: str | None
    """None where no program was edited."""
    top_tokens: list[NextToken]
    """Those likeliest to come after the prompt, by the original's probability."""


class Effect(_Frozen):
    """Perplexities on the same texts; changes are relative, 0.05 is 5 %, with 95 % intervals."""

    texts: int
    tokens: int
    """Tokens predicted."""
    original: float
    replaced: float
    edited: float | None = None
    increase: float
    """Of the replaced model over the original."""
    increase_ci95: Interval
    edited_increase: float | None = None
    """Of the edited model over the original."""
    edited_increase_ci95: Interval | None = None
    edit_change: float | None = None
    """Of the edited model over the replaced one: what the edit does."""
    edit_change_ci95: Interval | None = None


def parse_edits(said: Sequence[str]) -> list[tuple[Head, Path]]:
    """Read edits such as "L5H3=FILE"; raises HeadscriptError for what does not read so."""
    found = []
    for edit in said:
        head, equals, file = edit.partition("=")
        if not equals or not file.strip():
            raise HeadscriptError(
                f"{edit!r} does not say which program to take; write it like L5H3=program.py."
            )
        found.append((Head.parse(head), Path(file.strip()).expanduser()))
    return found


class Comparison:
    """A run's model as it is, with heads replaced and, where there are edits, with these."""

    def __init__(
        self,
        run: Run,
        replace: float = 0.25,
        *,
        edits: Sequence[tuple[Head, Path]] | Mapping[Head, Path] = (),
        version: str | None = None,
        order: str | None = None,
        model: str | Path | Model | None = None,
        allow_inconsistent: bool = False,
        on_event: Listener = ignore,
    ) -> None:
        """Load the model and the programs.

        `replace` is the share of the model's heads that the programs of `version` take the place
        of, those first that `order` puts first (see `headscript.assignment`). `edits` are program
        files; what they are compared with is the same heads with the run's own programs. `model`
        says where the run's model is, or is that model, where its own name does not lead there.

        Raises HeadscriptError for a fraction outside 0 to 1, an unknown version, order or head, a
        head edited twice, a program that the gate refuses or that is not prefix-consistent, an
        encoder, and another model than the run's.
        """
        if not run.model.causal:
            raise HeadscriptError(
                f"{run.model.name} is an encoder, which writes no text; 'headscript score' scores "
                "its programs."
            )
        self.version = run.versions()[-1] if version is None else version
        """Of the run's programs."""
        self.order = order or default_order(run, self.version)
        """Which heads were replaced first: "cost", "tuning" or "iou"."""
        edited = assign(run, replace, version=self.version, order=self.order, edits=edits)
        self.edits: dict[Head, Path] = dict(edits)
        """Heads with a program that was edited by hand, and its file."""
        files = {head: run.program_file(head, self.version) for head in self.edits}
        own = {head: program for head, program in edited.items() if head not in self.edits}
        own |= {head: load_program(file) for head, file in files.items() if file.is_file()}
        self.fraction = replace
        self.heads = sorted(own)
        """Those replaced by the run's own programs."""
        self.prefix_consistent = all(p.prefix_consistent for p in (*own.values(), *edited.values()))
        """Whether no program looks ahead; where one does, nothing here is a prediction."""
        if not isinstance(model, Model):
            model = load_model(model or run.model_name, on_event=on_event)
        check_model(run, model)
        self._run, self.model = run, model
        self._ways: dict[str, Replacement | None] = {
            ORIGINAL: None,
            REPLACED: Replacement(model, own, allow_inconsistent),
        }
        if self.edits:
            self._ways[EDITED] = Replacement(model, edited, allow_inconsistent)

    def as_json(self, written: Written, effect: Effect) -> dict[str, Any]:
        """All that was found out, ready for JSON."""
        texts = written.model_dump(mode="json")
        top_tokens = texts.pop("top_tokens")
        return {
            **texts,
            "heads": len(self.heads),
            "fraction": self.fraction,
            "programs": self.version,
            "order": self.order,
            "replaced_heads": [str(head) for head in self.heads],
            "edited_heads": {str(head): str(file) for head, file in self.edits.items()},
            "prefix_consistent": self.prefix_consistent,
            "perplexity": effect.model_dump(mode="json"),
            "top_tokens": top_tokens,
        }

    @property
    def ways(self) -> list[str]:
        """The ways the model is run."""
        return list(self._ways)

    def write(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 60,
        temperature: float | None = None,
        seed: int = 0,
        on_text: OnText = lambda way, text: None,
    ) -> Written:
        """Go on from a prompt, a token each way in turn, until each text ends or is long enough.

        The likeliest token is taken or, with a `temperature`, one is drawn; all ways draw with the
        same seed. Raises HeadscriptError for a prompt that is empty, or that with the new tokens is
        longer than the model takes.
        """
        ids = self._prompt_ids(prompt, max_new_tokens)
        with self._open() as switch:
            writers = {
                way: _Writer(self.model, ids, temperature, seed, switch, source)
                for way, source in self._ways.items()
            }
            for _ in range(max_new_tokens):
                for way, writer in writers.items():
                    if not writer.done:
                        writer.step()
                        on_text(way, writer.text.rstrip("\ufffd"))
        texts = {way: writer.text for way, writer in writers.items()}
        return Written(
            prompt=prompt,
            original=texts[ORIGINAL],
            replaced=texts[REPLACED],
            edited=texts.get(EDITED),
            top_tokens=self._top_tokens({way: w.expected for way, w in writers.items()}),
        )

    def effect(
        self,
        documents: Sequence[Document] | None = None,
        *,
        max_texts: int | None = None,
        max_tokens: int | None = None,
        on_event: Listener = ignore,
    ) -> Effect:
        """Perplexity each way on texts; None takes the run's test texts.

        `max_tokens` None takes that of the run. Intervals are by bootstrap over texts. Raises
        HeadscriptError where no text has two tokens.
        """
        texts = self._texts(documents, max_texts, max_tokens)
        surprise = {way: torch.zeros(len(texts), dtype=torch.float64) for way in self._ways}
        with self._open() as switch, torch.no_grad():
            for number, ids in enumerate(texts):
                row = torch.tensor([ids], device=self.model.device)
                for way, source in self._ways.items():
                    switch.source = source
                    logits = self.model.network(row, use_cache=False).logits[0, :-1].float()
                    surprise[way][number] = torch.nn.functional.cross_entropy(
                        logits, row[0, 1:].to(logits.device), reduction="sum"
                    )
                on_event(Event("measuring", number + 1, len(texts)))
        return _effect(surprise, [len(ids) - 1 for ids in texts], self._run.config.seed)

    @contextmanager
    def _open(self) -> Iterator[Switch]:
        switch = Switch()
        with mixing(self.model.network, switch):
            yield switch

    def _prompt_ids(self, prompt: str, max_new_tokens: int) -> list[int]:
        if not prompt.strip():
            raise HeadscriptError("The prompt is empty; give the model some text to go on from.")
        ids = self.model.encode(prompt)
        if len(ids) + max_new_tokens > self.model.max_tokens:
            raise HeadscriptError(
                f"The prompt has {len(ids)} tokens, and with {max_new_tokens} new ones that is "
                f"longer than the {self.model.max_tokens} that {self.model.name} takes; shorten it "
                "or write fewer."
            )
        return ids

    def _texts(
        self, documents: Sequence[Document] | None, max_texts: int | None, max_tokens: int | None
    ) -> list[list[int]]:
        longest = min(
            max_tokens or self._run.config.max_tokens or self.model.max_tokens,
            self.model.max_tokens,
        )
        if documents is None:
            found = [list(text.token_ids[:longest]) for text in self._run.texts("test")]
        else:
            found = [self.model.encode(document.text, longest) for document in documents]
        found = [ids for ids in found[:max_texts] if len(ids) > 1]
        if not found:
            raise HeadscriptError(
                "No text has two tokens or more, so there is nothing to predict; give longer texts."
            )
        return found

    def _top_tokens(self, expected: Mapping[str, Tensor]) -> list[NextToken]:
        """The likeliest of each way, with their probabilities in all."""
        likeliest = {int(token) for p in expected.values() for token in p.topk(_TOP).indices}
        by_original = sorted(likeliest, key=lambda token: -float(expected[ORIGINAL][token]))
        return [
            NextToken(token=surface, **{way: float(p[token]) for way, p in expected.items()})
            for token, surface in zip(
                by_original, token_surfaces(self.model.tokenizer, by_original), strict=True
            )
        ]


class _Writer:
    """One text that grows token by token."""

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        temperature: float | None,
        seed: int,
        switch: Switch,
        source: Replacement | None,
    ) -> None:
        self._model, self._switch, self._source = model, switch, source
        self._temperature = temperature
        self._draw = torch.Generator().manual_seed(seed)
        self._ids, self._start = list(prompt), len(prompt)
        self._cache: Any = None
        self._ends = _ends_of(model)
        self.done = False
        self.expected = torch.zeros(0)
        """(vocabulary,) the probability of each token to come after the prompt."""

    @torch.no_grad()
    def step(self) -> None:
        """Write one more token."""
        self._switch.source = self._source
        known = 0 if self._cache is None else len(self._ids) - 1
        row = torch.tensor([self._ids[known:]], device=self._model.device)
        result = self._model.network(row, past_key_values=self._cache, use_cache=True)
        self._cache = getattr(result, "past_key_values", None)
        logits = result.logits[0, -1].float().cpu()
        if len(self._ids) == self._start:
            self.expected = logits.softmax(-1)
        if self._temperature is None:
            token = int(logits.argmax())
        else:
            chances = (logits / self._temperature).softmax(-1)
            token = int(torch.multinomial(chances, 1, generator=self._draw))
        self._ids.append(token)
        self.done = token in self._ends

    @property
    def text(self) -> str:
        """What was written after the prompt."""
        # Decoded with the prompt: some tokenizers drop a space that opens a text.
        before, whole = (
            str(self._model.tokenizer.decode(ids, skip_special_tokens=True))
            for ids in (self._ids[: self._start], self._ids)
        )
        return whole.removeprefix(before)


def _ends_of(model: Model) -> set[int]:
    """The tokens that end a text."""
    config = getattr(model.network, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    ends = model.tokenizer.eos_token_id if ends is None else ends
    return set(ends) if isinstance(ends, list | tuple) else {ends}


def _effect(surprise: Mapping[str, Tensor], tokens: Sequence[int], seed: int) -> Effect:
    """Perplexities of sums over texts, in nats, of the surprise at so many tokens of each."""
    predicted = np.asarray(tokens, dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(
        len(tokens), [1 / len(tokens)] * len(tokens), _RESAMPLES
    )
    weights = np.concatenate([np.ones((1, len(tokens))), drawn])  # the texts, then resamples
    means = {
        way: (weights @ sums.numpy()) / (weights @ predicted) for way, sums in surprise.items()
    }

    def change(way: str, over: str) -> tuple[float, Interval]:
        found = np.expm1(np.minimum(means[way] - means[over], _LARGEST))
        low, high = np.quantile(found[1:], [0.025, 0.975])
        return float(found[0]), (float(low), float(high))

    found: dict[str, Any] = {"texts": len(tokens), "tokens": int(predicted.sum())}
    found |= {way: float(np.exp(min(mean[0], _LARGEST))) for way, mean in means.items()}
    found["increase"], found["increase_ci95"] = change(REPLACED, ORIGINAL)
    if EDITED in surprise:
        found["edited_increase"], found["edited_increase_ci95"] = change(EDITED, ORIGINAL)
        found["edit_change"], found["edit_change_ci95"] = change(EDITED, REPLACED)
    return Effect(**found)

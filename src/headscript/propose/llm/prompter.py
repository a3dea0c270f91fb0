"""Prompts for the heads of a run: its fit texts, their recording, and nothing of other splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from headscript.explainers.requests import Message
from headscript.heads import Head
from headscript.language import Text
from headscript.programs.program import Program
from headscript.propose.llm.prompt import MAX_TERMS, first_prompt, refinement_prompt, standing
from headscript.propose.llm.summary import SUMMARY_TOKENS, summarise
from headscript.recorded import Recorded
from headscript.recording import Recording
from headscript.runs import Run


class Prompter:
    """Writes prompts about heads from their patterns on the fit texts.

    `texts` and `recording` are those of the fit split; `number` is how many programs a prompt asks
    for, `budget_tokens` what its summary may cost.
    """

    def __init__(
        self,
        texts: Sequence[Text],
        recording: Recording,
        *,
        num_layers: int,
        number: int,
        budget_tokens: int = SUMMARY_TOKENS,
        max_terms: int = MAX_TERMS,
        seed: int = 0,
    ) -> None:
        self.texts = texts
        self.recording = recording
        self.num_layers = num_layers
        self.number = number
        self.budget_tokens = budget_tokens
        self.max_terms = max_terms
        self.seed = seed
        self._layer: tuple[int, list[Tensor]] | None = None

    @classmethod
    def of_run(cls, run: Run, *, number: int = 4, budget_tokens: int = SUMMARY_TOKENS) -> Self:
        """The prompter of a run whose texts are recorded; raises HeadscriptError otherwise."""
        fit = Recorded(run).split("fit")
        return cls(
            fit.texts,
            fit.recording,
            num_layers=len(run.model.heads_per_layer),
            number=number,
            budget_tokens=budget_tokens,
            max_terms=run.config.max_terms,
            seed=run.config.seed,
        )

    def patterns(self, head: Head) -> list[Tensor]:
        """The head's patterns on the fit texts, packed (cells,) a text."""
        if self._layer is None or self._layer[0] != head.layer:  # heads come layer by layer
            self._layer = (head.layer, self.recording.layer(head.layer))
        place = self.recording.heads_of(head.layer).index(head)
        return [cells[place] for cells in self._layer[1]]

    def first(self, head: Head, current: Program | None = None) -> tuple[Message, ...]:
        """Ask for programs for a head; `current` is the best program there is."""
        patterns = self.patterns(head)
        summary = summarise(self.texts, patterns, budget_tokens=self.budget_tokens, seed=self.seed)
        return first_prompt(
            head,
            summary,
            causal=self.recording.causal,
            num_layers=self.num_layers,
            number=self.number,
            max_terms=self.max_terms,
            current=None if current is None else standing(current, self.texts, patterns),
        )

    def refined(
        self,
        head: Head,
        before: Sequence[Message],
        answer: str,
        tries: Sequence[str],
        best: Program | None,
    ) -> tuple[Message, ...]:
        """Ask for better programs after an answer; `best` is the best of its programs, if any."""
        told = None
        if best is not None:
            told = standing(best, self.texts, self.patterns(head), worst=2, best=1)
        return refinement_prompt(before, answer, tries, number=self.number, best=told)

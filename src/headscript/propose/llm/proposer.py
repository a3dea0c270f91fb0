"""The rounds of the `llm` proposer: prompts out, answers in, programs read, tried, and shown again.

    RUN/candidates/llm-0/answers.json      what was answered for each head in the first round
    RUN/candidates/llm-0/L05.json          its programs, each with what became of it

Answers are also kept in a store that all runs share, under the hash of model, parameters and
messages, so that no prompt is paid for twice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headscript.errors import HeadscriptError
from headscript.events import Event
from headscript.explainers.answering import Explainer
from headscript.explainers.asking import ask
from headscript.explainers.batch import BatchFolder
from headscript.explainers.opening import open_explainer
from headscript.explainers.requests import Answer, Failure, FailureKind, Message, Request
from headscript.explainers.requests import Outcome as Asked
from headscript.explainers.settings import ExplainerSettings
from headscript.explainers.store import Store
from headscript.heads import Head
from headscript.models.cache import cache_folder
from headscript.programs.program import Program
from headscript.propose.awaiting import AnswersAwaited
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.judging import FOLDER, judged_file, read_candidates
from headscript.propose.llm.answers import read_answer
from headscript.propose.llm.prompter import Prompter
from headscript.propose.proposer import Work
from headscript.runs import Run

_SHOWN_ANSWER = 12_000  # characters of an answer that the next prompt repeats


@dataclass
class LanguageModelProposer:
    """Asks a language model for programs, in rounds."""

    settings: ExplainerSettings
    number: int
    """Programs asked for in one prompt."""
    rounds: int
    """How often it asks again, after the first time."""
    prompt_tokens: int
    """What the summary of a head may cost in a prompt."""
    store: Path = field(default_factory=lambda: store_file())
    name: str = "llm"
    _prompts: dict[Head, tuple[Message, ...]] = field(default_factory=dict, repr=False)

    def open(self) -> Explainer:
        """Open the explainer; raises HeadscriptError where it is unknown or its key is missing."""
        return open_explainer(self.settings.explainer)

    def propose(self, work: Work) -> None:
        """See `Proposer`. Raises AnswersAwaited where a batch has prompts without answers."""
        names = [f"{self.name}-{number}" for number in range(self.rounds + 1)]
        if all(work.judged(name) for name in names):
            return
        explainer = self.open()
        prompter = Prompter(
            work.texts,
            work.recording,
            num_layers=len(work.run.model.heads_per_layer),
            number=self.number,
            budget_tokens=self.prompt_tokens,
            max_terms=work.run.config.max_terms,
            seed=work.run.config.seed,
        )
        self._prompts = {}
        for number, name in enumerate(names):
            answers = _read_answers(work.run, name)
            if answers is None:
                answers = self._ask(work, prompter, explainer, names[:number])
                _write_answers(work.run, name, answers)
            if not work.judged(name):
                most = work.run.config.max_terms
                found = {head: self._candidates(head, each, most) for head, each in answers.items()}
                work.judge(name, found)

    def report(self, run: Run) -> dict[str, Any]:
        """Requests, tokens and cost, those of answers that were kept from before among them."""
        found = [
            each
            for number in range(self.rounds + 1)
            for each in (_read_answers(run, f"{self.name}-{number}") or {}).values()
        ]
        answered = [each for each in found if isinstance(each, Answer)]
        failures = Counter(str(each.kind) for each in found if isinstance(each, Failure))
        paid = [each for each in found if isinstance(each, Answer) or each.output_tokens]
        known = bool(paid) and all(each.cost is not None for each in paid)
        return {
            "asked_for": self.number * len(found),
            "requests": len(found),
            "answers": len(answered),
            "failures": dict(sorted(failures.items())),
            "input_tokens": _total(each.input_tokens for each in found),
            "output_tokens": _total(each.output_tokens for each in found),
            "cost": sum(each.cost or 0.0 for each in found) if known else None,
        }

    # Asking --------------------------------------------------------------------------------------

    def _ask(
        self, work: Work, prompter: Prompter, explainer: Explainer, before: Sequence[str]
    ) -> dict[Head, Asked]:
        prompts = self._prompts_of(work, prompter, before)
        requests = [
            Request(messages, self.settings.max_tokens, self.settings.temperature)
            for messages in prompts.values()
        ]
        with Store(self.store, run=str(work.run.directory.resolve())) as store:
            asked = ask(
                explainer,
                requests,
                store,
                self.settings.the_budget(),
                price=self.settings.the_price(explainer.name),
                patience=self.settings.patience(),
                on_event=lambda event: work.on_event(_quieter(event)),
            )
        waiting = sum(
            isinstance(each, Failure) and each.kind is FailureKind.WAITING for each in asked
        )
        if waiting:
            folder = explainer.folder if isinstance(explainer, BatchFolder) else None
            raise AnswersAwaited(folder, waiting, len(asked))
        return dict(zip(prompts, asked, strict=True))

    def _prompts_of(
        self, work: Work, prompter: Prompter, before: Sequence[str]
    ) -> dict[Head, tuple[Message, ...]]:
        """The prompts of a round, by head; in later rounds of those that were answered."""
        number = len(before)
        if number == 0:
            prompts = {
                head: prompter.first(head, work.current.get(head)) for head in work.recording.heads
            }
        else:
            earlier = self._prompts or self._prompts_of(work, prompter, before[:-1])
            answers = _read_answers(work.run, before[-1]) or {}
            prompts = {}
            for layer in work.recording.layers:
                tried = [
                    candidate
                    for name in before
                    for candidate in read_candidates(work.run, judged_file(name, layer))
                ]
                newest = read_candidates(work.run, judged_file(before[-1], layer))
                for head in work.recording.heads_of(layer):
                    answer = answers.get(head)
                    if head in earlier and isinstance(answer, Answer):
                        prompts[head] = prompter.refined(
                            head,
                            earlier[head],
                            answer.text[:_SHOWN_ANSWER],
                            [told(each) for each in newest if each.head == head],
                            _best([each for each in tried if each.head == head]),
                        )
        self._prompts = prompts
        return prompts

    # Reading -------------------------------------------------------------------------------------

    def _candidates(self, head: Head, asked: Asked, max_terms: int) -> list[Candidate]:
        if isinstance(asked, Failure):
            reason = f"{asked.kind}: {asked.message}"
            return [Candidate(head, self.name, Outcome.NO_ANSWER, reason=reason)]
        found = []
        for reading in read_answer(asked.text, cut_off=asked.finish_reason == "length"):
            outcome, reason = reading.outcome, reading.reason
            if reading.program is not None and reading.program.terms > max_terms:
                outcome = Outcome.REFUSED
                reason = f"It has {reading.program.terms} constants; at most {max_terms} may be."
            found.append(
                Candidate(
                    head,
                    self.name,
                    outcome,
                    reading.source,
                    reason=reason,
                    repairs=reading.repairs,
                )
            )
        return found


def _quieter(event: Event) -> Event:
    """A word before the first request and after the last, not after each."""
    return replace(event, message="") if 0 < event.done < event.total else event


def told(candidate: Candidate) -> str:
    """What became of a candidate, as the next prompt tells it."""
    if candidate.outcome is Outcome.FREE_FORM:
        return "It is not in the program language: write attend(text, ...)."
    program = candidate.program()
    if program is None or candidate.fit_iou is None or candidate.proposed_iou is None:
        return f"{str(candidate.outcome).capitalize()}: {candidate.reason}"
    constants = ", ".join(f"{name}={value:g}" for name, value in program.constants.items())
    return (
        f"IoU {candidate.fit_iou:.3f} ({candidate.proposed_iou:.3f} with your constants); "
        f"fitted: {constants}"
    )


def _best(candidates: Sequence[Candidate]) -> Program | None:
    scored = [each for each in candidates if each.outcome is Outcome.OK]
    return max(scored, key=lambda each: each.fit_iou or 0.0).program() if scored else None


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def store_file() -> Path:
    """The store of answers that all runs share: HEADSCRIPT_ANSWERS, or in the user's cache."""
    chosen = os.environ.get("HEADSCRIPT_ANSWERS")
    return Path(chosen).expanduser() if chosen else cache_folder() / "answers.sqlite"


# Answers as a run keeps them ---------------------------------------------------------------------


def _answers_file(name: str) -> str:
    return f"{FOLDER}/{name}/answers.json"


def _write_answers(run: Run, name: str, answers: Mapping[Head, Asked]) -> None:
    found = {}
    for head, asked in answers.items():
        used = {
            "input_tokens": asked.input_tokens,
            "output_tokens": asked.output_tokens,
            "cost": asked.cost,
            "cached": asked.cached,
        }
        if isinstance(asked, Answer):
            found[str(head)] = {"text": asked.text, "finish_reason": asked.finish_reason, **used}
        else:
            found[str(head)] = {"failure": str(asked.kind), "message": asked.message, **used}
    run.write_json(_answers_file(name), found)


def _read_answers(run: Run, name: str) -> dict[Head, Asked] | None:
    """What was answered, by head; None where the round was not asked to its end.

    Raises HeadscriptError where the file is damaged.
    """
    if not run.has(_answers_file(name)):
        return None
    try:
        found = run.read_json(_answers_file(name)).items()
        return {Head.parse(head): _asked(dict(row)) for head, row in found}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HeadscriptError(
            f"{run.directory / _answers_file(name)} is damaged; delete the folder {FOLDER}/ of the "
            "run and start it again."
        ) from error


def _asked(row: dict[str, Any]) -> Asked:
    if "failure" in row:
        return Failure(FailureKind(row.pop("failure")), row.pop("message"), **row)
    return Answer(row.pop("text"), **row)

"""What a run has measured of its programs, as the figures ask for it."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from headscript.costs import known_costs
from headscript.errors import HeadscriptError
from headscript.evaluation.accuracy import Answers, Kept, by_order, qa_file
from headscript.heads import Head
from headscript.records import damaged
from headscript.results import HeadResult
from headscript.runs import FOUND, Run

if TYPE_CHECKING:
    from headscript.evaluation.replacing import ReplacementCurve


class NotMeasured(HeadscriptError):
    """The run has no data for a figure."""

    def __init__(self, why: str, command: str | None) -> None:
        super().__init__(why)
        self.why = why
        self.command = command
        """What would measure it; none where nothing can."""


class Measured:
    """What a finished run has measured of one version of its programs.

    `version` None is the newest that was measured with heads replaced or questions asked; where
    none was, the programs that 'headscript explain' wrote. Raises HeadscriptError for a version
    that there is not and for a run that is not finished.
    """

    def __init__(self, run: Run, version: str | None = None) -> None:
        self.run = run
        if version is None:
            version = next(filter(self._was_measured, reversed(run.versions())), FOUND)
        run.covered_heads(version)
        self.version = version
        self.heads: list[HeadResult] = run.results().heads
        """A row for each head that was explained; its scores are of the programs found."""

    @cached_property
    def curves(self) -> dict[str, ReplacementCurve]:
        """What replacing heads costs, by the name of the texts; raises NotMeasured if unknown."""
        from headscript.evaluation.replacing import ReplacementCurve

        curves = {}
        for file in self._replacements(self.version):
            content = self.run.read_json(str(file.relative_to(self.run.directory)))
            try:
                curves[file.stem] = ReplacementCurve.model_validate(content)
            except ValidationError as error:
                raise HeadscriptError(damaged(file)) from error
        if not curves:
            raise self.missing("what replacing heads costs was not measured", "replace")
        return curves

    @cached_property
    def answers(self) -> list[Answers]:
        """Answers to questions, all in one order of the heads; raises NotMeasured without any.

        Of several orders it is that of most answers, and of these the newest.
        """
        answers = max(by_order(Kept(self.run, self.version)), key=len, default=[])
        if not answers:
            raise self.missing("no questions were asked", "evaluate")
        return answers

    @cached_property
    def ious(self) -> dict[Head, float]:
        """Mean IoU on test texts of each head's program; raises NotMeasured where it is unknown.

        Of a version that was tuned, 'headscript replace' measures it together with the costs; files
        that do not say on how many texts have the IoU of the programs found.
        """
        if self.version == FOUND:
            return {Head(row.layer, row.head): row.iou for row in self.heads if row.status == "ok"}
        for curve in self.curves.values() if self._replacements(self.version) else ():
            if curve.iou_texts is not None:
                return {Head.parse(row.head): row.iou for row in curve.by_head}
        raise self.missing(
            f"the IoU of the programs {self.version!r} was not measured", "replace", "cost"
        )

    @cached_property
    def costs(self) -> dict[Head, float]:
        """KL in nats a token of replacing each head alone; raises NotMeasured where unknown."""
        costs = known_costs(self.run, self.version)
        if not costs:
            raise self.missing("what each head alone costs was not measured", "replace", "cost")
        return costs

    def missing(self, why: str, command: str, orders: str | None = None) -> NotMeasured:
        """The error that says what was not measured, and the command that would."""
        if not self.run.model.causal:
            return NotMeasured(f"{why}: an encoder predicts no next token", None)
        words = ["headscript", command, shlex.quote(str(self.run.directory))]
        if self.version != self.run.versions()[-1]:
            words += ["--programs", shlex.quote(self.version)]
        if orders is not None:
            words += ["--orders", orders]
        return NotMeasured(why, " ".join(words))

    def _was_measured(self, version: str) -> bool:
        return bool(self._replacements(version)) or self.run.has(qa_file(version))

    def _replacements(self, version: str) -> list[Path]:
        return sorted((self.run.directory / "replacement" / version).glob("*.json"))

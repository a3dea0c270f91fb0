"""The steps of a study, in the order in which they are done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from headscript.runs import FOUND

if TYPE_CHECKING:
    from headscript.study.spec import Study

TUNED = "tuned"
"""The version of the programs that a study's tuning makes."""


@dataclass(frozen=True)
class Step:
    """One job of a study."""

    kind: str
    """"explain", "protocol", "domains", "transfer", "replace", "tune", "ask", "figures" or
    "atlas"."""
    model: str
    texts: str
    source: str = ""
    """Of "domains" the texts, of "transfer" the model whose programs are tried."""
    version: str = ""
    """Of the programs, in "replace"."""

    @property
    def name(self) -> str:
        """Words that tell it from all others, also joined (see `file_stem`)."""
        return " ".join(
            filter(None, (self.kind, self.model, self.texts, self.source, self.version))
        )

    def __str__(self) -> str:
        """As a reader would say it."""
        where = f"{self.model} on {self.texts}"
        return {
            "explain": f"explaining {where}",
            "protocol": f"the paper's protocol for {where}",
            "domains": f"programs of {self.model} from {self.source} on {self.texts}",
            "transfer": f"programs of {self.source} for {where}",
            "replace": f"replacing heads of {where}, programs {self.version!r}",
            "tune": f"tuning the programs of {where}",
            "ask": f"asking {where} questions",
            "figures": f"drawing {where}",
            "atlas": f"an atlas of {where}",
        }[self.kind]


def file_stem(name: str) -> str:
    """What the files of a step are called: its name in one word."""
    return name.replace(" ", "-")


def steps_of(study: Study) -> list[Step]:
    """All steps; what a step needs comes before it, and what tells most comes first."""
    return [
        *_explaining(study),
        *_crossing(study),
        *_causal(study),
        *(
            Step(kind, model.name, texts.name)
            for kind in ("figures", "atlas")
            for model in study.models
            for texts in study.texts
        ),
    ]


def _explaining(study: Study) -> Iterator[Step]:
    for texts in study.texts:
        for model in study.models:
            yield Step("explain", model.name, texts.name)


def _crossing(study: Study) -> Iterator[Step]:
    for texts in study.texts:
        for model in study.models:
            yield Step("protocol", model.name, texts.name)
    for model in study.models:
        for source, target in permutations([texts.name for texts in study.texts], 2):
            yield Step("domains", model.name, target, source)
    for texts in study.texts:
        for source, target in permutations([model.name for model in study.models], 2):
            yield Step("transfer", target, texts.name, source)


def _causal(study: Study) -> Iterator[Step]:
    decoders = [model for model in study.models if model.causal]
    for model in decoders:
        for texts in study.replace.texts:
            yield Step("replace", model.name, texts, version=FOUND)
    for model in decoders:
        for texts in study.tune.texts:
            yield Step("tune", model.name, texts)
            if texts in study.replace.texts:
                yield Step("replace", model.name, texts, version=TUNED)
    for model in decoders:
        for texts in study.ask.texts:
            yield Step("ask", model.name, texts)

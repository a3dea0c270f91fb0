"""What 'headscript tune' writes down of a version of a run's programs, and what it then refuses.

RUN/versions/NAME/begun.json               what was asked for, and what the fit was begun from
RUN/versions/NAME/version.json             what the fit was worth; with it the version is whole
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headscript.assignment import head_count
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.programs.program import Program
from headscript.records import Maker, damaged
from headscript.runs import FOUND, Run

_BASELINES = ("intended", "uniform", "zero")  # what else stands in the column of versions

_Record = TypeVar("_Record", bound=BaseModel)

DType = Literal["auto", "float32", "bfloat16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TuneSettings(_Frozen):
    """What a person asked for."""

    objective: Literal["kl"] = "kl"
    """What the constants are fitted to: the original's next-token distribution."""
    start: str = FOUND
    """The version of the programs to start from."""
    texts: str | None = None
    """Name or path of the texts; none means the run's fit texts."""
    field: str = "text"
    """Field of a row that holds its text, in .jsonl and .parquet files."""
    max_texts: int | None = None
    """How many texts are taken at most."""
    max_tokens: int | None = None
    """How many tokens of each text are taken at most; none means as many as in the run."""
    stages: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Fractions of heads that are replaced, stage by stage."""
    order: str | None = None
    """Which heads are replaced first; none is as in `headscript.assignment.ranking`."""
    steps: int = 600
    """Steps of the fit."""
    step_tokens: int = 768
    """Tokens of a step."""
    rate: float = 0.03
    """Rate of Adam."""
    keep: float = 0.0
    """Strength of the term that keeps the programs true to the patterns of their heads."""
    terms: float | None = None
    """Constants that a program keeps at most, in the mean and in the median over heads; none means
    all."""
    dtype: DType = "auto"
    """Precision of the model while its programs are tuned."""
    seed: int = 0
    """Seed of what is drawn."""


class Begun(_Frozen):
    """The contents of begun.json: all that a fit which goes on must not find changed."""

    settings: TuneSettings
    order: tuple[str, ...]
    """The heads, first replaced first."""
    programs: dict[str, str]
    """By head, the key of the program to start from."""
    texts: str
    """SHA-256 of the token ids to tune on."""


class Judgement(_Frozen):
    """What a version is worth on the select texts."""

    kl: dict[str, float]
    """KL(original || replaced) in nats a token, by fraction of heads replaced."""
    perplexity_increase: dict[str, float]
    """0.05 is 5 %."""
    iou: float
    """Mean over heads and texts of the programs' IoU with their heads."""


class VersionRecord(_Frozen):
    """The contents of version.json."""

    settings: TuneSettings
    made_with: Maker
    texts: int
    """Texts the constants were fitted on."""
    set_aside: int
    """Texts that were left out because they share much with the run's select or test texts."""
    order: tuple[str, ...]
    """The heads, first replaced first."""
    before: Judgement
    after: Judgement
    losses: tuple[float, ...]
    """KL of the steps, in nats a token, mean over twenty steps each."""
    seconds: float
    made: str | None = None
    """When it was done, in UTC; none where that was not kept yet."""


def check(name: str, settings: TuneSettings) -> None:
    """Raise HeadscriptError for a name that no version may have, and for senseless stages."""
    if not name.isidentifier() and not name.replace("-", "_").isidentifier():
        raise HeadscriptError(f"{name!r} cannot name a version: use letters, digits, - and _.")
    if name == FOUND:
        raise HeadscriptError(f"{FOUND!r} names the programs that explain wrote; choose another.")
    if name in _BASELINES:
        raise HeadscriptError(f"{name!r} names a baseline of 'headscript replace'; choose another.")
    for fraction in settings.stages:
        head_count(fraction, 1)
    if not settings.stages or list(settings.stages) != sorted(set(settings.stages)):
        raise HeadscriptError("Stages are fractions of heads that grow, such as 0.25,0.5,1.")
    if settings.stages[0] <= 0:
        raise HeadscriptError("A stage of no heads has nothing to tune; leave out the fraction 0.")


def refuse_other_settings(name: str, begun: TuneSettings, asked: TuneSettings) -> None:
    """Raise HeadscriptError where a version was begun with other settings than are asked for."""
    different = [
        f"{field} was {getattr(begun, field)!r} and is now {getattr(asked, field)!r}"
        for field in TuneSettings.model_fields
        if getattr(begun, field) != getattr(asked, field)
    ]
    if different:
        raise HeadscriptError(
            f"The version {name!r} was begun with other settings ({'; '.join(different)}); choose "
            "another --name."
        )


def keys_of(programs: Mapping[Head, Program]) -> dict[str, str]:
    """By name of the head, the key of its program."""
    return {str(head): program.key for head, program in programs.items()}


def refuse_other_programs(name: str, begun: Begun, programs: Mapping[Head, Program]) -> None:
    """Raise HeadscriptError where these are not the programs that a version was begun from."""
    keys = keys_of(programs)
    different = sorted(
        head for head in begun.programs | keys if begun.programs.get(head) != keys.get(head)
    )
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise HeadscriptError(
            f"The programs {begun.settings.start!r} are not those that the version {name!r} was "
            f"begun from (different: {', '.join(different[:3])}{more}); undo the edit, or choose "
            "another --name."
        )


def read_record(run: Run, path: str, kind: type[_Record]) -> _Record:
    """What stands in a file of the run; raises HeadscriptError where it is damaged."""
    try:
        return kind.model_validate(run.read_json(path))
    except ValidationError as error:
        raise HeadscriptError(damaged(run.directory / path)) from error

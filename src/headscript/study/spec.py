"""What a study asks for: the contents of its file, and the studies that come with headscript.

A study file is TOML. Its tables are the fields of `Study`; `docs/study.md` describes them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headscript.errors import HeadscriptError
from headscript.study.steps import Step, file_stem, steps_of

SHIPPED = ("small", "paper")
"""Studies that come with headscript."""

DATA = "{data}"
"""What stands in a study file for the folder that `--data` names."""

_QUICK = "quick"
_NAMED = ("models", "texts")  # tables of which quick settings change some by their names


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StudyModel(_Frozen):
    """A model to study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """What the study calls it, also in names of folders."""
    source: str
    """Built-in name, folder, .gguf file or hub id."""
    heads: str = "all"
    """The heads to explain."""
    causal: bool = True
    """Whether it is a decoder; an encoder has no perplexity."""
    optional: bool = False
    """Whether the study goes on without it where its folder is not there."""
    parameters: float
    """How many it has; for the plan, which is made before anything is loaded."""
    layers: int
    """For the plan."""
    heads_per_layer: int
    """For the plan."""
    download: float = 0.0
    """Bytes to download, where they are not here yet; for the plan."""


class StudyTexts(_Frozen):
    """A domain of texts."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """What the study calls it."""
    source: str
    """As for `headscript explain --texts`."""
    field: str = "text"
    max_texts: int
    max_tokens: int
    mean_tokens: int
    """About how many tokens are left of a text; for the plan."""


class Explaining(_Frozen):
    """How programs are found, as for `headscript explain`."""

    proposers: tuple[str, ...] = ("search",)
    max_terms: int = 24
    term_price: float = 0.0015
    fit_cells: int = 60_000
    library: str | None = None
    explainer: str | None = None
    """The language model of the proposer "llm"."""
    candidates: int = 4
    rounds: int = 1
    budget: str | None = None
    """The most that one run may spend on the explainer."""


class Tuning(_Frozen):
    """Constants fitted through the model, as by `headscript tune`; of runs on these texts."""

    texts: tuple[str, ...] = ()
    steps: int = 120
    step_tokens: int = 768
    stages: tuple[float, ...] = (0.25, 1.0)
    keep: float = 0.0


class Replacing(_Frozen):
    """Perplexity with heads replaced, as by `headscript replace`; of runs on these texts."""

    texts: tuple[str, ...] = ()
    fractions: tuple[float, ...] = (0.0, 0.05, 0.25, 0.5, 1.0)
    baseline_fractions: tuple[float, ...] = (0.05, 0.25)
    orders: tuple[str, ...] = ("cost", "iou")
    cost_tokens: int = 750


class Asking(_Frozen):
    """Questions with heads replaced, as by `headscript evaluate`; of runs on these texts."""

    texts: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("hellaswag", "piqa", "sciq", "arc_easy", "social_iqa", "copa")
    limit: int = 200
    fractions: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    data: str | None = None
    """Folder with the questions; none fetches them from the hub."""
    optional: bool = False
    """Whether the study goes on without questions where that folder is not there."""


class Study(_Frozen):
    """All that a study asks for."""

    title: str
    seed: int = 0
    models: tuple[StudyModel, ...] = Field(min_length=1)
    texts: tuple[StudyTexts, ...] = Field(min_length=1)
    sentences: tuple[str, ...] = Field(min_length=1)
    """The short sentences of the paper's protocol: programs are chosen and reported on them."""
    explain: Explaining = Explaining()
    tune: Tuning = Tuning()
    replace: Replacing = Replacing()
    ask: Asking = Asking()

    def model(self, name: str) -> StudyModel:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)

    def domain(self, name: str) -> StudyTexts:
        """The texts of that name."""
        return next(texts for texts in self.texts if texts.name == name)


@dataclass(frozen=True)
class Opened:
    """A study as it can be done here."""

    study: Study
    left_out: dict[str, str] = field(default_factory=dict)
    """What the study asks for and this machine has not, and why it is left out."""


def open_study(
    name_or_file: str | Path,
    *,
    models: Sequence[str] | None = None,
    data: str | Path | None = None,
    quick: bool = False,
) -> Opened:
    """Read a study: one of SHIPPED by its name, or a .toml file.

    `models` keeps those of these names alone; `data` is the folder that `{data}` means; `quick`
    takes the smaller settings of the study's table [quick]. Optional parts whose folder is not
    there are left out.

    Raises HeadscriptError where there is no such study, the file cannot be read or says something
    that is not understood, a model is not in it, `quick` is asked of a study that has no such
    settings, or nothing is left to do.
    """
    where, found = _read(name_or_file)
    smaller = found.pop(_QUICK, None)
    if quick:
        if smaller is None:
            raise HeadscriptError(f"The study {where} has no table [quick].")
        found = _with_smaller(found, smaller)
    study = _checked(where, found)
    if models is not None:
        study = _only(study, models, where)
    base = None if str(name_or_file) in SHIPPED else Path(name_or_file).expanduser().parent
    return _as_it_can_be_done(study, data, base)


def _read(name_or_file: str | Path) -> tuple[str, dict[str, Any]]:
    name = str(name_or_file)
    if name in SHIPPED:
        text = (files("headscript.study.shipped") / f"{name}.toml").read_text(encoding="utf-8")
        return name, tomllib.loads(text)
    file = Path(name_or_file).expanduser()
    if not file.is_file():
        close = difflib.get_close_matches(name, SHIPPED, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"give {' or '.join(SHIPPED)}, or a file"
        raise HeadscriptError(f"There is no study {name!r}; {hint.rstrip('.')}.")
    try:
        return name, tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeadscriptError(f"The study {file} cannot be read: {error}.") from error


def _checked(where: str, found: Mapping[str, Any]) -> Study:
    try:
        study = Study.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HeadscriptError(
            f"The study {where} is not understood at {place}: {first['msg']}."
        ) from error
    for what, names in (
        ("models", [model.name for model in study.models]),
        ("texts", [texts.name for texts in study.texts]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise HeadscriptError(f"The study {where} has two {what} named {twice!r}.")
    known = {texts.name for texts in study.texts}
    for job in (study.tune, study.replace, study.ask):
        for name in job.texts:
            if name not in known:
                raise HeadscriptError(f"The study {where} names texts {name!r} that it has not.")
    _refuse_colliding_steps(where, study)
    return study


def _refuse_colliding_steps(where: str, study: Study) -> None:
    """Files of steps, figures and atlases are named by models and texts, with - between them."""
    known: dict[str, Step] = {}
    for step in steps_of(study):
        other = known.setdefault(file_stem(step.name), step)
        if other is not step:
            raise HeadscriptError(
                f"The study {where} would call two steps {file_stem(step.name)}: {other}, and "
                f"{step}; give its models or texts other names."
            )


def _with_smaller(found: dict[str, Any], smaller: Mapping[str, Any]) -> dict[str, Any]:
    """The study with what its quick settings change; of models and texts those they name stay."""
    changed = dict(found)
    for name, value in smaller.items():
        if name in _NAMED:
            by_name = {one["name"]: one for one in found.get(name, ())}
            changed[name] = [{**by_name.get(one["name"], {}), **one} for one in value]
        elif isinstance(value, Mapping):
            changed[name] = {**found.get(name, {}), **value}
        else:
            changed[name] = value
    return changed


def _only(study: Study, names: Sequence[str], where: str) -> Study:
    known = [model.name for model in study.models]
    for name in names:
        if name not in known:
            raise HeadscriptError(
                f"The study {where} has no model {name!r}; it has {', '.join(known)}."
            )
    return study.model_copy(
        update={"models": tuple(model for model in study.models if model.name in names)}
    )


def _as_it_can_be_done(study: Study, data: str | Path | None, base: Path | None) -> Opened:
    """The study with its paths filled in, without optional parts that are not here."""
    left_out: dict[str, str] = {}
    models = []
    for model in study.models:
        source = _place(model.source, data, base)
        if source is None or (model.optional and not Path(source).exists()):
            why = (
                "its folder is not here; name it with --data"
                if source is None
                else (f"there is no {source}")
            )
            if not model.optional:
                raise HeadscriptError(f"The model {model.name} is in {model.source}: {why}.")
            left_out[model.name] = why
            continue
        models.append(model.model_copy(update={"source": source}))
    if not models:
        raise HeadscriptError("None of the study's models is here; name their folder with --data.")
    texts = []
    for domain in study.texts:
        source = _place(domain.source, data, base)
        if source is None:
            raise HeadscriptError(
                f"The texts {domain.name} are in {domain.source}; name that folder with --data."
            )
        texts.append(domain.model_copy(update={"source": source}))
    ask = study.ask
    if ask.texts and ask.data is not None:
        folder = _place(ask.data, data, base)
        if folder is None or not Path(folder).is_dir():
            why = f"there is no folder {folder or ask.data}; name it with --data"
            if not ask.optional:
                raise HeadscriptError(f"The questions of the study are not here: {why}.")
            left_out["questions"] = why
            ask = ask.model_copy(update={"texts": (), "data": None})
        else:
            ask = ask.model_copy(update={"data": folder})
    return Opened(
        study.model_copy(update={"models": tuple(models), "texts": tuple(texts), "ask": ask}),
        left_out,
    )


def _place(source: str, data: str | Path | None, base: Path | None) -> str | None:
    """A source with the data folder in its place; None where that is not known.

    A relative path in a study file is one from the file.
    """
    if DATA in source:
        if data is None:
            return None
        return source.replace(DATA, str(Path(data).expanduser()))
    if base is not None and (near := base / source).exists():
        return str(near)
    return source

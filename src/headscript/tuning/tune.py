"""`headscript tune`: a new version of a run's programs, fitted to what the model predicts.

RUN/versions/NAME/settings.json            what was asked for
RUN/versions/NAME/checkpoint.safetensors   where the fit stands, until it is done
RUN/versions/NAME/L05H03.py                the programs
RUN/versions/NAME/version.json             what the fit was worth; with it the version is whole
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from headscript.assignment import check_model, head_count, ranking
from headscript.errors import HeadscriptError
from headscript.evaluation.substitutes import ProgramPatterns
from headscript.evaluation.sweep import Setting, Sweep
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.models.attention import Pass, observed
from headscript.models.probe import run_backbone
from headscript.programs.program import Program
from headscript.records import Maker
from headscript.replacement import Replacement
from headscript.runs import FOUND, Run
from headscript.texts import apart_from, load_texts
from headscript.tuning.causal import CausalFit, Schedule, State
from headscript.tuning.retelling import Reteller

_CHECKPOINT_SECONDS = 30
_JUDGED_TOKENS = 3_000  # of the select texts, on which a version is judged
_RETOLD_TEXTS = 12
_BASELINES = ("intended", "uniform", "zero")  # what else stands in the column of versions

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


def tune(
    run: str | Path,
    name: str = "tuned",
    *,
    settings: TuneSettings | None = None,
    model: str | Path | Model | None = None,
    on_event: Listener = ignore,
) -> VersionRecord:
    """Fit the constants of a run's programs through its frozen model; a new version of them.

    A fit that was begun under `name` with the same settings goes on where it was. `model` says
    where the run's model is, or is that model, if it is not where it was. Fitted on the run's fit
    texts or on others that share nothing with its select and test texts; judged on select texts.

    Raises HeadscriptError for whatever a person can mend: a run that is not finished or of another
    model, an encoder, a version that is there with other settings, a fraction outside 0 to 1.
    """
    settings = settings or TuneSettings()
    _check(name, settings)
    with Run.open_for_writing(run) as opened:
        opened.results()
        folder = f"versions/{name}"
        if opened.has(f"{folder}/settings.json"):
            begun = TuneSettings.model_validate(opened.read_json(f"{folder}/settings.json"))
            _refuse_other_settings(name, begun, settings)
        if opened.has(f"{folder}/version.json"):
            return VersionRecord.model_validate(opened.read_json(f"{folder}/version.json"))
        programs = opened.programs(settings.start)
        order = ranking(opened, settings.start, settings.order)
        if not isinstance(model, Model):
            model = load_model(
                model or opened.model_name, dtype=_dtype(settings.dtype), on_event=on_event
            )
        check_model(opened, model)
        texts, set_aside = _texts(opened, model, settings)
        opened.write_json(f"{folder}/settings.json", settings.model_dump(mode="json"))
        begin = time.monotonic()
        state, constants = _fit(opened, folder, model, programs, order, texts, settings, on_event)
        tuned = _retold(opened, model, programs, constants)
        before, after = _judge(opened, model, (programs, tuned), order, settings.stages, on_event)
        for head, program in tuned.items():
            opened.write(f"{folder}/{head}.py", program.source.encode())
        record = VersionRecord(
            settings=settings,
            made_with=Maker.here(),
            texts=len(texts),
            set_aside=set_aside,
            order=tuple(map(str, order)),
            before=before,
            after=after,
            losses=tuple(_thinned(state.losses)),
            seconds=round(time.monotonic() - begin, 1),
        )
        opened.write_json(f"{folder}/version.json", record.model_dump(mode="json"))
        (opened.directory / folder / "checkpoint.safetensors").unlink(missing_ok=True)
        return record


def _check(name: str, settings: TuneSettings) -> None:
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


def _refuse_other_settings(name: str, begun: TuneSettings, asked: TuneSettings) -> None:
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


def _dtype(name: DType) -> torch.dtype:
    if name == "auto":
        # bfloat16 where the processor multiplies it natively; elsewhere it is slower than float32.
        native = (
            getattr(torch.cpu, "_is_amx_tile_supported", None),
            getattr(torch.cpu, "_is_avx512_bf16_supported", None),
        )
        return torch.bfloat16 if any(ask is not None and ask() for ask in native) else torch.float32
    found: torch.dtype = getattr(torch, name)
    return found


def _texts(run: Run, model: Model, settings: TuneSettings) -> tuple[list[list[int]], int]:
    """Token ids to tune on, and how many texts were set aside for being too like held-out ones."""
    if settings.texts is None:
        return [list(text.token_ids) for text in run.texts("fit")][: settings.max_texts], 0
    documents = load_texts(settings.texts, max_texts=settings.max_texts, field=settings.field)
    held_out = [text.text for text in run.texts() if text.split != "fit"]
    kept, aside = apart_from(documents, held_out)
    if not kept:
        raise HeadscriptError(
            f"All texts of {settings.texts} repeat select or test texts of the run; give others."
        )
    longest = settings.max_tokens or run.config.max_tokens
    if longest is not None:
        longest = min(longest, model.max_tokens)
    return [model.encode(document.text, longest) for document in kept], len(aside)


def _fit(
    run: Run,
    folder: str,
    model: Model,
    programs: Mapping[Head, Program],
    order: Sequence[Head],
    texts: Sequence[Sequence[int]],
    settings: TuneSettings,
    on_event: Listener,
) -> tuple[State, dict[Head, dict[str, float]]]:
    schedule = Schedule(
        stages=settings.stages,
        steps=settings.steps,
        tokens=settings.step_tokens,
        rate=settings.rate,
        keep=settings.keep,
        terms=settings.terms,
        seed=settings.seed,
    )
    checkpoint = f"{folder}/checkpoint.safetensors"
    last = time.monotonic()

    def keep(state: State) -> None:
        nonlocal last
        if time.monotonic() - last >= _CHECKPOINT_SECONDS or state.step == settings.steps:
            run.write(checkpoint, save_tensors(state.tensors()))
            last = time.monotonic()

    with CausalFit(model, programs, order, texts, schedule) as fit:
        state = fit.begin()
        if run.has(checkpoint):
            try:
                state = State.of(load_tensors(run.read(checkpoint)))
            except (SafetensorError, KeyError) as error:
                raise HeadscriptError(
                    f"{run.directory / checkpoint} is damaged; delete it, and the fit begins anew."
                ) from error
        state = fit.run(state, on_step=keep, on_event=on_event)
        return state, fit.constants_of(state)


def _retold(
    run: Run,
    model: Model,
    programs: Mapping[Head, Program],
    constants: Mapping[Head, Mapping[str, float]],
) -> dict[Head, Program]:
    read = model.reader(programs.values())
    texts = [read(text.token_ids) for text in run.texts("select")[:_RETOLD_TEXTS]]
    retell = Reteller(texts, run.model.name, "tuned to what the model predicts")
    tuned = {}
    for head, program in programs.items():
        tuned[head] = retell(str(head), program, constants[head])
        retell.forget()
    return tuned


def _judge(
    run: Run,
    model: Model,
    versions: Sequence[Mapping[Head, Program]],
    order: Sequence[Head],
    fractions: Sequence[float],
    on_event: Listener,
) -> list[Judgement]:
    """Each version on the same select texts, in the precision that the model is in."""
    texts: list[list[int]] = []
    for text in run.texts("select"):
        usable = len(text.token_ids) > 1
        if (usable and sum(map(len, texts)) + len(text.token_ids) <= _JUDGED_TOKENS) or not texts:
            texts.append(list(text.token_ids))
    counts = [head_count(fraction, len(model.heads)) for fraction in fractions]
    settings = [
        Setting(
            order="given",
            programs=str(version),
            fraction=fraction,
            asked=count,
            placed=frozenset((head, programs[head].key) for head in order[:count]),
        )
        for version, programs in enumerate(versions)
        for fraction, count in zip(fractions, counts, strict=True)
    ]
    patterns = ProgramPatterns(model, (p for programs in versions for p in programs.values()))
    points = Sweep(model, texts, seed=run.config.seed, on_event=on_event).points(
        "judging", settings, patterns.of
    )
    return [
        Judgement(
            kl={f"{p.fraction:g}": p.kl for p in points if p.programs == str(version)},
            perplexity_increase={
                f"{p.fraction:g}": p.perplexity_increase
                for p in points
                if p.programs == str(version)
            },
            iou=iou,
        )
        for version, iou in enumerate(_mean_ious(model, versions, texts))
    ]


@torch.no_grad()
def _mean_ious(
    model: Model, versions: Sequence[Mapping[Head, Program]], texts: Sequence[Sequence[int]]
) -> list[float]:
    """Mean IoU over heads and texts of each version's programs with the model's own patterns."""
    heads = list(versions[0])
    layers = sorted({head.layer for head in heads})
    replacements = [Replacement(model, programs) for programs in versions]
    scores: list[list[float]] = [[] for _ in versions]
    for text in texts:
        ids = torch.tensor([text], device=model.device)
        actual: dict[int, torch.Tensor] = {}
        with observed(model.network, layers, actual.__setitem__):
            run_backbone(model.network, ids, torch.ones_like(ids))
        for replacement, found in zip(replacements, scores, strict=True):
            replacement.begin(Pass(ids, None, None))
            for layer in layers:
                own = replacement.patterns(layer, len(text), actual[layer].device)
                assert own is not None
                wrong = (own.patterns - actual[layer][:, own.heads]).abs().sum((0, 2, 3))
                found += ((2 * len(text) - wrong) / (2 * len(text) + wrong)).tolist()
    return [fmean(found) for found in scores]


def _thinned(losses: Sequence[float], width: int = 20) -> list[float]:
    return [
        round(sum(losses[start : start + width]) / len(losses[start : start + width]), 5)
        for start in range(0, len(losses), width)
    ]

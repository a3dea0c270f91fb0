"""`headscript tune`: a new version of a run's programs, fitted to what the model predicts.

RUN/versions/NAME/begun.json               what was asked for, and what the fit was begun from
RUN/versions/NAME/checkpoint.safetensors   where the fit stands, until it is done
RUN/versions/NAME/L05H03.py                the programs
RUN/versions/NAME/version.json             what the fit was worth; with it the version is whole
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch
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
from headscript.runs import Run
from headscript.texts import Trace, as_read, load_texts, repeating
from headscript.tuning.causal import CausalFit, Schedule, State
from headscript.tuning.retelling import Reteller
from headscript.tuning.versions import (
    Begun,
    DType,
    Judgement,
    TuneSettings,
    VersionRecord,
    check,
    keys_of,
    read_record,
    refuse_other_programs,
    refuse_other_settings,
)

_CHECKPOINT_SECONDS = 30
_JUDGED_TOKENS = 3_000  # of the select texts, on which a version is judged
_RETOLD_TEXTS = 12


def tune(
    run: str | Path,
    name: str = "tuned",
    *,
    settings: TuneSettings | None = None,
    model: str | Path | Model | None = None,
    on_event: Listener = ignore,
) -> VersionRecord:
    """Fit the constants of a run's programs through its frozen model; a new version of them.

    A fit that was begun under `name` with the same settings goes on where it was, in the order of
    heads that it was begun with. `model` says where the run's model is, or is that model, if it is
    not where it was. Fitted on the run's fit texts or on others that share nothing with its select
    and test texts; judged on select texts.

    Raises HeadscriptError for whatever a person can mend: a run that is not finished or of another
    model, an encoder, a version that is there with other settings or was begun from other programs
    or texts, a fraction outside 0 to 1.
    """
    settings = settings or TuneSettings()
    check(name, settings)
    with Run.open_for_writing(run) as opened:
        opened.results()
        folder = f"versions/{name}"
        if opened.has(f"{folder}/version.json"):
            made = read_record(opened, f"{folder}/version.json", VersionRecord)
            refuse_other_settings(name, made.settings, settings)
            return made
        begun = None
        if opened.has(f"{folder}/begun.json"):
            begun = read_record(opened, f"{folder}/begun.json", Begun)
            refuse_other_settings(name, begun.settings, settings)
        programs = opened.programs(settings.start)
        if begun is not None:
            refuse_other_programs(name, begun, programs)
            order = [Head.parse(head) for head in begun.order]
        else:
            order = ranking(opened, settings.start, settings.order, programs)
        if not isinstance(model, Model):
            model = load_model(
                model or opened.model_name, dtype=_dtype(settings.dtype), on_event=on_event
            )
        check_model(opened, model)
        texts, set_aside = _texts(opened, model, settings)
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        if begun is None:
            # A checkpoint without its beginning is of no use.
            (opened.directory / folder / "checkpoint.safetensors").unlink(missing_ok=True)
            begun = Begun(
                settings=settings,
                order=tuple(map(str, order)),
                programs=keys_of(programs),
                texts=digest,
            )
            opened.write_json(f"{folder}/begun.json", begun.model_dump(mode="json"))
        elif begun.texts != digest:
            raise HeadscriptError(
                f"The texts to tune on are not those that the version {name!r} was begun with; "
                "restore them, or choose another --name."
            )
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
            made=datetime.now(UTC).isoformat(),
        )
        opened.write_json(f"{folder}/version.json", record.model_dump(mode="json"))
        (opened.directory / folder / "checkpoint.safetensors").unlink(missing_ok=True)
        return record


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
        fit = run.texts("fit")[: settings.max_texts]
        return [list(text.token_ids[: settings.max_tokens]) for text in fit], 0
    documents = load_texts(settings.texts, max_texts=settings.max_texts, field=settings.field)
    longest = settings.max_tokens or run.config.max_tokens
    if longest is not None:
        longest = min(longest, model.max_tokens)
    texts = [model.encode(document.text, longest) for document in documents]
    held_out = [text.token_ids for text in run.texts() if text.split != "fit"]
    known = [Trace.of(as_read(model.tokenizer, ids)) for ids in held_out]
    repeats = repeating((as_read(model.tokenizer, ids) for ids in texts), known)
    kept = [ids for ids, repeated in zip(texts, repeats, strict=True) if not repeated]
    if not kept:
        raise HeadscriptError(
            f"All texts of {settings.texts} repeat select or test texts of the run; give others."
        )
    return kept, sum(repeats)


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

"""What heads and programs do on their best and worst texts, kept in a run to be shown at once.

RUN/portraits.safetensors holds for each head both patterns on both texts, packed, and beside them
the tokens, the explanation and the constants. What is kept of a head counts while its
program's file is the one it was made from. Reading needs neither torch nor the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.runs import Run

if TYPE_CHECKING:
    from headscript.programs import Program

_FILE = "portraits.safetensors"
_KINDS = ("best", "worst")

Seen = tuple[str, float, tuple[str, ...], NDArray[np.float32], NDArray[np.float32]]
"""A text's id, the IoU on it, its tokens, and the patterns (n, n) of model and program."""


@dataclass(frozen=True)
class KeptPortrait:
    """What is kept of a head."""

    source: str
    explanation: str
    constants: dict[str, float]
    seen: tuple[Seen | None, Seen | None]
    """The best text and the worst."""


def kept_portrait(run: Run, head: Head) -> KeptPortrait | None:
    """What is kept of a head; None where nothing is, or its program was edited since."""
    file = run.directory / _FILE
    try:
        source = run.program_file(head).read_bytes()
        with safe_open(file, framework="np") as tensors:
            # One entry, since the order of several is not always the same.
            kept = json.loads(tensors.metadata()["portraits"])
            facts = kept["heads"].get(str(head))
            if facts is None or facts["source_sha256"] != hashlib.sha256(source).hexdigest():
                return None
            seen: list[Seen | None] = []
            for kind in _KINDS:
                if facts[kind] is None:
                    seen.append(None)
                    continue
                tokens = tuple(kept["texts"][facts[kind]["text"]])
                real, predicted = (
                    _unpacked(
                        tensors.get_tensor(f"{head} {kind} {whose}"), len(tokens), run.model.causal
                    )
                    for whose in ("model", "program")
                )
                seen.append((facts[kind]["text"], facts[kind]["iou"], tokens, real, predicted))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None  # the program can be run instead
    best, worst = seen
    return KeptPortrait(source.decode(), facts["explanation"], facts["constants"], (best, worst))


def keep_portraits(run: Run, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep the portraits of a run's heads, given their rows of results.

    Left out are heads without a working program, free-form programs, and programs that look at the
    model's embeddings: these are run when they are shown.
    """
    from safetensors.numpy import save

    from headscript.language.vocabulary import NEED_EMBEDDINGS
    from headscript.programs.loading import load_program
    from headscript.programs.program import Program

    programs: dict[Head, Program] = {}
    wanted: dict[str, list[tuple[Head, str]]] = {}
    for row in rows:
        head = Head(row["layer"], row["head"])
        file = run.program_file(head)
        if row["status"] != "ok" or not file.is_file():
            continue
        program = load_program(file)
        if type(program) is Program and not program.entries & NEED_EMBEDDINGS:
            programs[head] = program
            for kind in _KINDS:
                wanted.setdefault(row[f"{kind}_text"], []).append((head, kind))
    facts: dict[Head, dict[str, Any]] = {
        head: {
            "source_sha256": _digest(run.program_file(head)),
            "explanation": program.explanation,
            "constants": program.constants,
            "best": None,
            "worst": None,
        }
        for head, program in programs.items()
    }
    tensors: dict[str, NDArray[Any]] = {}
    texts: dict[str, Sequence[str]] = {}
    try:
        for head, kind, text_id, seen in _looked_at(run, programs, wanted):
            facts[head][kind] = {"text": text_id, "iou": seen.iou}
            texts[text_id] = seen.tokens
            tensors[f"{head} {kind} model"] = seen.real
            tensors[f"{head} {kind} program"] = seen.predicted
    except HeadscriptError:
        return  # no tokenizer, say: showing them will tell
    heads = {str(head): of_head for head, of_head in facts.items()}
    kept = json.dumps({"heads": heads, "texts": texts}, ensure_ascii=False)
    run.write(_FILE, save(tensors, {"portraits": kept}))


@dataclass(frozen=True)
class _Looked:
    """A head and its program on a text, packed."""

    iou: float
    tokens: Sequence[str]
    real: NDArray[Any]
    predicted: NDArray[Any]


def _looked_at(
    run: Run, programs: Mapping[Head, Program], wanted: Mapping[str, list[tuple[Head, str]]]
) -> Iterable[tuple[Head, str, str, _Looked]]:
    """Each head on each of its texts."""
    from headscript.evaluation.portraits import RunReader
    from headscript.programs.patterns import Patterns
    from headscript.recording import Recording
    from headscript.similarity import iou

    recording = Recording.open(run.recording_folder("test"))
    read = RunReader(run, frozenset())
    for number, kept in enumerate(run.texts("test")):
        heads = wanted.get(kept.id)
        if not heads:
            continue
        text = read(kept.token_ids)
        patterns = Patterns([programs[head] for head, _ in heads], causal=text.causal)
        ((_, found),) = patterns.on([text])
        of_layer = {
            layer: recording.layer(layer, [number])[0]
            for layer in {head.layer for head, _ in heads}
        }
        for (head, kind), predicted in zip(heads, found, strict=True):
            real = of_layer[head.layer][recording.heads_of(head.layer).index(head)]
            short = real.half()  # all there is of what was recorded in 16 bits
            in_short = short if bool((short == real).all()) else real
            yield (
                head,
                kind,
                kept.id,
                _Looked(
                    float(iou(predicted, real)), text.surfaces, in_short.numpy(), predicted.numpy()
                ),
            )


def _unpacked(cells: NDArray[Any], tokens: int, causal: bool) -> NDArray[np.float32]:
    """Packed cells as a pattern (n, n)."""
    pattern = np.zeros((tokens, tokens), np.float32)
    if causal:
        pattern[np.tril_indices(tokens)] = cells
    else:
        pattern[:] = cells.reshape(tokens, tokens)
    return pattern


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

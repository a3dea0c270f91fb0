"""Finished runs without a search: a small random network, and programs given by hand."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from tests.models.networks import network_of, tokenizer

from headscript.evaluation.tables import score_heads
from headscript.heads import Head
from headscript.language.text import TextReader
from headscript.models import load_model
from headscript.packing import num_cells, unpack
from headscript.programs import Program
from headscript.programs.emit import emit
from headscript.programs.terms import Term
from headscript.records import RunConfig, RunText
from headscript.runs import Run
from headscript.stages import head_row, record_splits, summary_of

TERMS = (
    Term(relation="text.first"),
    Term(relation="log(text.distance + 1)"),
    Term(query="text.starts_word", key="text.one_of(' w5', 'w6')"),
)


def written(head: Head, *weights: float, causal: bool = True) -> Program:
    """A program of the first terms with these weights, as the search writes it."""
    total = sum(map(abs, weights))
    return emit(
        str(head),
        "planted",
        TERMS[: len(weights)],
        weights,
        causal=causal,
        strengths=[abs(weight) / total for weight in weights],
    )


PROGRAMS = {
    Head(0, 1): written(Head(0, 1), 2.0, -1.5),
    Head(1, 0): written(Head(1, 0), 1.25),
    Head(1, 1): written(Head(1, 1), 0.5, -0.7, 3.0),
}
"""Of three heads; two more are asked for and have none."""

HEADS = "L0H1,L1"


def make_run(
    folder: Path,
    programs: Mapping[Head, Program] = PROGRAMS,
    *,
    family: str = "llama-2-groups",
    heads: str = HEADS,
    lengths: Sequence[int] = (12, 9, 14),
    seed: int = 0,
) -> Run:
    """A finished run in `folder`/run; `lengths` are tokens of the test texts."""
    network_of(family, seed=seed).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    model = load_model(str(folder / "model"))
    draw = Random(seed)
    splits = [("fit", 12), ("select", 12), *(("test", length) for length in lengths)]
    texts = []
    for number, (split, length) in enumerate(splits):
        text = " ".join(f"w{draw.randint(4, 63)}" for _ in range(length))
        texts.append(RunText(f"text {number}", split, text, tuple(model.encode(text))))
    config = RunConfig(model=str(folder / "model"), texts=str(folder / "texts.txt"), heads=heads)
    with Run.create_or_resume(folder / "run", config) as run:
        run.settle_model(model)
        run.settle_texts(texts)
        run.save_tokenizer(model.tokenizer)
        asked = [head for head in model.heads if head.layer == 1 or head == Head(0, 1)]
        recordings = record_splits(run, model, texts, asked, lambda event: None)
        read = TextReader(model.tokenizer, causal=model.causal)
        test = [text for text in texts if text.split == "test"]
        scores, selected = (
            score_heads(
                recordings[split],
                [read(text.token_ids) for text in texts if text.split == split],
                programs,
                programs,
                mean_by_position=recordings["fit"],
                seed=0,
            )
            for split in ("test", "select")
        )
        rows = []
        for head in asked:
            program = programs.get(head)
            if program is not None:
                run.write(f"programs/{head}.py", program.source.encode())
            row = head_row(head, scores[head], program, [text.id for text in test], 0)
            row |= {"category": "mixed", "chosen_from": None if program is None else str(head)}
            row["select_iou"] = None if program is None else fmean(selected[head].chosen)
            row["frontier"] = [(0, 0.25), (2, 0.5)] if program is not None else []
            rows.append(row)
        counts = {"fit": 1, "select": 1, "test": len(test)}
        run.write_results(summary_of(rows, scores, counts, 0), rows)
    return run


def unpacked(chunk: str) -> bytes:
    """What a chunk of the page holds."""
    return gzip.decompress(base64.b64decode(chunk, validate=True))


def detail_of(payload: Mapping[str, Any], head: str) -> dict[str, Any]:
    """A head's details, as the page reads them."""
    layer = next(row["layer"] for row in payload["heads"] if row["id"] == head)
    found: dict[str, Any] = json.loads(unpacked(payload["details"][layer]))[head]
    return found


def shown_patterns(
    chunk: str, place: Mapping[str, Any], *, causal: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """The real and the predicted pattern (n, n) at a place of a layer's patterns, as weights."""
    cells = num_cells(place["n"], causal)
    values = torch.frombuffer(bytearray(unpacked(chunk)), dtype=torch.uint8).float()
    weights = (values[place["offset"] :][: 2 * cells] / 255) ** 2
    real, predicted = unpack(weights.view(2, cells), place["n"], causal)
    return real, predicted

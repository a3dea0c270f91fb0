"""How the time of each stage grows, and what larger models would take by that.

    python benchmarks/growth.py [--rounds R] [--json]
    python benchmarks/growth.py --read FILE     tables of what --json has written

Varied one at a time, from a base that the output tells: texts, tokens of a text, heads, programs,
terms, and how much of the vocabulary the search draws from. What is timed:

recording  all heads of SmolLM2-135M, or those of some layers
searching  `search_layer` on the rows of a `headscript.propose.bench.Bench`: heads of one layer
executing  programs of the starter library on texts, all together
comparing  all programs with all heads, as choosing does: the distances of their patterns

Exponents are slopes of least squares in log-log over the range that is told; the best of all rounds
counts. Peak memory is that of the process while it does the greatest of a curve, less what it had
before, where the system says so.

The second table is arithmetic: unit costs and exponents of the first one, FLOP counts, and
assumptions about machines, which stand in `MACHINES` and are printed with it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import scaling
import torch
from torch import Tensor

from headscript.heads import Head, parse_heads
from headscript.kernels import compare
from headscript.language import read_text
from headscript.library.entries import Library
from headscript.models import Model, load_model
from headscript.packing import num_cells
from headscript.programs.patterns import Patterns
from headscript.programs.program import Program
from headscript.propose.bench import Bench
from headscript.propose.search import SharedRows, fit_rows, search_layer
from headscript.recording import record
from headscript.records import RunConfig
from headscript.runs import Run
from headscript.stages import prepare_texts, record_splits

MODEL = "smollm2-135m"
LAYERS = (4, 5, 6, 7)
"""Whose heads are searched; more heads than one layer has are those of the next ones."""
LONGEST = 128
"""Tokens of a text in the runs that are made for this."""


@dataclass
class Curve:
    """The seconds of a stage as one thing grows."""

    stage: str
    axis: str
    base: str
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: float | None = None
    """Peak memory at the greatest size, beyond what there was before."""

    @property
    def exponent(self) -> float:
        """Of least squares in log-log."""
        xs, ys = (list(map(math.log, values)) for values in (self.sizes, self.seconds))
        middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
        slope = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
        return slope / sum((x - middle) ** 2 for x in xs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--read", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.read:
        found = json.loads(options.read.read_text())
    else:
        with TemporaryDirectory() as folder:
            found = measured(Path(folder), options.rounds)
    print(json.dumps(found)) if options.json else show(found)


def measured(folder: Path, rounds: int) -> dict[str, Any]:
    """All curves, and the unit costs that follow."""
    begin = time.perf_counter()
    model = load_model(MODEL)
    config = RunConfig(
        model=MODEL,
        texts="stories",
        max_texts=168,
        max_tokens=LONGEST,
        heads=",".join(f"L{layer}" for layer in LAYERS),
    )
    with Run.create_or_resume(folder / "run", config) as run:
        run.settle_model(model)
        texts = prepare_texts(config, model)
        run.settle_texts(texts)
        run.save_tokenizer(model.tokenizer)
        heads = parse_heads(config.heads, model.heads_per_layer)
        record_splits(run, model, texts, heads, lambda event: None)
    long = [list(text.token_ids) for text in texts if len(text.token_ids) == LONGEST]
    bench = Bench(Run.open(folder / "run"))
    programs = [entry.program for entry in Library.load().entries]
    curves = [
        *recording_curves(model, long, folder, rounds),
        *searching_curves(bench),
        *executing_curves(model, programs, long, rounds),
        *comparing_curves(model, len(programs), long, folder, rounds),
    ]
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} threads seen",
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - begin,
        "parameters": model.network.num_parameters(),
        "layers": len(model.heads_per_layer),
        "heads": len(model.heads),
        "search_cells": bench.settings.max_cells,
        "curves": [asdict(curve) | {"exponent": curve.exponent} for curve in curves],
    }


def curve(
    stage: str,
    axis: str,
    base: str,
    sizes: Sequence[int],
    work: Callable[[int], Callable[[], object]],
    rounds: int,
) -> Curve:
    """Time `work(size)()` for each size; what `work` itself does is not timed."""
    found = Curve(stage, axis, base)
    for size in sizes:
        call = work(size)
        begin = reset_peak() if size == sizes[-1] else None
        best = math.inf
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        if begin is not None and (peak := memory("VmHWM")) is not None:
            found.megabytes = max(0.0, (peak - begin) / 1000)
        found.sizes.append(size)
        found.seconds.append(best)
    return found


def reset_peak() -> int | None:
    """Begin the peak of this process's memory anew; what it has, in kB, where the system tells."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    peak, now = memory("VmHWM"), memory("VmRSS")
    return now if peak is not None and now is not None and peak < 1.02 * now else None


def memory(name: str) -> int | None:
    """A line of /proc/self/status, kB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) if found else None


# Stages ------------------------------------------------------------------------------------------


def recording_curves(model: Model, ids: list[list[int]], folder: Path, rounds: int) -> list[Curve]:
    """Recordings of their own, in a folder that is new each time."""
    made = iter(range(10_000))

    def work(texts: int, tokens: int, heads: Sequence[Head] | None) -> Callable[[], object]:
        cut = [one[:tokens] for one in ids[:texts]]
        return lambda: record(model, cut, folder / f"recording{next(made)}", heads=heads)

    def first(number: int) -> list[Head]:
        """So many heads; always some of the last layer, so that all layers run."""
        return [Head(layer, head) for layer, head in model.heads if head < number // 30]

    stage = "recording"
    return [
        curve(
            stage, "texts", "64 tokens, 270 heads", (8, 16, 32), lambda n: work(n, 64, None), rounds
        ),
        curve(
            stage, "tokens", "16 texts, 270 heads", (32, 64, 128), lambda n: work(16, n, None),
            rounds,
        ),
        curve(
            stage, "heads", "16 texts of 128 tokens", (30, 90, 270),
            lambda n: work(16, 128, first(n)), rounds,
        ),
    ]  # fmt: skip


def searching_curves(bench: Bench) -> list[Curve]:
    """Heads of one layer and, for more, of the next, with the default settings."""
    whole = bench.fit_rows.texts
    long = [number for number, text in enumerate(whole) if len(text) == LONGEST]
    packed = [bench.fit.layer(layer) for layer in LAYERS]
    settings = bench.settings
    base = {"texts": 24, "tokens": 64, "heads": 4, "terms": 24}

    def work(**changed: Any) -> Callable[[], object]:
        asked = base | changed
        chosen = long[: asked["texts"]]
        texts = [whole[number].prefix(asked["tokens"]) for number in chosen]
        cells = num_cells(asked["tokens"], bench.fit.causal)
        actual = [
            torch.cat([layer[number] for layer in packed])[: asked["heads"], :cells]
            for number in chosen
        ]
        here = replace(settings, max_terms=asked["terms"])
        shared = SharedRows(fit_rows(texts, here), here)
        share = asked.get("share", 1.0)
        pool = shared.pool
        relations = some(pool.relations, share)
        shared.pool = replace(
            pool,
            classes=some(pool.classes, share),
            relations=relations,
            core_relations=tuple(name for name in pool.core_relations if name in relations),
            literals=some(pool.literals, share),
        )
        sizes["vocabulary"] = len(shared.pool.expressions) + len(shared.pool.literals)
        return lambda: search_layer(shared, actual, here)

    def said(*names: str) -> str:
        return ", ".join(f"{base[name]} {name}" for name in base if name not in names)

    sizes: dict[str, int] = {}
    found = [
        curve("searching", axis, said(axis), at, lambda n, axis=axis: work(**{axis: n}), 1)
        for axis, at in {
            "texts": (12, 24, 48, 96),
            "tokens": (32, 64, 128),
            "heads": (2, 4, 9, 18),
            "terms": (6, 12, 24, 48),
        }.items()
    ]
    vocabulary = Curve("searching", "vocabulary", said())
    for share in (0.25, 0.5, 1.0):
        one = curve("", "", "", (1,), lambda n, share=share: work(share=share), 1)
        vocabulary.sizes.append(sizes["vocabulary"])
        vocabulary.seconds += one.seconds
        vocabulary.megabytes = one.megabytes
    return [*found, vocabulary]


def executing_curves(
    model: Model, programs: Sequence[Program], ids: list[list[int]], rounds: int
) -> list[Curve]:
    """Programs of the library; banks are made before, as a run makes them once for many texts."""
    by_terms = sorted(programs, key=lambda program: program.terms)

    def work(chosen: Sequence[Program], texts: int, tokens: int) -> Callable[[], object]:
        read = [read_text(model.tokenizer, one[:tokens]) for one in ids[:texts]]
        patterns = Patterns(chosen, causal=True)
        list(patterns.on(read[:1]))
        return lambda: [len(cells) for _, cells in patterns.on(read)]

    def about(terms: int) -> Sequence[Program]:
        """The 100 programs whose numbers of terms are nearest."""
        return sorted(by_terms, key=lambda program: abs(program.terms - terms))[:100]

    stage, count = "executing", len(programs)
    return [
        curve(
            stage, "texts", f"{count} programs, 64 tokens", (5, 10, 20, 40),
            lambda n: work(programs, n, 64), rounds,
        ),
        curve(
            stage, "tokens", f"{count} programs, 10 texts", (32, 64, 128),
            lambda n: work(programs, 10, n), rounds,
        ),
        curve(
            stage, "programs", "10 texts of 64 tokens", (100, 200, 400, count),
            lambda n: work(programs[:: max(1, count // n)][:n], 10, 64), rounds,
        ),
        curve(
            stage, "terms", "100 programs, 10 texts of 64 tokens", (4, 8, 16),
            lambda n: work(about(n), 10, 64), rounds,
        ),
    ]  # fmt: skip


def comparing_curves(
    model: Model, count: int, ids: list[list[int]], folder: Path, rounds: int
) -> list[Curve]:
    """Patterns of the model's heads with themselves in the place of programs, in another order."""
    recording = record(model, ids[:8], folder / "compared")
    of_text = [
        torch.cat([recording.layer(layer, [number])[0] for layer in recording.layers])
        for number in range(8)
    ]
    rows = torch.randint(len(recording.heads), (2_000,), generator=torch.Generator().manual_seed(0))

    def work(texts: int, tokens: int, programs: int, heads: int) -> Callable[[], object]:
        cells = num_cells(tokens, True)
        pairs: list[tuple[Tensor, Tensor]] = [
            (patterns[rows[:programs], :cells].contiguous(), patterns[:heads, :cells].contiguous())
            for patterns in of_text[:texts]
        ]
        return lambda: [compare(*pair) for pair in pairs]

    compare(of_text[0][:2], of_text[0][:2])  # compiles
    stage = "comparing"
    return [
        curve(
            stage, "texts", f"{count} programs, 270 heads, 64 tokens", (2, 4, 8),
            lambda n: work(n, 64, count, 270), rounds + 1,
        ),
        curve(
            stage, "tokens", f"{count} programs, 270 heads, 8 texts", (32, 64, 128),
            lambda n: work(8, n, count, 270), rounds + 1,
        ),
        curve(
            stage, "heads", f"{count} programs, 8 texts of 64 tokens", (68, 135, 270),
            lambda n: work(8, 64, count, n), rounds + 1,
        ),
        curve(
            stage, "programs", "270 heads, 8 texts of 64 tokens", (500, 1_000, 2_000),
            lambda n: work(8, 64, n, 270), rounds + 1,
        ),
    ]  # fmt: skip


def some(names: tuple[str, ...], share: float) -> tuple[str, ...]:
    """The first of them, at least one."""
    return names[: max(1, round(share * len(names)))]


# Tables ------------------------------------------------------------------------------------------


def show(found: dict[str, Any]) -> None:
    """Print both tables as Markdown."""
    print(f"{found['machine']}, {found['threads']} used; {found['seconds']:.0f} s\n")
    print("| stage | varied | range | seconds | exponent | peak memory | the rest |")
    print("|---|---|---|---|---|---|---|")
    for row in found["curves"]:
        sizes, seconds, peak = row["sizes"], row["seconds"], row["megabytes"]
        print(
            f"| {row['stage']} | {row['axis']} | {sizes[0]:,} to {sizes[-1]:,} | "
            f"{', '.join(f'{value:.3g}' for value in seconds)} | {row['exponent']:.2f} | "
            f"{'' if peak is None else f'{peak:,.0f} MB'} | {row['base']} |"
        )
    print()
    print(scaling.tables(found))


if __name__ == "__main__":
    main()

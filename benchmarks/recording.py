"""What recording costs beside the forward pass it needs, what memory it takes, how exact it is.

    python benchmarks/recording.py [--model NAME] [--tokens N] [--rounds R] [--part NAMES] [--json]

cost    All heads are recorded, and beside it the layers alone are run with eager attention and
        without its weights, on the same texts in the same batches; for comparison also with the
        language model's output, and with SDPA. Each round measures everything in turn, and the
        median of the rounds' ratios counts. Texts are stories: cut short, whole, and joined. Of
        each kind about N tokens are taken.
memory  The peak of a process of its own that records: first many short texts on two layers, then
        whole stories on more and more layers.
codes   IoU of what is kept in 8 and in 16 bits with what is kept in 32, over all heads and texts;
        IoU of programs of the starter library with either; sizes, and what was said before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from headscript.engines.processes import peak_bytes
from headscript.evaluation.tables import distances
from headscript.heads import Head
from headscript.language.text import TextReader
from headscript.library.entries import Library
from headscript.models import Model, load_model
from headscript.models.attention import sdpa_where_supported
from headscript.models.probe import padding_id, run_backbone
from headscript.recording import Precision, estimate, record
from headscript.recording.planning import batches
from headscript.similarity import iou
from headscript.texts import load_texts

COST = 1.3
"""Times the eager forward pass of the layers, at most."""
FLAT = 1.1
"""Times the memory at the fewest texts, or the fewest layers, at most."""
NEAR = 0.1
"""How far the estimate may be from what is on disk."""

SHORT, LONG = 36, 1024
MANY = (50, 500, 5_000)
LAYERS = (2, 10, 30)
STEP = 5  # windows of stories overlap, so that there are enough of them
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "uint8")


def main() -> None:
    """Measure and print; exit code 1 where less than what is asked is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", default="cost,memory,codes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(recorded_here(asked.model, *map(int, asked.child.split(",")))))
        return
    found: dict[str, Any] = {"machine": machine(), "model": asked.model}
    met: dict[str, bool] = {}
    for part in asked.part.split(","):
        if part == "memory":
            found[part] = memory(asked.model)
            met[part] = all(found[part]["growth"][by] <= FLAT for by in ("texts", "layers"))
            continue
        model = load_model(asked.model)
        stories = [model.encode(story.text, LONG) for story in load_texts("stories")]
        if part == "cost":
            found[part] = cost(model, stories, asked.tokens, asked.rounds)
            met[part] = all(row["ratio"] <= COST for row in found[part])
        else:
            found[part] = codes(model, within(stories, asked.tokens))
            met[part] = all(abs(row["estimate"] - 1) <= NEAR for row in found[part])
        del model
    found["met"] = met
    print(json.dumps(found)) if asked.json else show(found)
    sys.exit(0 if all(met.values()) else 1)


# Cost ---------------------------------------------------------------------------------------------


def cost(model: Model, stories: list[list[int]], tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds and ratios by kind of text and precision."""
    flat = [token for story in stories for token in story]
    kinds = {
        "short texts": [flat[begin : begin + SHORT] for begin in range(0, tokens, SHORT)],
        "stories": within(stories, tokens),
        "long texts": [flat[begin : begin + LONG] for begin in range(0, tokens, LONG)],
    }
    rows = []
    for name, texts in kinds.items():
        work: dict[str, Callable[[], None]] = {
            "eager": lambda texts=texts: forward(model, texts, "eager"),
            "float16": lambda texts=texts: recorded(model, texts, "float16"),
            "uint8": lambda texts=texts: recorded(model, texts, "uint8"),
            "sdpa": lambda texts=texts: forward(model, texts, "sdpa"),
            "whole": lambda texts=texts: forward(model, texts, "eager", whole=True),
        }
        forward(model, texts[:4], "eager")
        seconds: dict[str, list[float]] = {kind: [] for kind in work}
        for _ in range(rounds):
            for kind, call in work.items():
                begin = time.perf_counter()
                call()
                seconds[kind].append(time.perf_counter() - begin)
        for precision in ("float16", "uint8"):
            beside = {
                kind: median(
                    one / other
                    for one, other in zip(seconds[precision], seconds[kind], strict=True)
                )
                for kind in ("eager", "whole", "sdpa")
            }
            rows.append(
                {
                    "texts": name,
                    "number": len(texts),
                    "tokens": sum(map(len, texts)),
                    "precision": precision,
                    "seconds": median(seconds[precision]),
                    "ratio": beside["eager"],
                    "beside": beside,
                }
            )
    return rows


def within(texts: list[list[int]], tokens: int) -> list[list[int]]:
    """The first texts that have so many tokens together."""
    taken: list[list[int]] = []
    for text in texts:
        if sum(map(len, taken)) >= tokens:
            break
        taken.append(text)
    return taken


def recorded(model: Model, texts: Sequence[Sequence[int]], precision: Precision) -> None:
    """Record all heads."""
    with TemporaryDirectory() as folder:
        record(model, texts, Path(folder) / "made", dtype=precision)


@torch.no_grad()
def forward(
    model: Model, texts: Sequence[Sequence[int]], attention: str, *, whole: bool = False
) -> None:
    """The forward passes of a recording; `whole` with the output over the vocabulary."""
    network, counts = model.network, [len(text) for text in texts]
    by_length = sorted(range(len(texts)), key=lambda text: counts[text])
    with sdpa_where_supported(network):
        network.set_attn_implementation(attention)
        for batch in batches(by_length, counts, 4096, max(model.heads_per_layer)):
            longest = max(counts[text] for text in batch)
            ids = torch.full((len(batch), longest), padding_id(network))
            real = torch.zeros_like(ids)
            for row, text in enumerate(batch):
                ids[row, : counts[text]] = torch.tensor(texts[text])
                real[row, : counts[text]] = 1
            if whole:
                network(ids, attention_mask=real, use_cache=False)
            else:
                run_backbone(network, ids, real)


# Memory -------------------------------------------------------------------------------------------


def memory(model: str) -> dict[str, Any]:
    """Peaks in bytes by number of texts, and by number of layers."""
    by_texts = {number: in_a_child(model, number, 2, 84) for number in MANY}
    by_layers = {layers: in_a_child(model, 24, layers, 0) for layers in LAYERS}
    growth = {
        "texts": by_texts[MANY[-1]]["peak"] / by_texts[MANY[0]]["peak"],
        "layers": by_layers[LAYERS[-1]]["peak"] / by_layers[LAYERS[0]]["peak"],
    }
    return {"texts": by_texts, "layers": by_layers, "growth": growth}


def in_a_child(model: str, *what: int) -> dict[str, int]:
    """`recorded_here` in a process of its own."""
    command = [sys.executable, __file__, "--model", model, "--child", ",".join(map(str, what))]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(answer.stdout)
    return found


def recorded_here(name: str, number: int, layers: int, cut: int) -> dict[str, int]:
    """Record the first layers on texts, windows of `cut` tokens (0: whole stories); the peak."""
    model = load_model(name)
    stories = [model.encode(story.text, None) for story in load_texts("stories")]
    texts = stories[:number]
    if cut:
        flat = [token for story in stories for token in story]
        texts = [flat[STEP * begin :][:cut] for begin in range(number)]
    heads = [
        Head(layer, head) for layer in range(layers) for head in range(model.heads_per_layer[layer])
    ]
    loaded = peak_bytes()
    with TemporaryDirectory() as folder:
        record(model, texts, Path(folder) / "made", heads=heads)
        written = size_of(Path(folder))
    return {"loaded": loaded, "peak": peak_bytes(), "written": written}


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# Codes --------------------------------------------------------------------------------------------


def codes(model: Model, texts: list[list[int]]) -> list[dict[str, Any]]:
    """How near to float32, and how large, each precision is."""
    read = TextReader(model.tokenizer, causal=model.causal)
    programs = [entry.program for entry in Library.load(None).entries]
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        made = {
            precision: record(model, texts, Path(folder) / precision, dtype=precision)
            for precision in PRECISIONS
        }
        exact = made["float32"]
        best = None
        for precision, kept in made.items():
            missed = torch.cat(
                [
                    torch.stack([1 - iou(a, b) for a, b in zip(*pair, strict=True)], 1)
                    for layer in exact.layers
                    for pair in [(exact.layer(layer), kept.layer(layer))]
                ]
            )  # (heads, texts)
            table, _ = distances(
                programs, [read(ids) for ids in texts], kept, max_cells=10**9, seed=0
            )
            best = table if best is None else best
            written = size_of(Path(folder) / precision)
            said = estimate(model, [len(ids) for ids in texts], dtype=precision).bytes
            rows.append(
                {
                    "precision": precision,
                    "bytes": written,
                    "estimate": said / written,
                    "error": {
                        "mean": float(missed.mean()),
                        "worst head": float(missed.mean(1).max()),
                        "worst pattern": float(missed.max()),
                    },
                    "programs": {
                        "mean best": float(table.max(0).values.mean()),
                        "mean moved by": float((table - best).abs().mean()),
                        "most moved by": float((table - best).abs().max()),
                        "other best": int((table.argmax(0) != best.argmax(0)).sum()),
                    },
                }
            )
    return rows


# Telling ------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What it was measured on."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def show(found: dict[str, Any]) -> None:
    """Print tables."""
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()), found["model"])
    for row in found.get("cost", []):
        beside = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in row["beside"].items())
        print(
            f"{row['number']:4} {row['texts']:12} {row['tokens']:6} tokens {row['precision']:8}"
            f"{row['seconds']:7.2f} s   recording / {beside}"
        )
    for by in ("texts", "layers") if "memory" in found else ():
        for number, peak in found["memory"][by].items():
            print(
                f"{number:5} {by:7} peak {peak['peak'] / 1e6:6.0f} MB, after loading "
                f"{peak['loaded'] / 1e6:6.0f} MB, on disk {peak['written'] / 1e6:6.0f} MB"
            )
    for row in found.get("codes", []):
        error, programs = row["error"], row["programs"]
        print(
            f"{row['precision']:8} {row['bytes'] / 1e6:7.1f} MB, said {row['estimate']:.3f} times "
            f"that; 1 - IoU {error['mean']:.5f}, worst head {error['worst head']:.5f}, worst "
            f"pattern {error['worst pattern']:.5f}"
        )
        print(
            f"         IoU of the best programs {programs['mean best']:.4f}, of all moved by "
            f"{programs['mean moved by']:.5f}, at most by {programs['most moved by']:.5f}; another "
            f"is best for {programs['other best']} heads"
        )
    print("met:", found["met"])


if __name__ == "__main__":
    main()

"""What replaced heads cost in time: of a forward pass, and of a token generated.

    python benchmarks/replacement.py RUN [--fractions 0.25,1] [--rounds 5] [--threads 1] [--json]

RUN is a run of all heads of a model, as 'headscript explain' made it. Each round times the model
as it is and with each fraction of its heads replaced, one after the other, so that the ratios hold
on a machine that is busy with other things too; the medians over rounds are reported. The texts are
the run's test texts, which the programs have not seen before they are timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch

from headscript.assignment import assign, check_model
from headscript.models import Model, load_model
from headscript.models.attention import mixing
from headscript.replacement import Replacement
from headscript.runs import Run

TOKENS = 256
PROMPT = 32
NEW = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", help="where the run's model is, if not where it was")
    parser.add_argument("--fractions", default="0.25,1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    run = Run.open(options.run)
    model = load_model(options.model or run.config.model)
    check_model(run, model)
    fractions = [float(fraction) for fraction in options.fractions.split(",")]
    sources = {f"{fraction:g}": Replacement(model, assign(run, fraction)) for fraction in fractions}
    texts = [list(text.token_ids)[:TOKENS] for text in run.texts("test")]
    texts = [text for text in texts if len(text) == TOKENS]
    if len(texts) < options.rounds:
        raise SystemExit(f"only {len(texts)} test texts have {TOKENS} tokens; take fewer --rounds")
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "model": run.model.name,
        "heads": {name: len(source.bank.programs) for name, source in sources.items()},
        "terms": {name: source.bank.constants().numel() for name, source in sources.items()},
        "forward": forward(model, sources, texts[: options.rounds]),
        "generation": generation(model, sources, texts[: options.rounds]),
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def forward(
    model: Model, sources: dict[str, Replacement], texts: list[list[int]]
) -> dict[str, Any]:
    """Seconds of a forward pass over 256 tokens, and how many times the untouched one that is."""

    def once(text: list[int]) -> None:
        model.network(torch.tensor([text]), use_cache=False)

    return compared(model, sources, texts, once, "seconds")


def generation(
    model: Model, sources: dict[str, Replacement], texts: list[list[int]]
) -> dict[str, Any]:
    """Seconds a token of greedy generation with a cache, behind a prompt of 32 tokens."""
    network: Any = model.network

    def once(text: list[int]) -> None:
        prompt = torch.tensor([text[:PROMPT]])
        network.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=NEW,
            max_new_tokens=NEW,
            pad_token_id=0,
        )

    found = compared(model, sources, texts, once, "seconds")
    for row in found.values():
        row["tokens_a_second"] = round(NEW / row["seconds"], 2)
        row["seconds"] = round(row["seconds"] / NEW, 5)
    return found


@torch.no_grad()
def compared(
    model: Model,
    sources: dict[str, Replacement],
    texts: list[list[int]],
    once: Callable[[list[int]], None],
    unit: str,
) -> dict[str, Any]:
    """The median time of each way over the texts, and the median ratio to the untouched one."""
    took: dict[str, list[float]] = {"untouched": []} | {name: [] for name in sources}
    for name in took:  # once to warm up, on other tokens
        time_of(model, sources.get(name), once, texts[0][::-1])
    for text in texts:
        for name, times in took.items():
            times.append(time_of(model, sources.get(name), once, text))
    plain = took["untouched"]
    return {
        name: {
            unit: round(median(times), 4),
            "ratio": round(median(t / p for t, p in zip(times, plain, strict=True)), 3),
        }
        for name, times in took.items()
    }


def time_of(
    model: Model, source: Replacement | None, once: Callable[[list[int]], None], text: list[int]
) -> float:
    """Seconds of one way on one text."""
    with ExitStack() as stack:
        if source is not None:
            stack.enter_context(mixing(model.network, source))
        begin = time.perf_counter()
        once(text)
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()

"""How long matching a library with a model takes, and how well its programs do.

    python benchmarks/match.py MODEL TEXTS [--library FILE] [--threads 2] [--max-texts N] [--json]

The time is that of `headscript match` in a process that has its imports done; the model's files are
in the cache. IoU is on test texts, of programs as they are and refitted, and of the best simple
pattern for each head that needs no program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from statistics import fmean

import torch

from headscript.library.matching import match


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--library", help="the starter library, if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--max-texts", type=int)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    begin = time.perf_counter()
    found = match(
        options.model,
        options.texts,
        library=options.library,
        max_texts=options.max_texts,
        max_tokens=options.max_tokens,
    )
    took = time.perf_counter() - begin
    assert found.refitted is not None
    gains = [row.refitted.iou - row.as_is.iou for row in found.by_head if row.refitted]
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "model": found.model,
        "heads": found.heads,
        "library": {"name": found.library, "programs": found.programs, "unusable": found.unusable},
        "texts": found.texts,
        "tokens": found.tokens,
        "seconds": round(took, 1),
        "stages": found.seconds,
        "iou": {
            "as is": round(found.as_is.iou.mean, 4),
            "refitted": round(found.refitted.iou.mean, 4),
            "best simple pattern": round(
                fmean(max(row.baselines.values()) for row in found.by_head), 4
            ),
        },
        "heads_that_gain": sum(gain > 0 for gain in gains),
        "terms": {
            "as is": found.as_is.terms.median,
            "refitted": found.refitted.terms.median,
        },
        "programs_in_use": {
            "as is": found.as_is.programs,
            "refitted": found.refitted.programs,
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

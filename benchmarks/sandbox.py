"""How many runs of free-form programs the sandbox does in a minute on one core.

    python benchmarks/sandbox.py [--seconds S] [--tokens N] [--json]

A run is one program on one text: a process is forked, confined, given the program and the sentence,
and its matrix is checked. One worker is used. Counted are runs a minute by the clock and by the
time of the processor that all processes together took, which a busy machine does not change much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from headscript.sandbox import Sandbox, Sentence, isolation

ASKED = 5_000

PROGRAMS = {
    "loops over tokens": """
import numpy as np
from typing import Tuple
from transformers import PreTrainedTokenizerBase


def attend(sentence: str, tokenizer: PreTrainedTokenizerBase) -> Tuple[str, np.ndarray]:
    encoded = tokenizer([sentence], return_tensors="pt")
    size = len(encoded.input_ids[0])
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids[0])
    out = np.zeros((size, size))
    for query in range(size):
        for key in range(query):
            if tokens[key].startswith("Ġ") and tokens[key] not in {"Ġthe", "Ġa"}:
                out[query, key] = 1.0 / (query - key)
        out[query, 0] += 0.5
    out += 1e-4
    return "words", out / out.sum(axis=1, keepdims=True)
""",
    "arrays": """
import numpy as np


def attend(sentence, tokenizer):
    size = len(tokenizer(sentence)["input_ids"])
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-0.4 * np.abs(distance)) * (distance >= 0)
    return "recency", weights / weights.sum(1, keepdims=True)
""",
    "regular expressions": r"""
import re
from collections import Counter

import numpy as np


def attend(sentence, tokenizer):
    ids = tokenizer.encode(sentence)
    pieces = [tokenizer.decode([number]) for number in ids]
    counted = Counter(piece.strip().lower() for piece in pieces)
    out = np.eye(len(ids)) * 0.1
    for key, piece in enumerate(pieces):
        if re.search(r"[.,;!?]", piece) or counted[piece.strip().lower()] > 1:
            out[key:, key] += 1
    return "punctuation and what comes again", out
""",
}


def sentence(tokens: int) -> Sentence:
    """A sentence of that many tokens, each a word of a story."""
    words = "Once upon a time there was a little girl , who lived near the big old forest .".split()
    pieces = [words[place % len(words)] for place in range(tokens)]
    return Sentence(
        " ".join(pieces),
        tuple(range(tokens)),
        tuple(f"Ġ{piece}" for piece in pieces),
        surfaces=tuple(f" {piece}" for piece in pieces),
    )


def measure(seconds: float, tokens: int) -> dict[str, Any]:
    """Runs a minute of each program."""
    text = sentence(tokens)
    found: dict[str, Any] = {}
    for name, source in PROGRAMS.items():
        with Sandbox(workers=1) as sandbox:
            sandbox.run(source, "attend", [text])  # starts the worker
            pid = sandbox.pids()[0]
            used, begin = _processor(pid), time.perf_counter()
            count = 0
            while time.perf_counter() - begin < seconds:
                outcomes = sandbox.run(source, "attend", [text] * 20)
                failures = [outcome.failure for outcome in outcomes if outcome.failure]
                if failures:
                    raise SystemExit(f"{name}: {failures[0]}")
                count += len(outcomes)
            clock, used = time.perf_counter() - begin, _processor(pid) - used
        found[name] = {
            "runs": count,
            "runs_per_minute_and_core": round(60 * count / used),
            "runs_per_minute_by_clock": round(60 * count / clock),
        }
    return found


def _processor(pid: int) -> float:
    """Seconds of the processor that this process, a worker and the worker's children took."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(fields[place]) for place in (11, 12, 13, 14))
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each program")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.seconds, options.tokens)
    least = min(row["runs_per_minute_and_core"] for row in found.values())
    if options.json:
        result = {
            "tokens": options.tokens,
            "isolation": isolation().as_json(),
            "machine": f"{platform.machine()}, {os.cpu_count()} threads",
            "asked": ASKED,
            "least": least,
            "programs": found,
        }
        print(json.dumps(result))
    else:
        print(f"{options.tokens} tokens, isolation {isolation()}")
        for name, row in found.items():
            print(
                f"{name:24} {row['runs_per_minute_and_core']:>8,} runs a minute and core, "
                f"{row['runs_per_minute_by_clock']:>8,} by the clock"
            )
    sys.exit(0 if least >= ASKED else 1)


if __name__ == "__main__":
    main()

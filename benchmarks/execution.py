"""How many programs on texts are evaluated a second, beside free-form programs in NumPy.

    python benchmarks/execution.py [--library PLACE] [--texts T] [--tokens N] [--repeats R] [--json]

The programs are those of the starter library or of another one: a file, or the folder of a run.
They are evaluated together by `headscript.programs.patterns`, texts and features included, as all
commands do. The free-form programs are those of `freeform_programs.py`, about 60 lines each, with
loops over tokens as language models write them; they are called in this process, without the
sandbox, and what the sandbox adds is told beside it. Both see the same built-in stories, cut to the
same number of tokens. Everything is measured in turn in every repeat, and the best of all repeats
counts.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import freeform_programs
import torch

from headscript.language import Text, read_text
from headscript.library.entries import Library
from headscript.models.loading import load_tokenizer
from headscript.programs.patterns import Patterns
from headscript.programs.program import Program
from headscript.programs.sentences import answers_of, sentence_of
from headscript.sandbox import Sandbox, isolation
from headscript.texts import load_texts

TOKENIZER = "smollm2-135m"
ASKED = 200
_SOME = 12  # texts that free-form programs see in a repeat


def main() -> None:
    """Measure, print, and end with code 1 where less than what is asked for is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", help="a .jsonl file or the folder of a run")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    library = Library.load(options.library)
    tokenizer, causal = load_tokenizer(TOKENIZER)
    texts = cut_texts(tokenizer, causal, options.texts, options.tokens)
    programs = [entry.program for entry in library.entries]
    found = measured(programs, texts, tokenizer, options.repeats)
    threads = torch.get_num_threads()
    result = {
        "machine": f"{processor()}, {os.cpu_count()} threads seen",
        "library": library.name,
        "programs": len(programs),
        "terms": sum(program.terms for program in programs) / len(programs),
        "texts": len(texts),
        "tokens": options.tokens,
        "threads": threads,
        "rates": found,
        "lines": [
            len(inspect.getsource(program).splitlines()) for program in freeform_programs.PROGRAMS
        ],
        "sandbox": {"isolation": str(isolation()), "rate": sandbox_rate(texts[0], tokenizer)},
        "ratio_one_thread": found["one thread"] / found["free-form"],
        "ratio": found["all threads"] / found["free-form"],
        "asked": ASKED,
    }
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    sys.exit(0 if max(result["ratio"], result["ratio_one_thread"]) >= ASKED else 1)


def cut_texts(tokenizer: Any, causal: bool, count: int, tokens: int) -> list[tuple[str, Text]]:
    """Beginnings of stories that are read as exactly so many tokens."""
    found = []
    for document in load_texts("stories", max_texts=None, field="text"):
        ids = tokenizer(document.text)["input_ids"][:tokens]
        sentence = tokenizer.decode(ids)
        if len(ids) == tokens and tokenizer(sentence)["input_ids"] == ids:
            found.append((sentence, read_text(tokenizer, ids, causal=causal)))
        if len(found) == count:
            break
    return found


def measured(
    programs: Sequence[Program],
    texts: Sequence[tuple[str, Text]],
    tokenizer: Any,
    repeats: int,
) -> dict[str, float]:
    """Results a second."""
    threads = torch.get_num_threads()
    patterns = Patterns(programs, causal=texts[0][1].causal)
    read = [text for _, text in texts]

    def together(number: int) -> int:
        torch.set_num_threads(number)
        done = sum(len(cells) for _, cells in patterns.on(read))
        torch.set_num_threads(threads)
        if patterns.failures:
            raise SystemExit(f"{len(patterns.failures)} programs fail")
        return done

    def freely() -> int:
        for program in freeform_programs.PROGRAMS:
            for sentence, text in texts[:_SOME]:
                name, matrix = program(sentence, tokenizer)
                assert matrix.shape == (len(text), len(text)), name
        return len(freeform_programs.PROGRAMS) * len(texts[:_SOME])

    together(threads)  # banks are made, code is compiled, tokens are seen
    work: dict[str, Callable[[], int]] = {
        "one thread": lambda: together(1),
        "all threads": lambda: together(threads),
        "free-form": freely,
    }
    found = dict.fromkeys(work, 0.0)
    for _ in range(repeats):
        for name, call in work.items():
            begin = time.perf_counter()
            done = call()
            found[name] = max(found[name], done / (time.perf_counter() - begin))
    return found


def sandbox_rate(text: tuple[str, Text], tokenizer: Any, runs: int = 20) -> float:
    """Results a second of the same free-form programs in the sandbox."""
    code = Path(inspect.getfile(freeform_programs)).read_text()
    sentence, answers = sentence_of(text[1]), answers_of(tokenizer)
    with Sandbox(workers=1) as sandbox:
        taken = 0.0
        for number, program in enumerate(
            [freeform_programs.PROGRAMS[0], *freeform_programs.PROGRAMS]
        ):
            begin = time.perf_counter()
            outcomes = sandbox.run(code, program.__name__, [sentence] * runs, answers=answers)
            if number:  # the first starts the worker
                taken += time.perf_counter() - begin
            failures = [outcome.failure for outcome in outcomes if outcome.failure]
            if failures:
                raise SystemExit(f"{program.__name__}: {failures[0]}")
    return runs * len(freeform_programs.PROGRAMS) / taken


def processor() -> str:
    """What it is called."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return lines[0].split(":")[1].strip() if lines else platform.machine()


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    print(
        f"{result['machine']}; {result['programs']} programs of {result['library']}, "
        f"{result['terms']:.1f} terms, on {result['texts']} texts of {result['tokens']} tokens"
    )
    for name, rate in result["rates"].items():
        print(f"{name:12} {rate:>10,.0f} results a second")
    sandbox = result["sandbox"]
    print(f"{'in a sandbox':12} {sandbox['rate']:>10,.0f} ({sandbox['isolation']})")
    print(
        f"{result['ratio_one_thread']:.0f} times as many on one thread, {result['ratio']:.0f} on "
        f"{result['threads']}; asked {result['asked']}"
    )


if __name__ == "__main__":
    main()

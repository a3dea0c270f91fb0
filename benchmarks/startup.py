"""How long commands take that only read: from the start of a fresh process to its end.

    python benchmarks/startup.py [--run RUN] [--processes N] [--json]

RUN is the folder of a finished run; without it, one layer of SmolLM2-135M is explained first, which
takes a minute. It is not written: a copy is, without its recording, and portraits are made in the
copy where the run is older than they are. Medians of so many processes, in turn, with warm disks;
beside them an interpreter that does nothing and one that imports torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from headscript.evaluation.portrait_files import keep_portraits
from headscript.explaining import explain
from headscript.runs import Run

HELP, RUN, HEAD = "headscript --help", "headscript show RUN", "headscript show RUN HEAD"
EMPTY, TORCH = "python, nothing else", "python, import torch"
FLOORS = {HELP: 0.5, RUN: 1.0, HEAD: 1.0}
"""Seconds, at most."""


def main() -> None:
    """Measure, print, and end with code 1 where a command takes longer than asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        run = prepared(options.run, Path(folder))
        heads = run.results().heads
        seconds = measured(run, options.processes)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} threads seen",
        "heads": len(heads),
        "processes": options.processes,
        "seconds": seconds,
        "asked": FLOORS,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['machine']}; a run of {len(heads)} heads; {options.processes} processes")
        for name, (middle, least, most) in seconds.items():
            asked = f", asked {FLOORS[name]:g}" if name in FLOORS else ""
            print(f"{name:26} {middle:.2f} s ({least:.2f} to {most:.2f}){asked}")
    sys.exit(any(seconds[name][0] > floor for name, floor in FLOORS.items()))


def prepared(given: Path | None, folder: Path) -> Run:
    """A finished run with portraits that may be written."""
    place = folder / "run"
    if given is None:
        return explain("smollm2-135m", "stories", place, heads="L4", max_texts=12, max_tokens=64)
    shutil.copytree(given, place, ignore=shutil.ignore_patterns("recording", "search"))
    (place / "recording").symlink_to((given / "recording").resolve())
    with Run.open_for_writing(place) as run:
        if not run.has("portraits.safetensors"):
            keep_portraits(run, [row.model_dump() for row in run.results().heads])
    return run


def measured(run: Run, processes: int) -> dict[str, tuple[float, float, float]]:
    """Median, least and most seconds of each command."""
    script = Path(sys.executable).with_name("headscript")
    start = [str(script)] if script.is_file() else [sys.executable, "-m", "headscript"]
    rows = run.results().heads
    row = rows[len(rows) // 2]
    commands: dict[str, list[str]] = {
        EMPTY: [sys.executable, "-c", ""],
        HELP: [*start, "--help"],
        RUN: [*start, "show", str(run.directory)],
        HEAD: [*start, "show", str(run.directory), f"L{row.layer}H{row.head}"],
        TORCH: [sys.executable, "-c", "import torch"],
    }
    taken: dict[str, list[float]] = {kind: [] for kind in commands}
    for turn in range(processes + 1):
        for kind, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn:  # the first warms the disk
                taken[kind].append(time.perf_counter() - begin)
    return {kind: (median(all_), min(all_), max(all_)) for kind, all_ in taken.items()}


if __name__ == "__main__":
    main()

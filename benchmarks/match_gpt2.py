"""How well a library's programs do for the 144 heads of GPT-2 small, whose weights are not at hand.

    python benchmarks/match_gpt2.py FOLDER [--library FILE] [--no-refit] [--json]

FOLDER holds real attention patterns of GPT-2 124M on a few short prompts (ex0.json and so on), and
its tokenizer. They are imported as a recording. For each prompt a head takes the program that does
best on the other prompts, or that was fitted on these, and its IoU on this one counts. Beside it
stands what choosing on the very prompts that are reported gives. Exit code 1 where programs chosen
on other prompts reach less than 0.8.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from headscript.attention_files import import_recording
from headscript.library.entries import Library
from headscript.library.matching import match

ASKED = 0.8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--library", help="the starter library, if not given")
    parser.add_argument("--no-refit", action="store_true", help="programs as they are alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measured(options.folder, Library.load(options.library), not options.no_refit)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))
    sys.exit(result["iou"]["as they are, chosen on the other prompts"]["mean"] < ASKED)


def measured(folder: Path, library: Library, refit: bool) -> dict[str, Any]:
    """Mean IoU over heads and prompts: of programs chosen in either way, and of simple patterns."""
    with TemporaryDirectory() as temporary:
        begin = perf_counter()
        files = sorted(folder.glob("ex*.json"))
        imported = import_recording(files, Path(temporary) / "run", tokenizer=folder)
        took_import = perf_counter() - begin
        begin = perf_counter()
        found = match(imported.run.directory, library=library, refit=refit, leave_one_out=True)
        took_match = perf_counter() - begin
    out = found.left_out
    assert out is not None
    return {
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "library": found.library,
        "programs": found.programs - sum(found.unusable.values()),
        "heads": found.heads,
        "prompts": out.texts,
        "iou": {
            "as they are, chosen on the other prompts": out.as_is.model_dump(mode="json"),
            "refitted on the other prompts": out.refitted and out.refitted.model_dump(mode="json"),
            "as they are, chosen on the same prompts": out.chosen_on_all,
        },
        "baselines": out.baselines,
        "seconds": {"import": round(took_import, 2), "match": round(took_match, 1)},
    }


if __name__ == "__main__":
    main()

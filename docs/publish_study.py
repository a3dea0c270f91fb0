"""Copies the report of a study into the documentation, with what it shows that is small.

    python docs/publish_study.py STUDY [--out docs/study]

Runs and atlases are large and stay where they are; links to them become plain words.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

LARGE = 150_000  # bytes
COPIED = ("figures/study-*.svg", "results/*.csv")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(<([^>]*)>\)")


def main() -> None:
    """Copy, and say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "study")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    kept = set()
    for pattern in COPIED:
        for file in sorted(options.study.glob(pattern)):
            name = str(file.relative_to(options.study))
            if file.stat().st_size > LARGE:
                print(f"left out, {file.stat().st_size / 1e3:.0f} kB: {name}")
                continue
            place = options.out / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
            kept.add(name)

    def link(found: re.Match[str]) -> str:
        return found[0] if found[2] in kept else found[1]

    report = (options.study / "report.md").read_text(encoding="utf-8")
    (options.out / "report.md").write_text(LINK.sub(link, report), encoding="utf-8")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {len(kept) + 1} files, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

"""The atlas as a file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.report.atlas.gathering import gather
from headscript.runs import Run

FILE = "atlas.html"
"""Name of the file in a run, unless one says otherwise."""

_NEEDED = ("jinja2", "pygments", "vl_convert")


@dataclass(frozen=True)
class Written:
    """An atlas that was written."""

    file: Path
    bytes: int
    version: str
    """Of the programs it shows."""
    heads: int
    sample: dict[str, int] | None
    """The test texts it looked at; None where it shows no patterns."""
    note: str
    """Why it shows no patterns, or nothing."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "file": str(self.file),
            "bytes": self.bytes,
            "version": self.version,
            "heads": self.heads,
            "sample": self.sample,
            "note": self.note,
        }


def require_report() -> None:
    """Raise HeadscriptError where packages of the extra `report` are missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise HeadscriptError(
            f"The atlas needs packages that are not here ({', '.join(missing)}): pip install "
            "'headscript[report]'."
        )


def write_atlas(
    run: str | Path,
    out: str | Path | None = None,
    *,
    version: str | None = None,
    compare: str | Path | None = None,
    compare_version: str | None = None,
    on_event: Listener = ignore,
) -> Written:
    """Write what a finished run found as one HTML file that needs nothing else.

    `out` None is RUN/atlas.html. `version` None takes the newest of the run's programs. `compare`
    is a second run to show beside it; `compare_version` alone compares with another version of the
    same run. Raises HeadscriptError as `gather` does, where the extra is missing, and where the
    file cannot be written.
    """
    require_report()
    opened = Run.open(run)
    file = opened.directory / FILE if out is None else Path(out).expanduser()
    if file.is_dir():
        raise HeadscriptError(f"{file} is a folder; name a file for the atlas in --out.")
    other = None
    if compare is not None or compare_version is not None:
        other = Run.open(run if compare is None else compare)
    atlas = gather(
        opened,
        version=version,
        compare=other,
        compare_version=compare_version,
        on_event=on_event,
    )
    from headscript.report.atlas.page.page import render

    page = render(atlas.payload, atlas.patterns).encode()
    write_atomically(file, page)
    return Written(
        file=file,
        bytes=len(page),
        version=atlas.payload["version"],
        heads=len(atlas.payload["heads"]),
        sample=atlas.payload["sample"],
        note=atlas.payload["note"],
    )

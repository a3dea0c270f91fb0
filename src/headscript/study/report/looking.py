"""What a run's programs leave unexplained, and the vocabulary that they use.

Both need every program read and run on the test texts, which takes seconds a run; what came of it
is kept in STUDY/results/unexplained.json and used again as long as the run is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headscript.events import Listener, ignore
from headscript.runs import FOUND, Run
from headscript.study.folder import StudyFolder
from headscript.versions import VOCABULARY_VERSION

_FILE = "results/unexplained.json"
_FORMAT = 1
"""Grows when the same run would give something else."""


@dataclass(frozen=True)
class Looked:
    """What was seen of the programs that `explain` wrote, on test texts of their run."""

    unexplained: Mapping[str, Any] | None
    """Share of attention mass that no program matches, as the atlas has it; None without it."""
    sample: Mapping[str, int] | None
    """The test texts looked at: "texts", "of" so many, "tokens"; None where there are none."""
    words: Mapping[str, list[str]]
    """By head, the entries of the vocabulary that its program uses."""
    note: str = ""
    """Why there are no patterns."""


def look_at(folder: StudyFolder, run: Run, name: str, on_event: Listener = ignore) -> Looked:
    """Look at a run's programs, or read what came of it before; `name` is the run's in the study.

    Raises HeadscriptError where the gate refuses a program, naming its line.
    """
    kept = _kept(folder)
    key = _key(run)
    if name in kept and kept[name].get("key") == key:
        return Looked(**kept[name]["found"])
    from headscript.report.atlas.account import account_of
    from headscript.report.atlas.unexplained import unexplained

    account = account_of(run, FOUND, on_event=on_event)
    sample = account.seen.sample
    found = Looked(
        unexplained=unexplained(account),
        sample=None if sample is None else sample.facts(),
        words={str(head): row["words"] for head, row in account.rows.items() if row["words"]},
        note=account.seen.note,
    )
    # Through JSON, so that it is the same now and when it is read again.
    row = json.loads(json.dumps({"key": key, "found": asdict(found)}, allow_nan=False))
    kept[name] = row
    content = json.dumps(dict(sorted(kept.items())), indent=1, allow_nan=False) + "\n"
    folder.write(_FILE, content.encode())
    return Looked(**row["found"])


def _kept(folder: StudyFolder) -> dict[str, Any]:
    """By run; nothing where the file is missing or damaged, for it can be made again."""
    try:
        found = json.loads((folder.directory / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(run: Run) -> str:
    """Hash of all that the look hangs on."""
    digest = hashlib.sha256(f"{_FORMAT} {VOCABULARY_VERSION}".encode())
    for path in ("run.json", "results.json"):
        digest.update(run.read(path))
    for file in sorted(run.program_folder(FOUND).glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()

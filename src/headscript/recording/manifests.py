"""The folder of a recording: its manifest, the names of its shards, and beginning it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from headscript.disk import write_atomically
from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.recording.planning import Plan, size_in_words

FORMAT = 1
_MANIFEST = "recording.json"

_NOT_COMPARED = ("model", "shards")
"""The same weights can be reached by several names, and texts be shared out otherwise."""


@dataclass(frozen=True)
class Begun:
    """A recording of which the manifest is there, and perhaps some shards."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def shards(self) -> list[list[int]]:
        """The texts of each shard."""
        found: list[list[int]] = self.manifest["shards"]
        return found

    @cached_property
    def plan(self) -> Plan:
        """Which heads are recorded on texts of which lengths, and how they are kept."""
        return Plan(
            self.manifest["token_counts"],
            [Head.parse(name) for name in self.manifest["heads"]],
            self.manifest["causal"],
            self.manifest["dtype"],
        )

    def folder(self, number: int) -> Path:
        """Where a shard is, or will be."""
        return self.directory / shard_name(number)

    def missing(self) -> list[int]:
        """The shards that are not there yet."""
        return [number for number in range(len(self.shards)) if not self.folder(number).is_dir()]


def begin_folder(directory: Path, manifest: dict[str, Any]) -> Begun:
    """Write the manifest, or see that the one there is of the same recording, and take that.

    Raises HeadscriptError where it is of another, and where there is too little room.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = read_manifest(directory)
    if found is not None:
        different = [
            key for key in manifest if key not in _NOT_COMPARED and manifest[key] != found.get(key)
        ]
        if different:
            raise HeadscriptError(
                f"{directory} holds another recording (different: {', '.join(different)}); choose "
                "another directory, or delete this one."
            )
    begun = Begun(directory, manifest if found is None else found)
    _check_room(begun, [begun.shards[number] for number in begun.missing()])
    if found is None:
        write_atomically(directory / _MANIFEST, json.dumps(manifest).encode())
    return begun


def _check_room(begun: Begun, shards: Sequence[Sequence[int]]) -> None:
    needed = sum(map(begun.plan.shard_bytes, shards))
    free = shutil.disk_usage(begun.directory).free
    if needed > free:
        raise HeadscriptError(
            f"The recording needs {size_in_words(needed)}, but only {size_in_words(free)} are free "
            f"in {begun.directory}; record fewer texts, tokens or heads, or choose another place."
        )


def read_begun(directory: Path) -> Begun:
    """The recording in a folder; raises HeadscriptError where none was begun."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise HeadscriptError(f"{directory} holds no recording.")
    return Begun(directory, manifest)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest in a folder, None without one; raises HeadscriptError where it is damaged."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HeadscriptError(
            f"The recording in {directory} cannot be read ({error}); delete it and record again."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise HeadscriptError(
            f"The recording in {directory} was made by another version; delete it and record again."
        )
    return manifest


def shard_name(number: int) -> str:
    """The name of a shard's folder."""
    return f"shard-{number:05d}"

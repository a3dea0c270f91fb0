"""The user's cache of models: folders that are there completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from headscript.errors import HeadscriptError

_SEAL = "headscript.json"


def cache_folder() -> Path:
    """The folder for downloaded models: HEADSCRIPT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("HEADSCRIPT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("headscript"))


def built_once(name: str, build: Callable[[Path], str]) -> tuple[Path, str]:
    """Give the cached model folder `name` and its weights' SHA-256, building it if it is missing.

    `build` fills an empty folder and returns the hash. The folder takes its place by a rename, so
    that a killed build leaves nothing that looks finished; two processes do not build at once.
    Later calls only compare the sizes of the files with those noted when the folder was built.

    Raises HeadscriptError where the cache folder cannot be written.
    """
    parent = cache_folder() / "models"
    target = parent / name
    digest = _read_seal(target)
    if digest is not None:
        return target, digest
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f".{name}.lock"):
            digest = _read_seal(target)  # another process may have built it meanwhile
            if digest is not None:
                return target, digest
            for left_over in parent.glob(f".{name}.part-*"):
                shutil.rmtree(left_over)
            part = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=parent))
            try:
                digest = build(part)
                _write_seal(part, digest)
                shutil.rmtree(target, ignore_errors=True)  # there, but damaged
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise HeadscriptError(
            f"The cache folder {cache_folder()} cannot be used ({error.strerror or error}); "
            "make room or name another folder in HEADSCRIPT_CACHE."
        ) from error
    return target, digest


def _write_seal(folder: Path, digest: str) -> None:
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / _SEAL).write_text(json.dumps({"weights_hash": digest, "sizes": sizes}, indent=1))


def _read_seal(folder: Path) -> str | None:
    """The weights' hash of a finished, unharmed folder, else None."""
    try:
        seal = json.loads((folder / _SEAL).read_text())
        unharmed = all((folder / file).stat().st_size == n for file, n in seal["sizes"].items())
        return str(seal["weights_hash"]) if unharmed else None
    except (OSError, ValueError, KeyError):
        return None

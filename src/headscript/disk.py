"""Writing files so that a killed process leaves each one whole, old or new, and never a half."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headscript.errors import HeadscriptError

_REASONS = {
    errno.ENOSPC: "the disk is full; make room and start again, nothing finished is lost",
    errno.EDQUOT: "the quota is used up; make room and start again, nothing finished is lost",
    errno.EFBIG: "the file would be larger than is allowed here; choose another place",
    errno.EACCES: "there is no permission to; choose another place",
    errno.EPERM: "there is no permission to; choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place",
    errno.EEXIST: "a file of that name is there already; choose another place",
}


@contextmanager
def clear_disk_errors(place: Path) -> Iterator[None]:
    """Turn what the system says of a full disk, a missing permission and the like into a sentence.

    Raises HeadscriptError, naming `place`, for an OSError raised inside.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise HeadscriptError(f"{place} cannot be written: {reason}.") from error


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that it is there as a whole or not at all.

    What is not finished lies beside it under a name of its own, so that two processes, on two
    machines even, may write the same file and the last one stays. Raises HeadscriptError where the
    file cannot be written.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    with clear_disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(file.parent)


def sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder, not in those below it."""
    for part in folder.glob(".*.part"):
        if part.is_file():
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name outlast a power cut, where the system can be asked to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

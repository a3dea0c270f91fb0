"""Landlock: a process gives up files, TCP and signals to others, for good.

The rule set handles every right that this kernel knows and grants none, so no path is left open.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every architecture
_VERSION_FLAG = 1

# Rights by the version of Landlock that brought them.
_FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NETWORK = {4: 0b11}  # bind and connect
_SCOPES = {6: 0b11}  # abstract sockets and signals


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


def version() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    if sys.platform != "linux":
        return 0
    # The size of the attributes is 0 and so is their address: this asks for the version.
    found: int = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(0, found)


def restrict(abi: int) -> None:
    """Give up everything that version `abi` can take; raises OSError where that fails.

    The process must have given up new privileges before.
    """
    libc = _libc()
    attributes = _Attributes(*(_known(rights, abi) for rights in (_FILES, _NETWORK, _SCOPES)))
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    try:
        if libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _known(rights: dict[int, int], abi: int) -> int:
    return sum(bits for since, bits in rights.items() if since <= abi)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

"""A seccomp filter: the system calls that are left to a program, and nothing else.

Three answers: *allowed*; *refused*, an error that libraries come through when they look around; and
the end of the process, which is what everything not named here gets. The filter is classic BPF,
written by hand for x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Iterable

CHANNEL = 3
"""The one descriptor that a program may write and read."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

# name: (x86_64, aarch64); -1 where an architecture has no such call.
_ALLOWED = {
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "madvise": (28, 233),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "times": (100, 153),
}
_REFUSED = {
    "access": (21, -1),
    "dup": (32, 23),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getrandom": (318, 278),
    "ioctl": (16, 29),
    "lseek": (8, 62),
    "lstat": (6, -1),
    "newfstatat": (262, 79),
    "openat2": (437, 437),
    "poll": (7, -1),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "readlink": (89, -1),
    "readlinkat": (267, 78),
    "stat": (4, -1),
    "statx": (332, 291),
    "uname": (63, 160),
}
_READ, _WRITE = (0, 63), (1, 64)
_MMAP, _MPROTECT = (9, 222), (10, 226)
_OPEN, _OPENAT = (2, -1), (257, 56)
_TGKILL = (234, 131)

_PROT_EXEC = 4
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000  # write only, both, create, truncate, append

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM

_PR_SET_SECCOMP, _FILTER = 22, 2

_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def supported() -> bool:
    """Whether there is a filter for this machine and the kernel takes one."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return False
    # With an address of nothing the kernel says EFAULT if it knows filters and EINVAL if not.
    ctypes.set_errno(0)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def restrict(pid: int) -> None:
    """Leave this process, whose number is `pid`, the calls above; raises OSError if that fails.

    The process must have given up new privileges before, and loses the means to call this again.
    """
    code = b"".join(struct.pack("<HBBI", *one) for one in _filter(platform.machine(), pid))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def _filter(machine: str, pid: int) -> list[_Instruction]:
    """The filter for a machine. It looks at call numbers one after the other."""
    column = list(_ARCHITECTURES).index(machine)
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]

    def numbers(calls: Iterable[tuple[int, int]]) -> list[int]:
        return sorted(call[column] for call in calls if call[column] >= 0)

    def when_argument(
        call: tuple[int, int], argument: int, test: int, value: int, yes: int, no: int
    ) -> None:
        """One call whose answer hangs on an argument, of which the kernel reads the low half."""
        for number in numbers([call]):
            code.extend(
                (
                    (_EQUAL, 0, 4, number),
                    (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
                    (test, 0, 1, value),
                    (_RETURN, 0, 0, yes),
                    (_RETURN, 0, 0, no),
                )
            )

    when_argument(_WRITE, 0, _EQUAL, CHANNEL, _ALLOW, _REFUSE)
    when_argument(_READ, 0, _EQUAL, CHANNEL, _ALLOW, _REFUSE)
    when_argument(_MMAP, 2, _ANY_BIT, _PROT_EXEC, _REFUSE, _ALLOW)
    when_argument(_MPROTECT, 2, _ANY_BIT, _PROT_EXEC, _REFUSE, _ALLOW)
    when_argument(_OPEN, 1, _ANY_BIT, _WRITING, _KILL, _REFUSE)
    when_argument(_OPENAT, 2, _ANY_BIT, _WRITING, _KILL, _REFUSE)
    when_argument(_TGKILL, 0, _EQUAL, pid, _ALLOW, _KILL)
    for calls, answer in ((_ALLOWED, _ALLOW), (_REFUSED, _REFUSE)):
        for number in numbers(calls.values()):
            code.extend(((_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)))
    code.append((_RETURN, 0, 0, _KILL))
    return code

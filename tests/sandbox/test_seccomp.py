"""The filter says what it should on both machines, read by a small interpreter of its language."""

import errno

import pytest

from headscript.sandbox import seccomp

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
PID = 4321

# name: (x86_64, aarch64)
CALLS = {
    "write": (1, 64),
    "read": (0, 63),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "openat": (257, 56),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
    "socket": (41, 198),
    "connect": (42, 203),
    "sendmsg": (46, 211),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "kill": (62, 129),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "mkdirat": (258, 34),
    "fchmodat": (268, 53),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "mount": (165, 40),
    "unshare": (272, 97),
    "pidfd_open": (434, 434),
    "memfd_create": (319, 279),
    "seccomp": (317, 277),
    "shmget": (29, 194),
    "setrlimit": (160, 164),
}


def answer(machine: str, call: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter says of a call."""
    found = MACHINES[machine][0] if architecture is None else architecture
    words = {0: call, 4: found}
    for place, argument in enumerate(arguments):
        words[16 + 8 * place] = argument & 0xFFFFFFFF
        words[20 + 8 * place] = argument >> 32
    code, place, accumulator = seccomp._filter(machine, PID), 0, 0
    while True:
        operation, yes, no, value = code[place]
        place += 1
        if operation == 0x06:
            return value
        if operation == 0x20:
            accumulator = words.get(value, 0)
            continue
        holds = {
            0x15: accumulator == value,
            0x35: accumulator >= value,
            0x45: bool(accumulator & value),
        }[operation]
        place += yes if holds else no


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("write", (3, 0, 10), ALLOW),
        ("write", (2, 0, 10), REFUSE),
        ("write", (1 << 32 | 3, 0, 10), ALLOW),  # the kernel reads the low half alone
        ("read", (3, 0, 10), ALLOW),
        ("read", (0, 0, 10), REFUSE),
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 7), REFUSE),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 5), REFUSE),
        ("munmap", (), ALLOW),
        ("exit_group", (), ALLOW),
        ("openat", (0, 0, 0), REFUSE),
        ("openat", (0, 0, 0o1), KILL),
        ("openat", (0, 0, 0o2), KILL),
        ("openat", (0, 0, 0o100), KILL),
        ("tgkill", (PID, PID, 6), ALLOW),
        ("tgkill", (PID - 1, PID, 6), KILL),
        *((name, (), REFUSE) for name in ("getrandom", "ioctl", "fcntl", "prctl", "prlimit64")),
        *((name, (), KILL) for name in list(CALLS)[list(CALLS).index("socket") :]),
    ],
)
def test_calls(machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
    number = CALLS[name][MACHINES[machine][1]]
    assert answer(machine, number, *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_another_interface_ends_the_process(machine: str) -> None:
    other = next(facts[0] for name, facts in MACHINES.items() if name != machine)
    exit_group = CALLS["exit_group"][MACHINES[machine][1]]
    assert answer(machine, exit_group, architecture=other) == KILL
    assert answer(machine, exit_group, architecture=0x40000003) == KILL  # 32 bits
    assert answer(machine, 0x40000000 | exit_group) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_not_named_ends_the_process(machine: str) -> None:
    column = MACHINES[machine][1]
    named = {
        calls[column]
        for calls in (
            *seccomp._ALLOWED.values(),
            *seccomp._REFUSED.values(),
            seccomp._READ,
            seccomp._WRITE,
            seccomp._MMAP,
            seccomp._MPROTECT,
            seccomp._OPEN,
            seccomp._OPENAT,
            seccomp._TGKILL,
        )
    }
    assert len(named) < 70
    for number in range(600):
        if number not in named:
            assert answer(machine, number) == KILL

"""Restricts which system calls this process may make, through the kernel's seccomp.

The list has what readers and renderers need: memory, threads, time, and reading files. Any other
call fails with EPERM, so that a library that can do without it goes on: no socket, no process, no
program, no file to write, no signal to another process, no debugger, no mount, no io_uring.
"""

import ctypes
import errno
import os
import platform

_LIBC = ctypes.CDLL(None, use_errno=True)

# Numbers on x86_64 and aarch64; -1 where the call does not exist.
ALLOWED: dict[str, tuple[int, int]] = {
    "access": (21, -1),
    "alarm": (37, -1),
    "arch_prctl": (158, -1),
    "brk": (12, 214),
    "capget": (125, 90),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, -1),
    "dup3": (292, 24),
    "eventfd2": (290, 19),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "futex": (202, 98),
    "get_mempolicy": (239, 236),
    "get_robust_list": (274, 100),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getpriority": (140, 141),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "lseek": (8, 62),
    "lstat": (6, -1),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mincore": (27, 232),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "msync": (26, 227),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "pipe2": (293, 59),
    "poll": (7, -1),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readlink": (89, -1),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_setaffinity": (203, 122),
    "sched_yield": (24, 124),
    "select": (23, -1),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "setitimer": (38, 103),
    "sigaltstack": (131, 132),
    "stat": (4, -1),
    "statfs": (137, 43),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "uname": (63, 160),
    "write": (1, 64),
    "writev": (20, 66),
}
# Allowed with certain arguments only.
CHECKED: dict[str, tuple[int, int]] = {
    "clone": (56, 220),
    "ioctl": (16, 29),
    "open": (2, -1),
    "openat": (257, 56),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
}
# Allowed where there is a folder to write in; Landlock decides which.
OF_SCRATCH: dict[str, tuple[int, int]] = {
    "ftruncate": (77, 46),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
}
# Their arguments lie in memory, which a filter cannot read; libraries fall back to older calls.
UNKNOWN: dict[str, tuple[int, int]] = {"clone3": (435, 435), "openat2": (437, 437)}

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_SET_FILTER, _ALL_THREADS = 1, 1
_CLONE_THREAD = 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Whether a file is a terminal, how much can be read, flags of a descriptor.
_PLAIN_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
_NAME_THREAD, _GET_NAME, _NAME_MEMORY = 15, 16, 0x53564D41
_SYSTEM_CALL = {"x86_64": 317, "aarch64": 277}

Instruction = tuple[int, int, int, int]


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def is_known() -> bool:
    """Whether this kernel and architecture have filters of system calls."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    with open("/proc/self/status") as status:
        return "Seccomp_filters:" in status.read()


def restrict_calls(*, devices: bool, scratch: bool = False) -> bool:
    """Restrict every thread of this process, for good.

    Args:
        devices: allow ioctl and opening for writing, as a GPU's driver needs; Landlock then
            decides which files.
        scratch: allow opening for writing, and deleting; Landlock decides where.

    Returns:
        Whether the kernel does so.
    """
    if not is_known():
        return False
    code = program(platform.machine(), os.getpid(), devices=devices, scratch=scratch)
    lines = (_Instruction * len(code))(*(_Instruction(*line) for line in code))
    filled = _Program(len(code), lines)
    number = _SYSTEM_CALL[platform.machine()]
    flags = ctypes.c_uint(_ALL_THREADS)
    return _LIBC.syscall(number, ctypes.c_uint(_SET_FILTER), flags, ctypes.byref(filled)) == 0


def program(machine: str, pid: int, *, devices: bool, scratch: bool = False) -> list[Instruction]:
    """Return the filter's instructions."""
    column, architecture = _ARCHITECTURES[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    allowed = ALLOWED | OF_SCRATCH if scratch else ALLOWED
    for numbers in allowed.values():
        code += _on(numbers[column], [(_RETURN, 0, 0, _ALLOW)])
    for name, numbers in CHECKED.items():
        code += _on(numbers[column], _check(name, pid, devices, scratch))
    for numbers in UNKNOWN.values():
        code += _on(numbers[column], [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    return [*code, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _on(number: int, block: list[Instruction]) -> list[Instruction]:
    """Run a block, which ends the filter, for one system call."""
    return [(_EQUAL, 0, len(block), number), *block] if number >= 0 else []


def _check(name: str, pid: int, devices: bool, scratch: bool) -> list[Instruction]:
    match name:
        case "clone":  # a thread, never a process
            return _if_bits(0, _CLONE_THREAD, then=_ALLOW, otherwise=_ERRNO | errno.EPERM)
        case "open" | "openat" if not devices and not scratch:
            flags = 1 if name == "open" else 2
            return _if_bits(flags, _WRITING, then=_ERRNO | errno.EACCES, otherwise=_ALLOW)
        case "open" | "openat":
            return [(_RETURN, 0, 0, _ALLOW)]
        case "ioctl" if devices:
            return [(_RETURN, 0, 0, _ALLOW)]
        case "ioctl":
            return _if_among(1, _PLAIN_IOCTLS, errno.ENOTTY)
        case "prctl":
            return _if_among(0, (_NAME_THREAD, _GET_NAME, _NAME_MEMORY), errno.EPERM)
        case "prlimit64":
            return _if_among(0, (0, pid), errno.EPERM)
        case "tgkill":  # a signal to itself, as abort sends it
            return _if_among(0, (pid,), errno.EPERM)
    raise ValueError(name)


def _if_bits(argument: int, bits: int, *, then: int, otherwise: int) -> list[Instruction]:
    return [
        _load_argument(argument),
        (_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, then),
        (_RETURN, 0, 0, otherwise),
    ]


def _if_among(argument: int, values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    tests = [
        (_EQUAL, len(values) - 1 - place, 1 if place == len(values) - 1 else 0, value)
        for place, value in enumerate(values)
    ]
    return [
        _load_argument(argument),
        *tests,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | otherwise),
    ]


def _load_argument(argument: int) -> Instruction:
    # The lower half of eight bytes: all of these arguments are of four, and both are
    # little-endian.
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)

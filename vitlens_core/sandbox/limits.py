"""Limits of the process that handles an untrusted file, and the end of its rights."""

import ctypes
import os
import resource
import signal

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITIES_VERSION_3 = 0x20080522
# Room for the libraries that are imported late, and a bound on what a file can keep open.
_FILES = 512
_LOG_BYTES = 2**20  # the log is the only file that is written
_SCRATCH_BYTES = 512 * 2**20  # largest file in a folder to write in


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def limit_files(*, has_scratch: bool = False) -> None:
    """Bound the open files and what can be written to one; forbid core dumps."""
    # RLIMIT_NPROC is no help: it counts all processes of the user, and drivers need threads.
    for limit, value in (
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_FSIZE, _SCRATCH_BYTES if has_scratch else _LOG_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full log is no reason to end


def used_mb(*, devices: bool) -> float:
    """Return what `limit_memory` limits: the address space, or its writable private part."""
    with open("/proc/self/statm") as statm:
        pages = statm.read().split()
    return int(pages[5 if devices else 0]) * resource.getpagesize() / 2**20


def limit_memory(limit_mb: int, *, devices: bool = False) -> None:
    """Cap this process's memory at what it has now plus `limit_mb`.

    Args:
        devices: whether a driver of a graphics device works here.
    """
    # Linux enforces no limit of resident memory, only one of the address space, and one of the
    # writable private part of it. NVIDIA's drivers reserve terabytes of addresses that are neither
    # readable nor writable, and map their device: only the second limit leaves these out.
    kind = resource.RLIMIT_DATA if devices else resource.RLIMIT_AS
    limit = int((used_mb(devices=devices) + limit_mb) * 2**20)
    resource.setrlimit(kind, (limit, limit))


def limit_processor(seconds: float) -> None:
    """Allow this much more processor time, of all threads together, before SIGXCPU ends it."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(spent.ru_utime + spent.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def drop_rights() -> None:
    """Give up all capabilities (root has some) and the way to gain any, for all time."""
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _LIBC.capset(ctypes.byref(header), ctypes.byref(nothing))

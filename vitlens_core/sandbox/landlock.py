"""Restricts which files this process may open, through the kernel's Landlock (Linux 5.13).

Everything that Landlock knows is refused, reads and writes, but for the paths that are named.
What is open already stays open. Threads that run already are not restricted: call it first.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
# Numbers of system calls; the same on every architecture.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL = 1 << 1, 1 << 2, 1 << 3, 1 << 15
_REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
# How many of the rights to files each version of the interface knows (from version 1).
_RIGHTS_OF_VERSION = (13, 14, 15, 15, 16)
_TCP_FROM, _TCP = 4, 0b11  # binding and connecting
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract sockets of others, signals to others


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """Return the version of the kernel's interface; 0 if it has none."""
    none = ctypes.c_void_p()
    return max(0, _LIBC.syscall(_CREATE, none, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)))


def restrict_files(
    readable: Iterable[Path], devices: Iterable[Path] = (), scratch: Path | None = None
) -> bool:
    """Allow this process to read `readable`, to use `devices` and to write in `scratch` alone.

    Returns:
        Whether the kernel does so; missing paths are skipped.
    """
    known = version()
    if not known:
        return False
    files = (1 << _RIGHTS_OF_VERSION[min(known, len(_RIGHTS_OF_VERSION)) - 1]) - 1
    rules = _Ruleset(files, _TCP * (known >= _TCP_FROM), _SCOPES * (known >= _SCOPES_FROM))
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    ruleset = _LIBC.syscall(_CREATE, ctypes.byref(rules), size, ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR) & files)
        if scratch is not None:
            writes = _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE
            _allow(ruleset, scratch, (_READ_FILE | _READ_DIR | writes) & files)
        for path in devices:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL) & files)
        # It takes no new privileges to be restricted for good.
        return _LIBC.syscall(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # A file has no entries to list, and the kernel refuses a rule that says so.
        allowed = rights if path.is_dir() else rights & ~_READ_DIR
        rule = _Beneath(allowed, place)
        kind = ctypes.c_int(_PATH_BENEATH)
        arguments = (ctypes.c_int(ruleset), kind, ctypes.byref(rule), ctypes.c_uint32(0))
        _LIBC.syscall(_ADD, *arguments)
    finally:
        os.close(place)

"""What children do in the tests: what hostile code in a decoder would try."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vitlens_core.errors import BadSampleError, ConfigError, InputError
from vitlens_core.sandbox.child import Arrays, Handler

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH = 16


def _system_call(number: int, *arguments: int) -> object:
    result = _LIBC.syscall(number, *(ctypes.c_long(argument) for argument in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _use(descriptor: int) -> str:
    os.close(descriptor)
    return "opened"


def _kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGTERM)


def _connect(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


# Name → attempt. The first argument is a path or a number, as the test says.
ATTEMPTS: dict[str, Callable[[Any], object]] = {
    "read the environment": lambda name: os.environ[name],
    "read a file": lambda path: Path(path).read_text(),
    "read a file through /proc": lambda path: Path(f"/proc/self/root{path}").read_text(),
    "read the parent's environment": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read the parent's memory": lambda _: _use(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
    "list a folder": os.listdir,
    "write a file": lambda path: Path(path).write_text("overwritten"),
    "append to a file": lambda path: _use(os.open(path, os.O_WRONLY | os.O_APPEND)),
    "make a file": lambda path: Path(path, "new").touch(),
    "make a folder": lambda path: Path(path, "new").mkdir(),
    "delete a file": os.unlink,
    "rename a file": lambda path: os.rename(path, f"{path}.moved"),
    "link a file": lambda path: os.symlink(path, f"{path}.link"),
    "change a mode": lambda path: os.chmod(path, 0o777),
    "open a socket": lambda _: socket.socket(),
    "open a raw socket": lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "open a local socket": lambda _: socket.socket(socket.AF_UNIX),
    "make a pair of sockets": lambda _: socket.socketpair(),
    "connect": _connect,
    "fork": lambda _: os.fork(),
    "vfork": lambda _: _system_call(58),
    "start a program": lambda _: subprocess.run(["/bin/true"], check=False),
    "become a program": lambda _: os.execv("/bin/true", ["true"]),
    "debug the parent": lambda _: _system_call(101, _PTRACE_ATTACH, os.getppid(), 0, 0),
    "write the parent's memory": lambda _: _system_call(311, os.getppid(), 0, 0, 0, 0, 0),
    "signal the parent": lambda _: _kill_parent(),
    "make a namespace": lambda _: _system_call(272, 0x10000000),
    "mount": lambda _: _system_call(165, 0, 0, 0, 0, 0),
    "io_uring": lambda _: _system_call(425, 8, 0),
    "bpf": lambda _: _system_call(321, 0, 0, 0),
    "load keys": lambda _: _system_call(250, 0, 0, 0, 0, 0),
    "shared memory": lambda _: _system_call(29, 0, 4096, 0o1600),
    "call as 32 bit": lambda _: _system_call(0x40000000 + 41, 2, 1, 0),
    "raise the memory limit": lambda _: _raise_the_memory_limit(),
    "limit the parent": lambda _: __import__("resource").prlimit(
        os.getppid(), __import__("resource").RLIMIT_NOFILE, (0, 0)
    ),
    "become root": lambda _: os.setuid(0),
    "regain rights": lambda _: _system_call(126, 0, 0),
}


def _raise_the_memory_limit() -> None:
    """Lift whichever limit the child has: of the address space, or of what it holds itself."""
    limited = [
        limit
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
        if resource.getrlimit(limit)[1] != resource.RLIM_INFINITY
    ]
    assert limited, "the child has no limit"
    for limit in limited:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def open_attempts(settings: dict[str, Any]) -> Handler:
    """Try what `fields["attempt"]` names, and say how it ended."""

    def attempt(fields: dict[str, Any], _: Arrays) -> tuple[dict[str, Any], Arrays]:
        try:
            found = ATTEMPTS[fields["attempt"]](fields["on"])
        except (OSError, KeyError, ValueError) as error:
            return {"refused": f"{type(error).__name__}: {error}"}, {}
        return {"done": str(found)[:100]}, {}

    return attempt


def open_needed(settings: dict[str, Any]) -> Handler:
    """Do what decoders and drivers need and must still be able to do."""

    def needed(fields: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()
        with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
            page[0] = 0xC3
        read = Path(fields["path"]).read_text()
        importlib.import_module("email.mime.audio")  # nothing has imported it yet
        print("a line of a log", file=sys.stderr)
        return {"read": read, "random": len(os.urandom(8))}, {"twice": arrays["one"] * 2}

    return needed


def _spin() -> None:
    while True:
        pass


def _fail(error: Exception) -> None:
    raise error


_LEAKED: list[bytearray] = []


def _leak() -> None:
    _LEAKED.append(bytearray(200 * 2**20))
    raise BadSampleError("broken")


def _log() -> None:
    for _ in range(100_000):
        os.write(2, b"x" * 1000)


def _reserve() -> None:
    """Take a terabyte of addresses that can be neither read nor written, as drivers of GPUs do."""
    _LIBC.mmap.restype = ctypes.c_void_p
    _LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    found = _LIBC.mmap(None, 2**40, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0)
    if found == ctypes.c_void_p(-1).value:
        raise MemoryError


DEEDS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "sleep": lambda: time.sleep(600),
    "spin": _spin,
    "abort": os.abort,
    "leave": lambda: os._exit(3),
    "hoard": lambda: np.ones(2**30),
    "leak": _leak,
    "reserve": _reserve,
    "fail": lambda: _fail(KeyError("unforeseen")),
    "bad sample": lambda: _fail(BadSampleError("broken")),
    "input": lambda: _fail(InputError("of another shape")),
    "config": lambda: _fail(ConfigError("an option it lacks")),
    "log": _log,
}


def open_misbehaving(settings: dict[str, Any]) -> Handler:
    """Do to the process what `fields["how"]` names."""

    def misbehave(fields: dict[str, Any], _: Arrays) -> tuple[dict[str, Any], Arrays]:
        if fields["how"] == "large":
            return {}, {"large": np.zeros(fields["bytes"], np.uint8)}
        if fields["how"] == "raw":  # what code in control of the process could send
            os.write(int(sys.argv[1]), bytes.fromhex(fields["hex"]))
            time.sleep(600)
        DEEDS[fields["how"]]()
        return {"pid": os.getpid()}, {}

    return misbehave


def open_nothing(settings: dict[str, Any]) -> Handler:
    raise ConfigError("this machine lacks it")


def open_scratch(settings: dict[str, Any]) -> Handler:
    """Write, read, delete and keep files where temporary files go."""

    def scratch(fields: dict[str, Any], _: Arrays) -> tuple[dict[str, Any], Arrays]:
        place = Path(os.environ["TMPDIR"])
        (place / "gone").write_text("written")
        read = (place / "gone").read_text()
        (place / "gone").unlink()
        (place / "kept").touch()
        refused = 0
        for attempt in (lambda: (place / "new").mkdir(), lambda: (place / "l").symlink_to("/etc")):
            try:
                attempt()
            except OSError:
                refused += 1
        left = os.listdir(place)
        return {"place": str(place), "read": read, "left": left, "refused": refused}, {}

    return scratch

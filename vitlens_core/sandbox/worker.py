"""The parent's side of one child: starts it, asks it, and replaces it when it is lost."""

import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np

from vitlens_core import notes
from vitlens_core.errors import BadSampleError, ConfigError
from vitlens_core.sandbox.lock import protections
from vitlens_core.sandbox.wire import TOLD, Channel, Fields, Setup, WireError
from vitlens_core.scratch import Scratch

LOG = logging.getLogger(__name__)
_LEAKED = 0.25  # of the memory for a file: what a child may keep of those before
_NOTE = 500  # most characters of a note
_START_LIMIT_S = 120.0
_DEATH_LIMIT_S = 30.0  # from the end of the socket to the end of the process
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_HANDED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# Which graphics device and driver to use.
_OF_DRIVERS = ("EGL_", "__EGL_", "__GL", "GALLIUM_", "LIBGL_", "LP_", "MESA_", "NVIDIA_", "CUDA_")


@dataclass(frozen=True)
class Limits:
    """Limits of one file in a child.

    Attributes:
        time_s: seconds for one file, from the question to the whole answer.
        memory_mb: memory that a file takes in addition to what is open.
        output_mb: most bytes of an answer's arrays.
        threads: threads that compute; processor time is limited to `time_s` for each.
        recycle_after: files after which the child is replaced.
    """

    time_s: float = 60.0
    memory_mb: int = 4096
    output_mb: int = 2048
    threads: int = 1
    recycle_after: int = 1000


class Answer(NamedTuple):
    """What a child answered."""

    fields: Fields
    arrays: dict[str, np.ndarray]


class Sandbox:
    """Owns one child, which is started by the first question; used from one thread at a time.

    Args:
        opener: `module:function`; the function takes `settings` in the child and returns its
            `child.Handler`.
        settings: JSON-able.
        readable: folders that the child may read.
        devices: whether the child may use graphics devices.
        scratch: whether the child may write files, in a folder of its own that is emptied with it.
        modules: modules to import while any file can be read; of a folder on the import path that
            is no folder of libraries, a child can read only the packages of these and its opener.
    """

    def __init__(
        self,
        opener: str,
        settings: Mapping[str, object],
        limits: Limits = Limits(),
        readable: Sequence[Path] = (),
        *,
        devices: bool = False,
        scratch: bool = False,
        modules: Sequence[str] = (),
    ) -> None:
        self.limits = limits
        self._setup = Setup(
            opener=opener,
            settings=dict(settings),
            readable=[str(folder) for folder in readable],
            devices=devices,
            scratch=None,
            modules=list(modules),
            memory_mb=limits.memory_mb,
            processor_s=limits.time_s * limits.threads,
        )
        self._needs_scratch = scratch
        self._scratch: Scratch | None = None
        self._child: _Child | None = None
        self._inbox: Scratch | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the running child; None before the first file and after a failure."""
        return None if self._child is None else self._child.pid

    @property
    def active(self) -> dict[str, bool]:
        """Whether the running child's files and system calls are restricted by the kernel."""
        return {} if self._child is None else self._child.active

    def start(self) -> None:
        """Start the child now (`ConfigError`: it cannot open what it needs)."""
        self._running()

    def close(self) -> None:
        """End the child, and delete what lies in its inbox."""
        self._end_child()
        if self._inbox is not None:
            self._inbox.cleanup()
            self._inbox = None

    def ask(
        self, fields: Mapping[str, object], *, time_s: float = math.inf, **arrays: np.ndarray
    ) -> Answer:
        """Ask the child.

        Args:
            time_s: most seconds, if fewer than those of the limits.

        Raises:
            BadSampleError: the file took too long or too much memory, or crashed the child.
            InputError, BadSampleError, ConfigError: as the handler in the child raised them.
            ConfigError: the child cannot open what it needs.
        """
        child = self._running()
        try:
            told, answered = child.ask(fields, arrays, min(time_s, self.limits.time_s))
            kind, reason = told.get("error"), told.get("reason")
            if self._is_tired(told, answered):
                self._end_child()
        except BaseException:  # it is dead, or its answer is still to come
            self._end_child()
            raise
        if kind is not None:
            raise TOLD.get(str(kind), BadSampleError)(str(reason))
        for note in told.get("notes") or ():
            notes.note(str(note)[:_NOTE])
        return Answer(told["answer"], answered)

    def _is_tired(self, told: Mapping[str, object], answered: Mapping[str, np.ndarray]) -> bool:
        """Whether the child holds on to so much memory that the next file may lack it."""
        sent_mb = sum(array.nbytes for array in answered.values()) / 2**20
        grown_mb = told.get("grown_mb")
        if not isinstance(grown_mb, int | float):
            return True
        return not grown_mb - sent_mb < self.limits.memory_mb * _LEAKED

    @contextmanager
    def lent(self, path: Path, name: str) -> Generator[Path]:
        """Show one file to the child, in a folder of its own that the child may read.

        Args:
            name: file name under which the child sees it; readers look at its ending.
        """
        place = self.inbox / Path(name).name
        try:
            try:
                os.link(path, place)
            except OSError:  # of another file system, or another user's
                shutil.copyfile(path, place)
            yield place
        finally:
            place.unlink(missing_ok=True)

    @property
    def inbox(self) -> Path:
        """A folder of this user alone that the child may read."""
        if self._inbox is None:
            self._end_child()  # a running child cannot be given another folder
            self._inbox = Scratch("inbox")
        return self._inbox.path

    def _running(self) -> "_Child":
        # GL drivers leak memory from object to object.
        if self._child is not None and self._child.asked >= self.limits.recycle_after:
            self._end_child()
        if self._child is None:
            readable = [*self._setup.readable, str(self.inbox)]
            if self._needs_scratch:
                self._scratch = Scratch("written")
            scratch = None if self._scratch is None else str(self._scratch.path)
            setup = replace(self._setup, readable=readable, scratch=scratch)
            self._child = _Child(setup, self.limits)
        return self._child

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


class _Child:
    """One running child and the socket to it."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self.asked = 0
        self.active: dict[str, bool] = {}
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._channel = Channel(self._socket.fileno(), limits.output_mb * 2**20)
        # In memory, so that a crash leaves no file; a pipe would block a child that logs much.
        self._log = os.fdopen(os.memfd_create("child-log"), "rb")
        descriptor = theirs.fileno()
        command = [sys.executable, "-P", "-m", "vitlens_core.sandbox.child"]
        self._process = _started(
            # A plain interpreter: multiprocessing's spawn would import the caller's __main__
            # again. -P: the working directory is not put on its import path.
            lambda: subprocess.Popen(
                [*command, str(descriptor), str(os.getpid())],
                pass_fds=[descriptor],
                env=_environment(limits.threads, graphics=setup.devices),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C in a terminal is the parent's to handle
            )
        )
        # Else the socket would not end when the child does.
        theirs.close()
        # Also for owners that forget to close.
        self._end = weakref.finalize(self, _end, self._process, self._socket, self._log)
        try:
            self._start(setup)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(
        self, fields: Mapping[str, object], arrays: Mapping[str, np.ndarray], time_s: float
    ) -> tuple[Fields, dict[str, np.ndarray]]:
        """Send one file and wait for its answer; after a BadSampleError the child is lost."""
        self.asked += 1
        self._channel.deadline = time.monotonic() + time_s
        try:
            self._channel.send(dict(fields), **arrays)
            told, answered = self._channel.receive()
        except TimeoutError:
            raise BadSampleError(f"exceeded {time_s:.3g} s") from None
        except (EOFError, ConnectionError):
            raise BadSampleError(f"crashed the process that read it ({self._death()})") from None
        except WireError as error:
            raise BadSampleError(f"made the process that read it answer with {error}") from None
        if "error" not in told and not isinstance(told.get("answer"), dict):
            raise BadSampleError("made the process that read it answer with no answer")
        return told, answered

    def close(self) -> None:
        """Kill the child and free the socket."""
        self._end()

    def _start(self, setup: Setup) -> None:
        """Send the setup and wait until the child is open and locked."""
        self._channel.deadline = time.monotonic() + _START_LIMIT_S
        try:
            self._channel.send(asdict(setup))
            told, _ = self._channel.receive()
        except TimeoutError:
            limit = f"{_START_LIMIT_S:g} s"
            raise ConfigError(f"the process for files did not start within {limit}") from None
        except (EOFError, ConnectionError, WireError):
            raise ConfigError(f"the process for files did not start ({self._death()})") from None
        if "config_error" in told:
            raise ConfigError(told["config_error"])
        self._channel.deadline = math.inf
        self.active = {name: bool(told.get(name)) for name in ("files", "calls")}
        _say_what_is_missing(self.active)

    def _death(self) -> str:
        """Say how the child ended, with the last line that it wrote."""
        code = self._process.wait(_DEATH_LIMIT_S)
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "")
        return f"{how}: {words.strip()[:200]}" if words else how


def _end(process: subprocess.Popen[bytes], ours: socket.socket, log: BinaryIO) -> None:
    process.kill()
    process.wait()
    ours.close()
    log.close()


_SAID: set[str] = set()


def _say_what_is_missing(active: Mapping[str, bool]) -> None:
    """Warn once per process of a protection that this kernel does not give."""
    for name, is_active in active.items():
        if not is_active and name not in _SAID:
            _SAID.add(name)
            LOG.warning("untrusted files are read with less protection: %s", protections()[name])


_LOCK = threading.Lock()
_STARTER: list[ThreadPoolExecutor] = []
os.register_at_fork(after_in_child=_STARTER.clear)


def _started(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lasts as long as this process.

    The kernel ends a child when the *thread* that started it ends.
    """
    with _LOCK:
        if not _STARTER:
            _STARTER.append(ThreadPoolExecutor(1, thread_name_prefix="sandbox"))
        starter = _STARTER[0]
    return starter.submit(start).result()


def _environment(threads: int, *, graphics: bool) -> dict[str, str]:
    """Return the variables that Python needs, the parent's import path, and few threads."""
    known = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    if graphics:
        known |= {name: v for name, v in os.environ.items() if name.startswith(_OF_DRIVERS)}
    return {
        **known,
        # One thread, since other workers use the other cores.
        **dict.fromkeys(_ONE_THREAD, "1"),
        "LP_NUM_THREADS": str(threads),
        "MESA_SHADER_CACHE_DISABLE": "true",  # it would be files
        # Each thread of a decoder would else reserve an area of 64 MB of its own, for good.
        "MALLOC_ARENA_MAX": "2",
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }

"""decoding: opens uploaded files in child processes that may be killed.

A child only reads a file and prepares it for a tower. If it takes too long, needs too much memory
or crashes, only the child ends: the file is refused, and a new child replaces it. Only JSON and
plain arrays come back. A child has this user's rights but none of the environment's secrets: its
environment only says where Python and its libraries are.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import queue
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.service.config import Limits
from vitlens_core.api.encoders import Preparation
from vitlens_core.errors import InputError, VitlensError
from vitlens_core.rendering import wire

LOG = logging.getLogger("vitlens.service")
_START_LIMIT_S, _LONGEST_WAIT_S = 120.0, 60.0
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Decoders:
    """Several children, and the threads that wait for them."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        # A pool of their own: all threads of the other may wait for a child to be started.
        self._starters = ThreadPoolExecutor(count, thread_name_prefix="decode-start")
        self._free: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._children: set[_Child] = set()
        self._is_closed = False
        self._starting = [self._starters.submit(self._start) for _ in range(count)]

    def wait(self) -> None:
        """Wait until every child is ready (`VitlensError`: one does not start)."""
        for started in self._starting:
            started.result()

    async def prepare(self, preparation: Preparation, path: Path, options: Mapping) -> np.ndarray:
        """Read the file at `path`, and prepare it for a tower.

        Raises:
            InputError: the file is broken, hostile, too slow or too large, or its reader lacks
                an option.
        """
        loop = asyncio.get_running_loop()
        arguments = (preparation, path, dict(options))
        return await loop.run_in_executor(self._threads, self._ask, *arguments)

    def close(self) -> None:
        """End the children."""
        self._is_closed = True
        for child in list(self._children):
            child.close()
        for executor in (self._threads, self._starters):
            executor.shutdown(wait=False, cancel_futures=True)

    @property
    def pids(self) -> list[int]:
        return sorted(child.pid for child in self._children)

    def _restart(self) -> None:
        """Start a child in place of a lost one; retry until it succeeds."""
        wait_s = 1.0
        while not self._is_closed:
            try:
                self._start()
            except (OSError, VitlensError):
                LOG.exception("no process to read files; trying again in %g s", wait_s)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                break

    def _start(self) -> None:
        child = _Child(self._limits)
        self._children.add(child)
        if self._is_closed:  # `close` ran while the child started, and did not see it
            child.close()
        self._free.put(child)

    def _ask(self, *arguments: Any) -> np.ndarray:
        try:
            child = self._free.get(timeout=_START_LIMIT_S)
        except queue.Empty:
            raise VitlensError("no process to read files could be started") from None
        try:
            prepared = child.ask(*arguments)
        except BaseException:  # dead, or its late answer would be taken for that of the next file
            self._children.discard(child)
            child.close()
            if not self._is_closed:
                self._starters.submit(self._restart)
            raise
        self._free.put(child)
        if isinstance(prepared, str):
            raise InputError(prepared)
        return prepared


class _Child:
    """One running child and the pipe to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pipe, theirs = multiprocessing.Pipe()
        arguments = [str(theirs.fileno()), str(limits.decode_mb)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.decode_child", *arguments],
            pass_fds=[theirs.fileno()],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal must reach the service only
        )
        theirs.close()
        try:
            ready = self._pipe.poll(_START_LIMIT_S) and wire.receive(self._pipe)[0].get("ready")
        except (EOFError, ConnectionError):
            ready = False
        if not ready:
            self.close()
            raise VitlensError(
                f"the process that reads files did not start (exit {self._process.returncode})"
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, preparation: Preparation, path: Path, options: dict) -> np.ndarray | str:
        """Return the prepared file, or why it is refused; an InputError means a lost child."""
        limit_s = self._limits.decode_s
        try:
            self._pipe.send((preparation, path, options))
            if not self._pipe.poll(limit_s):
                raise InputError(f"{path} took longer than {limit_s:g} s to read")
            fields, arrays = wire.receive(self._pipe)
        except (EOFError, ConnectionError):
            raise InputError(f"{path} crashed the process that read it") from None
        return fields["refused"] if "refused" in fields else arrays["prepared"]

    def close(self) -> None:
        """Kill the child and free the pipe."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def _environment() -> dict[str, str]:
    """Return the variables that Python needs, the parent's import path, and one thread."""
    return {
        **{name: os.environ[name] for name in _HANDED_ON if name in os.environ},
        **dict.fromkeys(_ONE_THREAD, "1"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }

"""decoding: opens uploaded files in child processes without rights (`vitlens_core.sandbox`).

A child only reads a file and prepares it for a tower. If it takes too long, needs too much memory
or crashes, only the child ends: the file is refused, and a new child replaces it. All files of one
request share a budget of time, and leave a child to other requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.service.config import Limits
from vitlens_core import sandbox
from vitlens_core.api import untrusted
from vitlens_core.api.encoders import Preparation
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.sandbox import Answer, Pool, Sandbox, protections

LOG = logging.getLogger("vitlens.service")


class Budget:
    """The time that the files of one request may take to be read, all together."""

    def __init__(self, seconds: float, at_once: int) -> None:
        self._seconds = self._left_s = seconds
        self.turns = asyncio.Semaphore(at_once)
        """Bounds how many files of the request are read at a time."""

    @property
    def left_s(self) -> float:
        """What is left (`InputError`: nothing)."""
        if self._left_s <= 0:
            raise InputError(
                f"expected files that can be read in {self._seconds:g} s together, found more in "
                "this request; send fewer or simpler files"
            )
        return self._left_s

    def spend(self, seconds: float) -> None:
        self._left_s -= seconds


class Decoders:
    """Several children, and the threads that wait for them."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._count, self._limits = count, limits
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        of_file = sandbox.Limits(time_s=limits.decode_s, memory_mb=limits.decode_mb)
        self._pool = Pool(count, lambda: untrusted.sandbox(of_file))
        for name, state in protections().items():
            level = logging.WARNING if state.startswith("missing") else logging.INFO
            LOG.log(level, "uploads are read in children: %s: %s", name, state)

    def wait(self) -> None:
        """Wait until every child is ready (`VitlensError`: one does not start)."""
        self._pool.wait()

    def budget(self) -> Budget:
        """Return the budget of a new request."""
        return Budget(self._limits.decode_all_s, max(1, self._count - 1))

    async def prepare(
        self, preparation: Preparation, path: Path, options: Mapping, budget: Budget
    ) -> np.ndarray:
        """Read the file at `path`, and prepare it for a tower.

        Raises:
            InputError: the file is broken, hostile, too slow or too large, its reader lacks an
                option, or the request's budget is spent.
        """
        asked = partial(untrusted.read, preparation=preparation, options=dict(options))
        return (await self._answer(asked, path, budget))["stored"]

    async def picture(self, path: Path, budget: Budget) -> np.ndarray:
        """Read a picture in its own size: uint8 RGB [H, W, 3]; errors as `prepare`."""
        asked = partial(untrusted.read, preparation=Preparation("image"), options={})
        return (await self._answer(asked, path, budget))["raw"]

    async def glb(self, path: Path, budget: Budget) -> bytes:
        """Read an object or a point cloud, and write it as a plain GLB; errors as `prepare`."""
        return (await self._answer(untrusted.read_glb, path, budget))["glb"].tobytes()

    async def _answer(
        self, read: Callable[..., Answer], path: Path, budget: Budget
    ) -> Mapping[str, np.ndarray]:
        """Have a child read a file, by a function of `untrusted`."""
        loop = asyncio.get_running_loop()
        async with budget.turns:
            return await loop.run_in_executor(self._threads, self._ask, read, path, budget)

    def close(self) -> None:
        """End the children."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def pids(self) -> list[int]:
        return self._pool.pids

    def _ask(
        self, read: Callable[..., Answer], path: Path, budget: Budget
    ) -> Mapping[str, np.ndarray]:
        def question(sandbox: Sandbox) -> Answer:
            started = time.monotonic()
            try:
                return read(sandbox, path=path, name=path.name, time_s=budget.left_s)
            finally:
                budget.spend(time.monotonic() - started)

        try:
            return self._pool.ask(question).arrays
        except ConfigError as error:  # an option that the reader lacks, or a library
            raise InputError(str(error)) from error

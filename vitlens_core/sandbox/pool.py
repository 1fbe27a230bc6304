"""Several sandboxes of one kind, which threads share."""

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vitlens_core.errors import VitlensError
from vitlens_core.sandbox.worker import Answer, Sandbox

LOG = logging.getLogger(__name__)
_START_LIMIT_S, _LONGEST_WAIT_S = 120.0, 60.0


class Pool:
    """`count` sandboxes that are started at once; a child that is lost is replaced at once."""

    def __init__(self, count: int, make: Callable[[], Sandbox]) -> None:
        self._make = make
        self._starters = ThreadPoolExecutor(count, thread_name_prefix="sandbox-start")
        self._free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        self._all: set[Sandbox] = set()
        self._is_closed = False
        self._starting = [self._starters.submit(self._start, make()) for _ in range(count)]

    def wait(self) -> None:
        """Wait until every child is ready (`VitlensError`: one does not start)."""
        for started in self._starting:
            started.result()

    def ask(self, question: Callable[[Sandbox], Answer]) -> Answer:
        """Put a question to a free sandbox; errors: `Sandbox.ask`.

        Raises:
            VitlensError: no child could be started.
        """
        try:
            sandbox = self._free.get(timeout=_START_LIMIT_S)
        except queue.Empty:
            raise VitlensError("no process to read files could be started") from None
        try:
            return question(sandbox)
        finally:
            if sandbox.pid is None and not self._is_closed:
                self._starters.submit(self._restart, sandbox)
            else:
                self._free.put(sandbox)

    def close(self) -> None:
        """End the children."""
        self._is_closed = True
        for sandbox in list(self._all):
            sandbox.close()
        self._starters.shutdown(wait=False, cancel_futures=True)

    @property
    def pids(self) -> list[int]:
        return sorted(sandbox.pid for sandbox in list(self._all) if sandbox.pid is not None)

    @property
    def active(self) -> dict[str, bool]:
        """Whether the kernel restricts the files and system calls of every running child."""
        known = [sandbox.active for sandbox in list(self._all) if sandbox.active]
        return {name: all(one[name] for one in known) for name in (known[0] if known else ())}

    def _start(self, sandbox: Sandbox) -> None:
        self._all.add(sandbox)
        sandbox.start()
        if self._is_closed:  # `close` ran while the child started, and did not see it
            sandbox.close()
        self._free.put(sandbox)

    def _restart(self, sandbox: Sandbox) -> None:
        """Start the child of a sandbox anew; retry until it succeeds."""
        wait_s = 1.0
        while not self._is_closed:
            try:
                self._start(sandbox)
            except (OSError, VitlensError):
                LOG.exception("no process to read files; trying again in %g s", wait_s)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                break

"""reaper: ends the servers of a process that was killed before it could end them.

    python -m workflows.reaper DESCRIPTOR

Reads     process groups from a pipe, a line each. Its end without the line `done` means that
          whoever wrote there is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_DONE = "done"
_PATIENCE_S = 5.0


@contextmanager
def reaped() -> Generator[Callable[[int], None]]:
    """Yield a function that takes process groups, which end if this process is killed."""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "workflows.reaper", str(ours)],
        pass_fds=[ours],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is the writer's to handle
    )
    os.close(ours)

    def tell(line: object) -> None:
        with suppress(BrokenPipeError):  # somebody ended it: nothing else depends on it
            os.write(theirs, f"{line}\n".encode())

    try:
        yield tell
    finally:
        tell(_DONE)
        os.close(theirs)
        process.wait()


def main(descriptor: int) -> None:
    """Wait for the pipe's end, and end the groups unless their owner did."""
    with os.fdopen(descriptor) as told:
        lines = told.read().split()
    if _DONE in lines:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in map(int, lines):
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        time.sleep(_PATIENCE_S if number == signal.SIGTERM else 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""checkpoints: writes a training's checkpoints in a thread, while the next steps are made.

Promises  a checkpoint is of its step, whatever follows; one is written after the other; the last
          one is whole when the training ends. An error of the thread ends the training at the next
          checkpoint. A kill amid writing leaves the checkpoint before, which is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pipelines.lens.state_files import Snapshot

Write = Callable[[Path], None]  # writes the files of a checkpoint into an empty folder
Wait = Callable[[], None]  # returns once a checkpoint is stored, or raises why it is not


class Keeper(Protocol):
    """Where checkpoints are kept."""

    def keep(self, step: int, write: Write) -> Wait:
        """Begin to store a checkpoint; each worker writes the files that are its own."""
        ...


class CheckpointWriter:
    """Writes the checkpoints of one worker; leaving its block waits for the last one."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._pending: Wait | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._wait()
        except Exception:
            if error is None:  # else what ended the training is told
                raise

    def write(self, step: int, state: Snapshot, files: Mapping[str, bytes]) -> None:
        """Write a checkpoint: the tensors of a snapshot, and other files by name.

        Raises:
            OSError: this or the one before could not be written.
        """
        self._wait()
        self._pending = self._keeper.keep(step, partial(_write, state, files))

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending()


def in_thread(store: Callable[[], None]) -> Wait:
    """Store a checkpoint in a thread of its own."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
    pending = thread.submit(store)
    thread.shutdown(wait=False)
    return pending.result


def _write(state: Snapshot, files: Mapping[str, bytes], folder: Path) -> None:
    state.write(folder)
    for file, data in files.items():
        Path(folder, file).write_bytes(data)

"""checkpoints: writes a training's checkpoints in a thread, while the next steps are made.

Promises  a checkpoint is of its step, whatever follows; one is written after the other; the last
          one is whole when the training ends. An error of the thread ends the training at the next
          checkpoint. A kill amid writing leaves the checkpoint before, which is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pipelines.lens.state_files import Snapshot
from vitlens_core.scratch import Scratch


class Keeper(Protocol):
    """Where checkpoints are kept."""

    @property
    def keeps_in_thread(self) -> bool:
        """Whether `keep` may be called in another thread than the training's."""
        ...

    def keep(self, step: int, folder: Path) -> None:
        """Store a checkpoint; each worker passes the folder of its own files."""
        ...


class CheckpointWriter:
    """Writes the checkpoints of one worker; leaving its block waits for the last one."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if error is None:  # else what ended the training is told
            self._wait()

    def write(self, step: int, state: Snapshot, files: Mapping[str, bytes]) -> None:
        """Write a checkpoint: the tensors of a snapshot, and other files by name.

        Raises:
            OSError: this or the one before could not be written.
        """
        self._wait()
        if self._keeper.keeps_in_thread:
            self._pending = self._thread.submit(self._write, step, state, files)
        else:
            self._write(step, state, files)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, step: int, state: Snapshot, files: Mapping[str, bytes]) -> None:
        with Scratch("checkpoint") as name:
            folder = Path(name)
            state.write(folder)
            for file, data in files.items():
                Path(folder, file).write_bytes(data)
            self._keeper.keep(step, folder)

"""Two gloo processes that train one lens, as Ray Train's workers do; started once, used often."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from pipelines.execution.logger import Point
from pipelines.lens import parallel
from pipelines.lens.checkpoints import Wait, Write
from pipelines.lens.train_job import TrainJob
from pipelines.lens.training import Trainer

WORKERS = 2


class KilledError(Exception):
    """The run is stopped after a checkpoint."""


@dataclass(frozen=True)
class Together:
    """One of `world_size` workers; a checkpoint's files meet in `folder`, as Ray Train has it."""

    folder: Path
    rank: int
    world_size: int
    killed_after: int | None = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def report(self, points: Sequence[Point]) -> None: ...

    def keep(self, step: int, write: Write) -> Wait:
        kept = self.folder / f"step-{step:03d}"
        kept.mkdir(parents=True, exist_ok=True)
        write(kept)
        if self.world_size > 1:
            dist.barrier()
        if step == self.killed_after:
            raise KilledError
        return lambda: None

    @contextmanager
    def latest(self) -> Generator[Path | None]:
        kept = sorted(self.folder.glob("step-*"))
        yield kept[-1] if kept else None


@dataclass(frozen=True)
class Found:
    """What one worker ended with."""

    losses: list[float]
    validated: list[dict[str, float]]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


Work = Callable[[Trainer], Found]


def run(trainer: Trainer) -> Found:
    """Train to the end, from the last checkpoint if there is one, or until the run is killed."""
    with suppress(KilledError):
        trainer.run()
    return Found(
        [entry["loss"] for entry in trainer.curves.train],
        trainer.curves.val,
        parallel.whole_state(trainer.tower),
        {},
    )


def differentiate(trainer: Trainer) -> Found:
    """The losses and gradients of the first batch."""
    losses = trainer._backward(*next(trainer.batches()))
    gradients = {
        name: parallel._whole(p.grad).clone()
        for name, p in trainer.parameters.items()
        if p.grad is not None
    }
    return Found(list(losses.values()), [], {}, gradients)


def alone(work: Work, job: TrainJob, folder: Path, killed_after: int | None = None) -> Found:
    """What one worker finds, in this process."""
    return work(Trainer(job, Together(folder, 0, 1, killed_after)))


class Pair:
    """The two processes."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(WORKERS):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, folder / "meet", theirs))
            process.start()
            self.pipes.append(pipe)
            self.processes.append(process)

    def __call__(
        self, work: Work, job: TrainJob, folder: Path, killed_after: int | None = None
    ) -> list[Found]:
        """What each of the two finds."""
        for pipe in self.pipes:
            pipe.send((work, job, folder, killed_after))
        found = [pipe.recv() for pipe in self.pipes]
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(30)
            process.kill()


@contextmanager
def pair(folder: Path) -> Generator[Pair]:
    """The two processes, until the block is left."""
    made = Pair(folder)
    try:
        yield made
    finally:
        made.close()


def _serve(rank: int, meeting: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(meeting), WORKERS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORKERS)
    while asked := pipe.recv():
        work, job, folder, killed_after = asked
        try:
            pipe.send(work(Trainer(job, Together(folder, rank, WORKERS, killed_after))))
        except Exception as error:
            pipe.send(error)
    dist.destroy_process_group()

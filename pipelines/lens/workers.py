"""workers: runs the training loop in this process, or in workers that Ray Train starts.

Promises  a killed run goes on at the last checkpoint of its folder; a worker of Ray Train that
          dies is restarted as long as new checkpoints are made; an error of a worker arrives as
          text (`told`), so that no exception of a library is unpickled here.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from pyarrow.fs import FSSpecHandler, PyFileSystem, copy_files
from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from upath import UPath

from pipelines.execution.cluster import connect
from pipelines.execution.logger import Point, Report
from pipelines.execution.told import ToldError, tell, told_by
from pipelines.lens.checkpoints import Wait, Write, in_thread
from pipelines.lens.not_finite import LossError
from pipelines.lens.process_group import torch_config
from pipelines.lens.settings import PROGRESS_FILE
from pipelines.lens.train_job import TrainJob
from pipelines.lens.training import Trainer
from pipelines.store.files import store_file
from vitlens_core.errors import VitlensError
from vitlens_core.scratch import Scratch

logger = logging.getLogger(__name__)
FAILURES: int = 3  # most losses of workers between two checkpoints
_NODES_LOST = 30  # most pre-empted nodes between two checkpoints: they are nobody's failure


def fit(job: TrainJob, folder: UPath, report: Report) -> AbstractContextManager[Path | None]:
    """Train to the last step, and return the last checkpoint's folder as a context manager.

    Args:
        folder: where checkpoints are stored during training.
        report: receives the figures of every step, in this process.

    Raises:
        VitlensError: what a worker raised; from another process, as the nearest class of
            `vitlens_core.errors`.
        WorkerError: a worker of Ray Train failed in a way that nobody foresaw.
        TrainingFailedError: the workers of Ray Train died repeatedly.
    """
    resources = job.resources
    if resources.train_workers:
        return _fit_with_ray(job, folder, report)
    worker = InProcess(folder, report, on_gpu=resources.train_gpus > 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(resources.threads())
    try:
        Trainer(job, worker).run()
    finally:
        torch.set_num_threads(threads)
    return worker.latest()


@dataclass(frozen=True)
class InProcess:
    """The only worker, in the caller's process; it starts no other, and nothing restarts it.

    A checkpoint is a folder `step-00000040`, which is whole once it has `progress.json`.
    """

    folder: UPath | Path
    report: Report
    on_gpu: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.on_gpu else "cpu")

    def keep(self, step: int, write: Write) -> Wait:
        return in_thread(partial(self._keep, step, write))

    def _keep(self, step: int, write: Write) -> None:
        checkpoint = self.folder / f"step-{step:08d}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        with Scratch("checkpoint") as folder:
            write(folder)
            # `progress.json` last: a kill before it leaves a folder that does not count.
            files = sorted(folder.iterdir(), key=lambda path: path.name == PROGRESS_FILE)
            for file in files:
                store_file(file, checkpoint / file.name)
        for old in [path for path in self._whole() if path.name != checkpoint.name]:
            remove(old)

    @contextmanager
    def latest(self) -> Generator[Path | None]:
        checkpoints = self._whole()
        if not checkpoints:
            yield None
            return
        with Scratch("checkpoint") as folder:
            for file in checkpoints[-1].iterdir():
                with file.open("rb") as source, Path(folder, file.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
            yield Path(folder)

    def _whole(self) -> list[UPath | Path]:
        """Return the whole checkpoints, oldest first."""
        if not self.folder.exists():
            return []
        folders = sorted(self.folder.iterdir(), key=lambda path: path.name)
        return [path for path in folders if (path / PROGRESS_FILE).exists()]


class RayWorker:
    """One of Ray Train's workers; the first sends figures to the driver."""

    def __init__(self, progress: Any) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.progress = progress

    def report(self, points: Sequence[Point]) -> None:
        self.progress.report.remote(points)

    def give_up(self, error: LossError) -> None:
        if self.rank == 0:
            ray.get(self.progress.give_up.remote(str(error)))

    def keep(self, step: int, write: Write) -> Wait:
        """Report a checkpoint, which Ray Train stores in a thread; all workers meet here for it."""
        upload: Future[None] = Future()
        folder = Scratch("checkpoint")

        def store(given: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
            upload.set_running_or_notify_cancel()
            try:
                write(folder.path)
                stored = _stored(folder.path, name)
            except Exception as error:
                upload.set_exception(error)
                reason = tell(error)
            else:
                if self.rank == 0:
                    self.progress.keep.remote(step)
                upload.set_result(None)
                return stored
            finally:
                folder.cleanup()
            raise ToldError(reason)  # outside of the handler, as Ray Train pickles it

        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(folder.path),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=False,  # `store` does
            checkpoint_upload_fn=store,
        )
        return partial(_wait_if_begun, upload)

    def latest(self) -> AbstractContextManager[Path | None]:
        return _opened(ray.train.get_checkpoint())


def _stored(folder: Path, name: str) -> ray.train.Checkpoint:
    """Copy this worker's files into the folder that a checkpoint's workers share."""
    storage = ray.train.get_context().get_storage()
    path, files = f"{storage.experiment_fs_path}/{name}", storage.storage_filesystem
    files.create_dir(path, recursive=True)
    copy_files(str(folder), path, destination_filesystem=files)
    return ray.train.Checkpoint(path, files)


def _wait_if_begun(upload: Future[None]) -> None:
    """Wait for an upload, unless Ray Train left the report out, as it does once a worker is lost.

    One that was not left out has begun when the next is due: Ray's thread has nothing else to do.
    The last one is waited for by Ray Train.
    """
    if upload.running() or upload.done():
        upload.result()


def remove(folder: UPath | Path) -> None:
    """Delete a folder and its content, on this machine or in an object store."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.fs.rm(folder.path, recursive=True)


def _train_worker(config: dict[str, Any]) -> None:
    """Train as one of Ray Train's workers.

    Raises:
        ToldError: whatever ended it. Ray Train pickles what is raised here.
    """
    failure = _failure(config["job"], config["progress"])
    if failure is not None:
        raise ToldError(failure)  # outside of any handler, so that it carries no other error


def _failure(job: TrainJob, progress: Any) -> str | None:
    """Train, and return the text of the error that ended it early."""
    try:
        local = ray.train.get_context().get_local_world_size()
        torch.set_num_threads(job.resources.threads(local))
        worker = RayWorker(progress)
        try:
            Trainer(job, worker).run()
        except LossError as error:
            # All workers return here. If they raised, Ray Train would train to the same step again.
            worker.give_up(error)
    except Exception as error:
        return tell(error)
    return None


def _fit_with_ray(
    job: TrainJob, folder: UPath, report: Report
) -> AbstractContextManager[Path | None]:
    resources = job.resources
    connect(resources)
    gpus = resources.train_gpus
    scaling = ScalingConfig(
        num_workers=resources.range_of_train_workers,
        use_gpu=bool(gpus),
        resources_per_worker={"CPU": 1.0, "GPU": gpus} if gpus else {"CPU": 1.0},
    )
    home = folder.parent
    run = RunConfig(
        name=folder.name,
        storage_path=str(home.absolute()) if isinstance(home, Path) else home.path,
        storage_filesystem=None if isinstance(home, Path) else _arrow(home),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
        failure_config=FailureConfig(max_failures=FAILURES),
    )
    with _relayed(report) as progress:
        loop = {"job": job, "progress": progress}
        result, kept, taken = None, -1, 0
        while result is None:
            trainer = ray.train.torch.TorchTrainer(
                _train_worker,
                train_loop_config=loop,
                torch_config=torch_config(),
                scaling_config=scaling,
                run_config=run,
            )
            try:
                result = trainer.fit()
            except TrainingFailedError as error:
                # Ray counts failures over the whole run, and a run of days has many. So training
                # starts again as long as there was a new checkpoint since the last failure.
                before, kept = kept, ray.get(progress.kept_step.remote())
                cause = told_by(error) or error
                taken = 0 if kept > before else taken + _was_preempted(error)
                goes_on = kept > before or (_was_preempted(error) and taken < _NODES_LOST)
                if isinstance(cause, VitlensError) or not goes_on:
                    raise cause from error
                logger.warning("training goes on at step %d after failures: %s", kept, cause)
        if reason := ray.get(progress.read_reason.remote()):
            raise LossError(reason)
    return _opened(result.checkpoint)


def _was_preempted(error: TrainingFailedError) -> bool:
    """Whether all lost workers were lost with their nodes, which were taken away."""
    lost = list((getattr(error, "worker_failures", None) or {}).values())
    return bool(lost) and all(getattr(each, "preempted", False) for each in lost)


def _arrow(folder: UPath) -> PyFileSystem:
    """Return the store's file system, with its credentials, in the form that Ray Train takes."""
    return PyFileSystem(FSSpecHandler(folder.fs))


@contextmanager
def _opened(checkpoint: ray.train.Checkpoint | None) -> Generator[Path | None]:
    if checkpoint is None:
        yield None
        return
    with checkpoint.as_directory() as folder:
        yield Path(folder)


@ray.remote(num_cpus=0)
class _Progress:
    """Passes figures, or the reason for giving up, from the first worker to the driver."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.kept = -1
        self.reason = ""

    def report(self, points: Sequence[Point]) -> None:
        self.points.extend(points)

    def take(self) -> list[Point]:
        """Return the points since the last call."""
        taken, self.points = self.points, []
        return taken

    def keep(self, step: int) -> None:
        self.kept = max(self.kept, step)

    def kept_step(self) -> int:
        """Return the step of the last checkpoint; -1 before the first one."""
        return self.kept

    def give_up(self, reason: str) -> None:
        self.reason = reason

    def read_reason(self) -> str:
        return self.reason


@contextmanager
def _relayed(report: Report) -> Generator[Any]:
    """Give the block an actor that workers send figures to; they are reported twice a second."""
    # On the driver's node: the loss of another node must not take the actor along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    progress: Any = _Progress.options(scheduling_strategy=here).remote()
    done = threading.Event()

    def relay() -> None:
        report(ray.get(progress.take.remote()))

    def keep_relaying() -> None:
        while not done.wait(0.5):
            relay()

    thread = threading.Thread(target=keep_relaying, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        done.set()
        thread.join()
        relay()  # points that came after the thread's last turn
        ray.kill(progress)

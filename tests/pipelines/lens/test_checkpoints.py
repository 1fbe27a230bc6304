"""Checkpoints in a thread: of their step, one at a time, whole or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import ray.train
import ray.train.torch
import torch
from pyarrow.fs import LocalFileSystem

from pipelines.execution.told import ToldError, told
from pipelines.lens import state_files, workers
from pipelines.lens.checkpoints import CheckpointWriter, Wait, Write, in_thread
from pipelines.lens.settings import PROGRESS_FILE
from pipelines.lens.workers import InProcess
from pipelines.store.files import atomic_file
from vitlens_core.scratch import Scratch

WAIT_S = 10


@dataclass
class Slow:
    """Keeps a checkpoint once it is let go; knows how many were kept at a time."""

    go: threading.Event = field(default_factory=threading.Event)
    found: dict[int, torch.Tensor] = field(default_factory=dict)
    at_once: int = 0
    most: int = 0
    fails: bool = False

    def keep(self, step: int, write: Write) -> Wait:
        return in_thread(partial(self._keep, step, write))

    def _keep(self, step: int, write: Write) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        assert self.go.wait(WAIT_S)
        if self.fails:
            raise OSError("no space")
        read = {"weight": torch.zeros(3)}
        with Scratch("checkpoint") as folder:
            write(folder)
            state_files.load(folder, read)
            assert json.loads((folder / PROGRESS_FILE).read_text()) == {"step": step}
        self.found[step] = read["weight"]
        self.at_once -= 1


def _write(writer: CheckpointWriter, step: int, weight: torch.Tensor) -> None:
    taken = state_files.snapshot({"weight": weight}, 0, 1)
    writer.write(step, taken, {PROGRESS_FILE: json.dumps({"step": step}).encode()})


def test_steps_go_on_meanwhile_and_the_checkpoint_stays_that_of_its_step() -> None:
    keeper, weight = Slow(), torch.ones(3)
    with CheckpointWriter(keeper) as writer:
        _write(writer, 1, weight)
        weight += 1  # the next step, while the thread waits
        assert not keeper.found
        keeper.go.set()
    torch.testing.assert_close(keeper.found[1], torch.ones(3), rtol=0, atol=0)


def test_the_next_waits_for_the_one_before() -> None:
    keeper = Slow()
    threading.Timer(0.05, keeper.go.set).start()
    with CheckpointWriter(keeper) as writer:
        for step in range(4):
            _write(writer, step, torch.full((3,), float(step)))
    assert keeper.most == 1
    assert [float(found[0]) for found in keeper.found.values()] == [0, 1, 2, 3]


@pytest.mark.parametrize("is_last", [True, False])
def test_a_failed_one_ends_the_training(is_last: bool) -> None:
    keeper = Slow(fails=True)
    keeper.go.set()
    writer = CheckpointWriter(keeper)
    with pytest.raises(OSError, match="no space"), writer:  # noqa: PT012  either may raise
        _write(writer, 1, torch.ones(3))
        if not is_last:
            _write(writer, 2, torch.ones(3))
            pytest.fail("the second was begun")


def test_what_ended_the_training_is_told_once_the_thread_has_ended() -> None:
    keeper = Slow(fails=True)
    threading.Timer(0.05, keeper.go.set).start()
    with pytest.raises(ZeroDivisionError), CheckpointWriter(keeper) as writer:  # noqa: PT012
        _write(writer, 1, torch.ones(3))
        raise ZeroDivisionError
    assert keeper.go.is_set()


@dataclass
class OfRay:
    """What a worker sees of Ray Train: reports are stored by a thread, one after the other."""

    storage_filesystem: LocalFileSystem
    experiment_fs_path: str
    leaves_out: bool = False
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    stored: list[Future[ray.train.Checkpoint]] = field(default_factory=list)

    def get_world_rank(self) -> int:
        return 0

    def get_world_size(self) -> int:
        return 1

    def get_storage(self) -> OfRay:
        return self

    def report(
        self,
        metrics: dict[str, int],
        checkpoint: ray.train.Checkpoint,
        checkpoint_upload_mode: ray.train.CheckpointUploadMode,
        checkpoint_upload_fn: Callable[[ray.train.Checkpoint, str], ray.train.Checkpoint],
        *,
        delete_local_checkpoint_after_upload: bool,
    ) -> None:
        # Ray Train would delete the folder beside a thread that may still write to it.
        assert not delete_local_checkpoint_after_upload
        assert Path(checkpoint.path).name.startswith("vitlens.checkpoint.")
        assert checkpoint_upload_mode is ray.train.CheckpointUploadMode.ASYNC
        if not self.leaves_out:
            name = f"step-{metrics['step']}"
            stored = self.thread.submit(checkpoint_upload_fn, checkpoint, name)
            self.stored.append(stored)


class Kept:
    """Stands for the actor beside the driver: `progress.keep.remote(step)`."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.keep = self

    def remote(self, step: int) -> None:
        self.steps.append(step)


@pytest.fixture
def of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OfRay:
    made = OfRay(LocalFileSystem(), str(tmp_path / "run"))
    monkeypatch.setattr(ray.train, "get_context", lambda: made)
    monkeypatch.setattr(ray.train, "report", made.report)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    return made


def test_ray_trains_workers_go_on_while_theirs_are_stored(
    of_ray: OfRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, kept, weight = threading.Event(), Kept(), torch.ones(3)
    copy = workers.copy_files
    monkeypatch.setattr(workers, "copy_files", lambda *a, **k: go.wait(WAIT_S) and copy(*a, **k))
    with CheckpointWriter(workers.RayWorker(kept)) as writer:
        _write(writer, 1, weight)
        weight += 1  # the next step, while the thread waits
        assert not kept.steps
        threading.Timer(0.05, go.set).start()
        _write(writer, 2, weight)
        assert kept.steps[:1] == [1]
    of_ray.thread.shutdown()
    assert kept.steps == [1, 2]
    for step, stored in enumerate(of_ray.stored, start=1):
        read = {"weight": torch.zeros(3)}
        state_files.load(Path(stored.result().path), read)
        assert read["weight"].tolist() == [step] * 3
    assert stored.result().filesystem is of_ray.storage_filesystem
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"step-1", "step-2"}


def test_an_upload_that_fails_ends_the_worker_and_tells_ray_by_text(
    of_ray: OfRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(workers, "copy_files", full)
    kept = Kept()
    writer = CheckpointWriter(workers.RayWorker(kept))
    with pytest.raises(OSError, match="no space"), writer:  # noqa: PT012  the second raises
        _write(writer, 1, torch.ones(3))
        of_ray.thread.shutdown()
        _write(writer, 2, torch.ones(3))
    error = of_ray.stored[0].exception()
    assert isinstance(error, ToldError)
    assert "no space" in str(told(str(error)))
    assert error.__context__ is None
    assert not kept.steps


def test_a_report_that_ray_left_out_is_not_waited_for(of_ray: OfRay) -> None:
    """As after the loss of a worker, when all are about to be started again."""
    of_ray.leaves_out = True
    with CheckpointWriter(workers.RayWorker(Kept())) as writer:
        _write(writer, 1, torch.ones(3))
        _write(writer, 2, torch.ones(3))
    assert not of_ray.stored


@pytest.mark.parametrize("written", [0, 1])
def test_a_kill_amid_writing_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Killed after so many of the files of the second checkpoint."""
    worker = InProcess(tmp_path, lambda points: None)
    with CheckpointWriter(worker) as writer:
        _write(writer, 1, torch.ones(3))
    done = []

    def killed(path: Path):
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(path)
        return atomic_file(path)

    monkeypatch.setattr("pipelines.store.files.atomic_file", killed)
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(worker) as writer:
        _write(writer, 2, torch.zeros(3))
    with worker.latest() as folder:
        assert folder is not None
        read = {"weight": torch.zeros(3)}
        state_files.load(folder, read)
    torch.testing.assert_close(read["weight"], torch.ones(3), rtol=0, atol=0)

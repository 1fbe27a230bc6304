"""Checkpoints in a thread: of their step, one at a time, whole or not at all."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from pipelines.lens import state_files
from pipelines.lens.checkpoints import CheckpointWriter
from pipelines.lens.settings import PROGRESS_FILE
from pipelines.lens.workers import InProcess
from pipelines.store.files import atomic_file

WAIT_S = 10


@dataclass
class Slow:
    """Keeps a checkpoint once it is let go; knows how many were kept at a time."""

    keeps_in_thread: bool = True
    go: threading.Event = field(default_factory=threading.Event)
    found: dict[int, torch.Tensor] = field(default_factory=dict)
    at_once: int = 0
    most: int = 0
    fails: bool = False

    def keep(self, step: int, folder: Path) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        assert self.go.wait(WAIT_S)
        if self.fails:
            raise OSError("no space")
        read = {"weight": torch.zeros(3)}
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


def test_workers_that_report_together_keep_theirs_in_the_loop() -> None:
    keeper = Slow(keeps_in_thread=False)
    keeper.go.set()
    with CheckpointWriter(keeper) as writer:
        _write(writer, 1, torch.ones(3))
        assert list(keeper.found) == [1]


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

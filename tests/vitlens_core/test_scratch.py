"""Folders of killed processes are deleted at the next start, and no other folder ever is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vitlens_core.scratch import Scratch, sweep

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from vitlens_core.scratch import Scratch
folder = Scratch("held", sys.argv[1])
(folder.path / "a" / "b").mkdir(parents=True)
(folder.path / "a" / "outside").symlink_to(sys.argv[2])
if sys.argv[3] == "forks" and os.fork():
    os._exit(0)
print(folder.path, os.getpid(), flush=True)
time.sleep(600)
"""


@contextmanager
def holder(root: Path, outside: Path, how: str = "stays") -> Generator[tuple[Path, int]]:
    """Another process with a folder: its path and the process id."""
    command = [sys.executable, "-c", HOLD, str(root), str(outside), how]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        folder, pid = Path(words[0]), int(words[1])
        try:
            yield folder, pid
        finally:
            if folder.exists():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    return folder


def test_a_live_folder_is_kept_and_a_killed_ones_is_swept(root: Path, outside: Path) -> None:
    with holder(root, outside) as (folder, pid):
        assert folder.stat().st_mode & 0o777 == 0o700
        with Scratch("own", str(root)) as own:
            assert sweep(root) == []
            assert own.is_dir()
        assert folder.is_dir()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert sweep(root) == [folder]
    assert list(root.iterdir()) == []
    assert (outside / "kept").read_text() == "kept", "no link is followed"


def test_the_next_process_sweeps_without_being_told(root: Path, outside: Path) -> None:
    with holder(root, outside) as (folder, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with holder(root, outside) as (second, _):
            assert not folder.exists()
            assert list(root.iterdir()) == [second]


def test_a_folder_is_kept_while_a_child_of_its_owner_uses_it(root: Path, outside: Path) -> None:
    with holder(root, outside, "forks") as (folder, _):
        assert sweep(root) == []
        assert folder.is_dir()


@pytest.mark.parametrize(
    "name",
    ["vitlens.ray", "vitlens.ray.short", "other.ray.abcdefgh", "vitlens.ray.abcdefgh.tar", "x"],
)
def test_folders_with_other_names_are_kept(root: Path, name: str) -> None:
    (root / name).mkdir()
    assert sweep(root) == []
    assert (root / name).is_dir()


def test_files_and_links_with_such_names_are_kept(root: Path, outside: Path) -> None:
    (root / "vitlens.ray.abcdefgh").write_text("a file")
    (root / "vitlens.ray.bcdefghi").symlink_to(outside)
    assert sweep(root) == []
    assert len(list(root.iterdir())) == 2
    assert (outside / "kept").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_other_users_are_kept(root: Path) -> None:
    theirs, ours = root / "vitlens.ray.abcdefgh", root / "vitlens.ray.bcdefghi"
    theirs.mkdir()
    ours.mkdir()
    os.chown(theirs, 12345, 12345)
    assert sweep(root) == [ours]
    assert theirs.is_dir()


def test_a_folder_goes_with_the_block_and_with_its_object(root: Path) -> None:
    with Scratch("own", str(root)) as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()
    scratch = Scratch("own", str(root))
    path = scratch.path
    del scratch
    assert not path.exists()
    kept = Scratch.kept("own", str(root)).path
    assert kept.is_dir()


def test_a_forked_child_deletes_nothing(root: Path) -> None:
    scratch = Scratch("own", str(root))
    child = os.fork()
    if not child:
        scratch.cleanup()
        os._exit(0)
    os.waitpid(child, 0)
    assert scratch.path.is_dir()
    scratch.cleanup()
    assert not scratch.path.exists()

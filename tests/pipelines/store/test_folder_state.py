"""States: they change with names, sizes and times, and with nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pipelines.objects.remote_state import remote_state
from pipelines.store.folder_state import folder_state
from vitlens_core.errors import BadSampleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("index.csv", "train/a.wav", "train/b.wav", "test/c.wav"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(10**18, 10**18))
    return folder


def _touch(path: Path) -> None:
    os.utime(path, ns=(2 * 10**18, 2 * 10**18))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "train" / "new.wav").write_text(""),
        lambda folder: (folder / "train" / "a.wav").unlink(),
        lambda folder: (folder / "train" / "a.wav").rename(folder / "test" / "a.wav"),
        lambda folder: (folder / "train" / "a.wav").write_text("longer than it was"),
        lambda folder: _touch(folder / "index.csv"),
    ],
)
def test_a_change_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    before = folder_state(folder)
    assert folder_state(folder) == before
    change(folder)
    assert folder_state(folder) != before


def test_nothing_is_read(folder: Path) -> None:
    """The same sizes and times, other bytes: told apart by reading alone."""
    before = folder_state(folder)
    path = folder / "train" / "a.wav"
    path.write_text("train/A.wav")
    os.utime(path, ns=(10**18, 10**18))
    assert folder_state(folder) == before


def test_where_it_lies_does_not_matter(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")  # with the times of the files
    assert folder_state(moved) == folder_state(folder)


def test_links_are_followed_once_and_dead_ones_are_no_mistake(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "more").symlink_to(elsewhere)
    (folder / "train" / "round").symlink_to(folder)
    (folder / "dead").symlink_to(tmp_path / "nowhere")
    before = folder_state(folder)
    (elsewhere / "d.wav").write_text("d")
    assert folder_state(folder) != before


def test_remote_files_are_told_apart_by_size_where_there_is_no_tag(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    path = f"{tmp_path}/a.gz"
    files.pipe_file(path, b"one")
    before = remote_state(files, [path])
    files.pipe_file(path, b"two!")
    assert remote_state(files, [path]) != before
    with pytest.raises(BadSampleError, match="no such file"):
        remote_state(files, [f"{path}.none"])

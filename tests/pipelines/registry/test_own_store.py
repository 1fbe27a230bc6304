"""A home that was moved, copied, archived, or opened by two at once."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.registry import models, own_store
from tests.pipelines.registered import NAME, register
from vitlens_core.errors import ConfigError

SOURCE = f"models:/{NAME}@challenger"
NAMES = ["moved", "a b", "ü#%_", "a_b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_home_loads_and_registers_where_it_lies_now(home: Path, name: str) -> None:
    first = register(home)
    moved = home.rename(home.with_name(name))
    assert models.download(SOURCE, moved).is_relative_to(moved)
    assert models.versions(moved, "point_cloud") == [first]
    register(moved, right=0.7)
    assert not home.exists()
    assert models.download(SOURCE, moved).is_relative_to(moved)
    assert all(str(home.as_uri()) + "/" not in p for p in _places(moved))


def test_a_copy_reads_and_writes_its_own_files(home: Path, tmp_path: Path) -> None:
    first = register(home)
    report = tmp_path / "a-report"
    report.mkdir()
    for name in ("report.html", "report.json"):
        (report / name).write_text("")
    models.log_report(home, first, report)  # MLflow remembers by the run's id where its files lie
    copy = Path(shutil.copytree(home, home.with_name("copy")))
    before = _files(home)
    assert models.download(SOURCE, copy).is_relative_to(copy)
    (report / "report.html").write_text("another")
    for model in (first, register(copy, right=0.7)):
        models.log_report(copy, model, report)
    assert _files(home) == before
    assert models.download(SOURCE, home).is_relative_to(home)


def test_a_moved_home_loads_in_mlflow_alone_once_it_was_opened(home: Path) -> None:
    register(home)
    moved = home.rename(home.with_name("moved"))
    client = models.connect(moved)
    source = client.get_model_version(NAME, "1").source or ""
    assert source.startswith(moved.as_uri())
    assert own_store.correct_places(moved) == 0


def test_files_that_were_left_behind_are_named(home: Path) -> None:
    register(home)
    shutil.rmtree(home / own_store.FILES)
    with pytest.raises(ConfigError, match="moved or copied as a whole, with its mlartifacts"):
        models.download(SOURCE, home)


_OPEN = """
import sys, time
from pathlib import Path
import mlflow
from pipelines.registry import models
while time.time() < float(sys.argv[2]): pass
home = Path(sys.argv[1])
models.experiment(models.connect(home), home)
"""


@pytest.mark.nightly
def test_two_first_runs_at_once_make_one_registry(tmp_path: Path) -> None:
    at = str(time.time() + 12)  # both have imported MLflow by then
    command = [sys.executable, "-c", _OPEN, str(tmp_path / "home"), at]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    with closing(sqlite3.connect(tmp_path / "home" / "mlflow.db")) as tables:
        names = tables.execute("SELECT name FROM experiments").fetchall()
    assert sorted(names) == [("Default",), ("vitlens",)]


def _places(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as tables:
        return [
            str(value)
            for table, column in own_store._PLACES
            for (value,) in tables.execute(f"SELECT {column} FROM {table}").fetchall()
        ]


def _files(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}

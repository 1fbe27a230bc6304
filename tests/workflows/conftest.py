"""A stage for workflows, and Dagster's history where it costs little."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage

from pipelines.store.home import Home
from tests.workflows.stage import Stage
from workflows.environment import dagster_folder

# Runs and schedules on disk, events in memory: written one by one they take most of a run.
HISTORY = """\
run_storage: {{module: dagster._core.storage.runs, class: SqliteRunStorage,
  config: {{base_dir: '{0}/history'}}}}
event_log_storage: {{module: dagster._core.storage.event_log, class: InMemoryEventLogStorage}}
schedule_storage: {{module: dagster._core.storage.schedules, class: SqliteScheduleStorage,
  config: {{base_dir: '{0}/schedules'}}}}
"""


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """Dagster keeps the last instance in a context variable, which outlives it in some tests."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dagster's folder before its first run; making the tables takes seconds, copying none."""
    folder = dagster_folder(Home(tmp_path_factory.mktemp("dagster")))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs()
    return folder


@pytest.fixture
def light_history(tmp_path: Path, databases: Path) -> None:
    """Of the home in `tmp_path`: no event of a run waits for the disk."""
    folder = tmp_path / "dagster"
    shutil.copytree(databases, folder)
    (folder / "dagster.yaml").write_text(HISTORY.format(folder))


@pytest.fixture
def stage(tmp_path: Path, light_history: None, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    return Stage(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance

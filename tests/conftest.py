"""What tests of several packages share: one local Ray, tiny foundations on disk, a registry."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny_models import write_lit, write_open_clip

# How long an example takes says something of the machine, not of the code.
settings.register_profile("vitlens", deadline=None)
settings.load_profile("vitlens")

_SHARED = ("local_ray", "flow_runtime")  # each is made once, and costs a while
ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, and so do all that share something (`--dist loadgroup`).

    Groups with slow tests come last, the longest of them first, so that two cores end together.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        shared = [name for name in _SHARED if name in getattr(item, "fixturenames", ())]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))
    slow = {_group(item) for item in items if _is_slow(item)}
    items.sort(key=lambda item: (_group(item) in slow, _group(item) not in _SHARED))


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return marker.args[0]


def _is_slow(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("slow") and not item.get_closest_marker("nightly"))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Ray on two CPUs with a small object store, shared by all tests."""
    import ray

    from pipelines.execution.bulk import connect
    from pipelines.execution.runtime import Resources

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        connect(Resources(cpus=2, object_store_mb=100))
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def tiny_lit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Spec of a `lit` foundation whose two towers are tiny, random and read from files."""
    return write_lit(tmp_path_factory.mktemp("tiny-lit"))


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Spec of a tiny, random model of open_clip, its weights in a file."""
    return write_open_clip(tmp_path_factory.mktemp("tiny-open-clip"))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry; making its tables takes seconds, copying them none."""
    from pipelines.registry import models  # late: not every test needs MLflow

    home = tmp_path_factory.mktemp("registry")
    models.connect(home).search_registered_models()
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a registry of its own, in the present folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(database, home / "mlflow.db")
    return home

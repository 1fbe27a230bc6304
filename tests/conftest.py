"""What tests of several packages share: one local Ray, tiny foundations on disk, a registry."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something of the machine, not of the code.
settings.register_profile("vitlens", deadline=None)
settings.load_profile("vitlens")

ROOT = Path(__file__).parents[1]
# Triton reads it when it is imported, by whichever test comes first.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"
# Registries on a database, runs of Dagster, exports, children that import torch: `make quick` goes
# without these files, as it should take two minutes. By processor time of a whole run.
SLOW_FILES = (
    "benchmarks",
    "chaos",
    "docs/test_examples.py",
    "infra/test_kubernetes.py",
    "pipelines/evaluation/test_job.py",
    "pipelines/lens/test_parallel.py",
    "pipelines/lens/test_training.py",
    "pipelines/registry",
    "pipelines/service",
    "vitlens_core/foundation/test_hf.py",
    "vitlens_core/plugins",
    "vitlens_core/test_export.py",
    "vitlens_core/rendering/test_sandbox.py",
    "vitlens_core/sandbox",
    "vitlens_core/test_scratch.py",
    "workflows",
)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks of what the fixtures of a test say, and an order in which two workers end together.

    What needs Ray is slow, and shares one. A file's other tests stay together (`--dist loadgroup`).
    Groups with the most slow tests come first: the many short files fill what time is left.
    """
    for item in items:
        if item.path.relative_to(ROOT / "tests").as_posix().startswith(SLOW_FILES):
            item.add_marker(pytest.mark.slow)
        if "local_ray" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("local_ray"))
        elif item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    slow = Counter(_group(item) for item in items if _is_slow(item))
    items.sort(key=lambda item: (_group(item) != "local_ray", -slow[_group(item)]))


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

    from pipelines.execution.cluster import connect
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
    from tests.tiny_models import write_lit  # late: open_clip and timm take seconds

    return write_lit(tmp_path_factory.mktemp("tiny-lit"))


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Spec of a tiny, random model of open_clip, its weights in a file."""
    from tests.tiny_models import write_open_clip

    return write_open_clip(tmp_path_factory.mktemp("tiny-open-clip"))


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all workers of this session of pytest."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config) -> Path:
    """An empty registry; making its tables takes seconds, so that it is kept for next time."""
    from pipelines.registry import models  # late: not every test needs MLflow
    from pipelines.store.files import made_once

    def make(home: Path) -> Path:
        models.connect(home / "made").search_registered_models()
        return home / "made"

    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("vitlens-registry")
    return made_once(kept / version("mlflow"), make) / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a registry of its own, in the present folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(database, home / "mlflow.db")
    return home

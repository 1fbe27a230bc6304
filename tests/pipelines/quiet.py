"""A runtime for tests."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from upath import UPath

from pipelines.execution.runtime import Resources, Runtime
from pipelines.store.artifact_store import Store
from pipelines.store.home import Home


def quiet_runtime(folder: Path, **resources: int) -> Runtime:
    """A runtime in this process, unless told otherwise, whose progress bars nobody sees."""
    given = {
        "cpus": 2,
        "render_workers": 0,
        "encode_workers": 0,
        "train_workers": 0,
        "threads_per_train_worker": 1,
    } | resources
    store = Store(UPath(folder / "artifacts"))
    console = Console(file=io.StringIO())
    return Runtime(store, Resources.model_validate(given), console, Home(folder))

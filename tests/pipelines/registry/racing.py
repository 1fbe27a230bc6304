"""A process that promotes one version again and again; it imports no more than that takes."""

from __future__ import annotations

import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

from pipelines.registry import promotion


def promote_often(home: Path, name: str, version: int, barrier: Barrier) -> None:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    barrier.wait(60)
    for _ in range(5):
        promotion.promote(home, name, version, "a race")


def promote_from(
    home: Path, uri: str, keys: Path, name: str, version: int, barrier: Barrier
) -> None:
    """The same from one of several homes that share a server."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ["VITLENS_TRUSTED_KEYS"] = str(keys)
    os.environ["VITLENS_USER"] = home.name
    barrier.wait(60)
    for _ in range(5):
        promotion.promote(home, name, version, "a race")

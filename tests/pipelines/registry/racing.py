"""Processes that promote a version, again and again or killed amid it; they import little."""

from __future__ import annotations

import os
import signal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry import promotion, writes
from pipelines.registry.version import CHAMPION

if TYPE_CHECKING:
    from mlflow import MlflowClient


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


def promote_and_die(home: Path, name: str, version: int) -> None:
    """Be killed between the alias `previous` and the alias `champion`."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    set_alias = writes.set_alias

    def killed(client: MlflowClient, name: str, alias: str, version: int) -> None:
        if alias == CHAMPION:
            os.kill(os.getpid(), signal.SIGKILL)
        set_alias(client, name, alias, version)

    writes.set_alias = killed  # ty: ignore[invalid-assignment]
    promotion.promote(home, name, version, "it is killed")

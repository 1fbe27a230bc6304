"""places: whether what a run works with is there, each blamed by its own name, within seconds.

The tracking server, the store, the Ray cluster, this machine's cores and GPUs where it is to do the
work, and the free space against an estimate.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import uuid
from math import prod
from urllib.parse import urlsplit

from upath import UPath

from pipelines.config import RunConfig
from pipelines.execution.cluster import AUTOSCALED, is_local
from pipelines.execution.runtime import Resources
from pipelines.registry import own_store, server
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError, StorageError, TransientError

_TIMEOUT_S = 5.0
_NO_SERVER = ("", "local", "auto")  # addresses that Ray resolves on this machine
_BYTES_PER_IMAGE_PIXEL = 3.0  # of PNG and targets; photographs have less
_BYTES_PER_RENDER_PIXEL = 6.0  # RGBA and depth


def check_places(home: Home, config: RunConfig) -> list[str]:
    """Ask every place that a run needs, and return remarks for the user.

    Raises:
        TransientError: the tracking server or the Ray cluster does not answer.
        StorageError: the store cannot be written, or lacks the space.
        ConfigError: this machine is to do the work, and has fewer cores or GPUs than are asked for.
    """
    server.require_answer(own_store.tracking_uri(home.root))
    _require_writable(home.root, "VITLENS_HOME")
    _require_writable(home.store.root, "VITLENS_STORE")
    remarks = _ray_remarks(config)
    require_hardware(config.resources)
    return remarks


def require_space(store: UPath, needed_bytes: float) -> None:
    """Compare an estimate with the free space of a local store.

    Raises:
        StorageError: there is less.
    """
    if store.protocol not in ("", "file"):
        return
    free = shutil.disk_usage(store.path).free
    if free < needed_bytes:
        raise StorageError(
            f"the store {store} has {free / 1e9:.2f} GB free, and this run needs about "
            f"{needed_bytes / 1e9:.2f} GB; free some space, or name a larger disk in VITLENS_STORE"
        )


def needed_bytes(config: RunConfig, samples: int | None) -> float:
    """Estimate what the steps write: signals, images, and renders of objects.

    Args:
        samples: number of recordings or objects; None if it is not known before the run.
    """
    if samples is None:
        return 0.0
    signal = 2 * prod(config.tower().signal_config.example().shape)  # fp16
    if config.source is not None:
        return samples * (signal + _BYTES_PER_IMAGE_PIXEL * config.shards.image_px**2)
    renders = config.renders
    return samples * (signal + renders.views * 2 * _BYTES_PER_RENDER_PIXEL * renders.size_px**2)


def _require_writable(folder: UPath | os.PathLike[str], variable: str) -> None:
    place = UPath(folder)
    try:
        with storage_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            probe = place / f".writable-{uuid.uuid4().hex[:8]}"
            write_atomic(probe, b"")
            probe.unlink()
    except StorageError as error:
        raise StorageError(f"{variable}: {error}") from error


def _ray_remarks(config: RunConfig) -> list[str]:
    """Ask the cluster at RAY_ADDRESS, if this run would join one."""
    address = os.environ.get("RAY_ADDRESS", "")
    resources = config.resources
    if not address:
        return []
    pools = (resources.render_pool, resources.encode_pool, resources.train_pool)
    if not any(pool.workers for pool in pools):
        return [
            f"RAY_ADDRESS={address} is not used: resources.render_workers, encode_workers and "
            "train_workers are 0, so that all steps run in this process"
        ]
    require_ray_answer(address)
    return []


def require_hardware(resources: Resources) -> None:
    """Compare what is asked of this machine with what it has, before Ray is started for it.

    Ray refuses the same, but only at the first step that starts it: training, in the worst case.
    """
    pools = (resources.encode_pool, resources.train_pool)
    joins = not is_local() or AUTOSCALED in os.environ
    of_process = [pool for pool in pools if pool.gpus and not pool.workers]
    asks_for_gpus = bool(of_process) or (not joins and any(pool.gpus for pool in pools))
    gpus = count_gpus() if asks_for_gpus else 0
    if of_process and not gpus:
        settings = " and ".join(
            f"resources.{pool.name}_gpus={pool.gpus:g} with {pool.name}_workers=0"
            for pool in of_process
        )
        raise ConfigError(
            f"{settings}: this process is to work on a GPU, and torch finds none on this machine; "
            "set them to 0 to work on CPUs, or ask for workers on a cluster (RAY_ADDRESS)"
        )
    if not joins:
        resources.require({"CPU": resources.cpus, "GPU": gpus}, "this machine")


def count_gpus() -> int:
    """Return how many GPUs torch may use, asked in a process of its own.

    Here torch would take seconds of every run, and counting may keep a GPU for this process.
    """
    code = "import torch; print(torch.cuda.device_count())"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(asked.stdout.split()[-1])


def require_ray_answer(address: str) -> None:
    """Ask the Ray cluster at an address of RAY_ADDRESS (`TransientError`: none answers)."""
    if address in _NO_SERVER:
        return
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 6379), _TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise TransientError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start it, correct the "
            "address, or unset RAY_ADDRESS to start a local Ray"
        ) from error

"""missing: what a planned run needs that is not at hand: weights, space, memory, GPUs.

Promises  nothing is downloaded and no server is asked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from pipelines.config import RunConfig
from pipelines.store.home import Home
from workflows.planning.cached import is_in_cache
from workflows.planning.estimate import Stored
from workflows.planning.slopes import Slopes

_MAY_BE_FILLED = 0.9  # of a GPU's memory, by this estimate


def missing_of(
    config: RunConfig,
    home: Home,
    stored: Stored,
    memory: Mapping[str, float],
    slopes: Slopes,
) -> list[str]:
    """Return what is missing, a sentence each."""
    return [
        *_weights(config),
        *_space(home, stored),
        *_memory(memory, slopes),
        *_gpus(config),
    ]


def _weights(config: RunConfig) -> Iterator[str]:
    """Look for the published models of the foundation and of the trunk, if it is another."""
    for spec in filter(None, (config.foundation.spec, config.lens.trunk.model)):
        if not is_in_cache(spec):
            yield f"weights: {spec} is not in this machine's cache; the run downloads it"


def _space(home: Home, stored: Stored) -> Iterator[str]:
    store = home.store.root
    if store.protocol not in ("", "file"):
        return
    place = Path(store.path)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < stored.total_bytes:
        yield (
            f"space: some {stored.total_bytes / 1e9:,.0f} GB are written, {store} has "
            f"{free / 1e9:,.0f} GB free; name another place in VITLENS_STORE"
        )


def _memory(memory: Mapping[str, float], slopes: Slopes) -> Iterator[str]:
    needed, there = sum(memory.values()) / 1e9, slopes.gpu.memory_gb
    if needed > _MAY_BE_FILLED * there:
        yield (
            f"memory: a worker needs some {needed:.0f} GB, {slopes.stated.gpu} has {there:.0f} GB; "
            "raise lens.train.accumulation, or set resources.activation_checkpointing or "
            "resources.sharding=fsdp"
        )


def _gpus(config: RunConfig) -> Iterator[str]:
    resources = config.resources
    wanted = max(resources.train_pool.all_gpus, resources.encode_pool.all_gpus)
    if not wanted or os.environ.get("RAY_ADDRESS"):
        return
    found = torch.cuda.device_count()
    if found < wanted:
        yield f"GPUs: {wanted:g} are asked for, this machine has {found} (RAY_ADDRESS is not set)"

"""process_group: how training workers of one machine find each other, without an open port.

torch's own meeting point, a TCPStore, listens on every interface and answers everybody; workers of
one machine meet at a file instead. Across machines they meet as Ray Train does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch import config as of_ray

from pipelines.execution.cluster import is_local
from vitlens_core.scratch import Scratch


def torch_config() -> TorchConfig:
    """Return Ray Train's settings of the process group: a file on this machine, or TCP."""
    return _OnOneMachine() if is_local() else TorchConfig()


@dataclass
class _OnOneMachine(TorchConfig):
    """Its backend has workers meet at a file."""

    @property
    def backend_cls(self) -> type[_FileBackend]:
        return _FileBackend


class _FileBackend(of_ray._TorchBackend):
    """Ray Train's backend for torch, but for the meeting point."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        on_gpu = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        self._folder = Scratch("group")
        worker_group.execute(of_ray._set_torch_distributed_env_vars)
        started = [
            worker_group.execute_single_async(
                rank,
                of_ray._setup_torch_process_group,
                backend="nccl" if on_gpu else "gloo",
                world_rank=rank,
                world_size=len(worker_group),
                init_method=(self._folder.path / "store").as_uri(),
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(started)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        super().on_shutdown(worker_group, backend_config)
        self._folder.cleanup()

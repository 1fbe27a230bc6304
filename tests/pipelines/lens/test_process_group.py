"""Training workers of one machine meet without opening a port to others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest


@pytest.mark.nightly
def test_workers_of_one_machine_open_no_port_to_others(local_ray: None, tmp_path: Path) -> None:
    import ray.train.torch
    from ray.train.v2.api.config import RunConfig, ScalingConfig

    from pipelines.lens.process_group import torch_config

    trainer = ray.train.torch.TorchTrainer(
        _exchange,
        torch_config=torch_config(),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="two", storage_path=str(tmp_path)),
    )
    assert trainer.fit().error is None
    assert not list(Path(tempfile.gettempdir()).glob("vitlens.group.*/store"))


def _exchange() -> None:
    """In a worker: tensors and objects go round, and every socket is on the loopback."""
    import os

    import torch
    import torch.distributed as dist

    from tests.sockets import listening

    total = torch.ones(3)
    dist.all_reduce(total)
    assert total.tolist() == [2, 2, 2]
    ranks = [None, None]
    dist.all_gather_object(ranks, dist.get_rank())
    assert ranks == [0, 1]
    found = listening(os.getpid())
    assert found
    assert not [each for each in found if not each.is_loopback], found


def test_a_cluster_meets_over_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.torch import TorchConfig

    from pipelines.lens.process_group import torch_config

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.7:6379")
    assert type(torch_config()) is TorchConfig

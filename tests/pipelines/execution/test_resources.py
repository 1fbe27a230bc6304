"""Who takes how many CPUs and GPUs, and that a run that asks for more never starts.

The GPUs are Ray's counters: nothing here computes on one.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.execution.runtime import Resources
from vitlens_core.errors import ConfigError

FULL = {"render_workers": 64, "encode_workers": 4, "encode_gpus": 1, "train_workers": 8}
FULL |= {"train_gpus": 1}


def test_only_those_that_hold_towers_take_gpus() -> None:
    resources = Resources.model_validate(FULL)
    assert resources.render_pool.gpus == 0
    assert (resources.encode_pool.gpus, resources.train_pool.gpus) == (1, 1)
    resources.require({"CPU": 64, "GPU": 8}, "this cluster")


def test_all_that_is_lacking_is_named_at_once() -> None:
    resources = Resources.model_validate(FULL)
    with pytest.raises(ConfigError) as raised:
        resources.require({"CPU": 16}, "this machine")
    assert str(raised.value).splitlines()[:3] == [
        "resources.render_workers=64 take 32 CPUs (0.5 each), this machine has 16",
        "resources.encode_workers=4 take 4 GPUs (1 each), this machine has 0",
        "resources.train_workers=8 take 8 GPUs (1 each), this machine has 0",
    ]
    assert "set encode_gpus and train_gpus to 0" in str(raised.value)


def test_a_training_that_may_shrink_needs_its_fewest_workers_only() -> None:
    elastic = Resources.model_validate({**FULL, "min_train_workers": 2, "encode_workers": 2})
    elastic.require({"CPU": 64, "GPU": 2}, "this cluster")


def test_half_a_gpu_is_for_encoding_only() -> None:
    Resources.model_validate({"encode_gpus": 0.5})
    with pytest.raises(ValueError, match="train_gpus"):
        Resources.model_validate({"train_gpus": 0.5})


@pytest.mark.nightly
def test_workers_get_the_gpus_that_they_need_and_the_driver_none() -> None:
    """In a process of its own, as a Ray has the GPUs that it was started with."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.execution.on_counted_gpus"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "render: 0 0",
        "encode: 1 1",
        "task: 1 of 2",
        "table: 1",
        "refused: resources.encode_workers=2 take 6 GPUs (3 each), this machine has 2",
    ]

"""Samples trained per second and the share of the machine's matmul peak that its FLOPs are.

    python -m tests.benchmarks.bench_training [--size b16] [--batch 8] [--steps 3]

The point tower of the paper on a frozen trunk, with ready targets from shards in the page cache:
whole steps of the trainer (loading, forward, backward, optimizer) after a warm-up. FLOPs are those
that torch.utils.flop_counter counts in one step: products and attention, forward and backward.
Random weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop
from upath import UPath

from pipelines.execution.runtime import Resources
from pipelines.lens import training
from pipelines.lens.settings import TrainConfig
from pipelines.lens.workers import InProcess
from pipelines.store.artifact_store import Store
from tests.benchmarks import bench_loading
from tests.benchmarks.bench_encode import foundation, tower_settings
from tests.benchmarks.bench_targets import described
from tests.benchmarks.machine import (
    SIZES,
    device,
    matmul_peak,
    multiplies_bf16,
    peak_memory_on_mb,
    timed,
)


def _of_shapes(flop: Callable[..., int]) -> Callable[..., int]:
    """A formula of torch's as `custom_mapping` takes it: it finds the shapes by itself."""

    def counted(*args: Any, **kwargs: Any) -> int:
        return flop(*args, **kwargs)

    counted._get_raw = True  # ty: ignore[missing-attribute]  the counter asks for it
    return counted


_aten = torch.ops.aten
# The counter knows the attention of GPUs only.
_OF_CPUS = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _of_shapes(sdpa_flop),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _of_shapes(sdpa_backward_flop),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="b16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(measure(args.size, args.batch, args.steps), indent=2))


def measure(size: str, batch: int, steps: int) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(Path(folder), size, batch)
        batches = trainer.batches()
        with FlopCounterMode(display=False, custom_mapping=_OF_CPUS) as counter:
            trainer._train_step(*next(batches))
        seconds = median(timed(lambda: trainer._train_step(*next(batches))) for _ in range(steps))
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    flop_per_s = counter.get_total_flops() / seconds
    return {
        "size": size,
        "device": device().type,
        "threads": torch.get_num_threads(),
        "precision": str(dtype).removeprefix("torch."),
        "batch": batch,
        "step_s": round(seconds, 4),
        "samples_per_s": round(batch / seconds, 3),
        "gflop_per_sample": round(counter.get_total_flops() / batch / 1e9, 2),
        "gflop_per_s": round(flop_per_s / 1e9, 1),
        "share_of_matmul_peak": round(flop_per_s / matmul_peak(dtype), 3),
        "peak_memory_mb": round(peak_memory_on_mb(device())),
    }


def trainer_of(
    folder: Path, size: str, batch: int, resources: Resources | None = None, **train: Any
) -> training.Trainer:
    """A trainer of the paper's point tower on random weights and made-up clouds."""
    on_gpu = device().type == "cuda"
    model = foundation(SIZES[size])
    store = Store(UPath(folder))
    made = bench_loading.write(folder, bench_loading.PER_SHARD, model.embed_dim)
    job = training.TrainJob(
        tower_settings("point_cloud", model),
        TrainConfig(batch_size=batch, warmup_steps=0, **train),
        made,
        described(store),
        resources or Resources(train_workers=0),
    )
    with patch.object(training, "open_foundation", lambda _: model):
        return training.Trainer(job, InProcess(folder / "checkpoints", lambda _: None, on_gpu))


if __name__ == "__main__":
    main()

"""Shares of farthest point sampling, kNN and attention in a point tower's time.

    python -m tests.benchmarks.bench_shares [--size b16] [--batch 4] [--repeats 3]

Stored clouds are in farthest-point order, so that the tower samples none (`presorted`); `unsorted`
is the same tower on clouds in any order. The paper's point tower, in fp32 or bf16 as
`precision: auto` has it; forward alone, and forward with backward. Sampling and neighbours are
timed as wholes, and have no backward; attention is the fused kernel, without its projections, as
torch.profiler finds it. Random weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tests.benchmarks.bench_encode import example, foundation, tower_settings
from tests.benchmarks.machine import SIZES, device, timed
from vitlens_core.foundation.clip import OpenClipFoundation
from vitlens_core.models.tokenizers import point_clouds
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import autocast

NAMED = {"fps": "farthest_point_sample", "knn": "knn"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="b16")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(measure(args.size, args.batch, args.repeats), indent=2))


def measure(size: str, batch: int, repeats: int) -> dict[str, Any]:
    model = foundation(SIZES[size])
    settings = tower_settings("point_cloud", model)
    return {
        "size": size,
        "device": device().type,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "presorted": _of_tower(settings, model, batch, repeats, presorted=True),
        "unsorted": _of_tower(settings, model, batch, repeats, presorted=False),
    }


def _of_tower(
    settings: TowerSettings,
    model: OpenClipFoundation,
    batch: int,
    repeats: int,
    *,
    presorted: bool,
) -> dict[str, dict[str, float]]:
    tower = build_tower(settings, model.trunk).to(device()).train()
    for module in tower.modules():
        if isinstance(getattr(module, "presorted", None), bool):
            vars(module)["presorted"] = presorted
    signal = example(settings, batch).to(device())

    def forward() -> torch.Tensor:
        with autocast("auto", device()):
            return tower(signal)

    def forward_inference() -> None:
        with torch.inference_mode():
            forward()

    def forward_backward() -> None:
        forward().float().square().sum().backward()

    return {
        "forward": shares(forward_inference, repeats),
        "forward_backward": shares(forward_backward, repeats),
    }


def shares(work: Callable[[], None], repeats: int) -> dict[str, float]:
    """Seconds of one run, and which shares of it each part takes."""
    work()
    activities = [ProfilerActivity.CPU]
    on_gpu = device().type == "cuda"
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with named_parts(), profile(activities=activities) as found:
        seconds = sum(timed(work) for _ in range(repeats))
    parts = dict.fromkeys((*NAMED, "attention"), 0.0)
    for event in found.key_averages():
        taken_us = event.device_time_total if on_gpu else event.cpu_time_total
        if event.key in NAMED:
            parts[event.key] += taken_us / 1e6
        elif event.key.startswith("aten::_scaled_dot_product"):  # and its backward
            parts["attention"] += taken_us / 1e6
    return {"seconds": round(seconds / repeats, 4)} | {
        f"{name}_share": round(taken / seconds, 4) for name, taken in parts.items()
    }


@contextmanager
def named_parts() -> Generator[None]:
    """Name the parts of the tokenizer to the profiler."""

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed_part(*args: Any, **options: Any) -> Any:
            with record_function(name):
                return function(*args, **options)

        return timed_part

    with ExitStack() as stack:
        for name, attribute in NAMED.items():
            part = named(name, getattr(point_clouds, attribute))
            stack.enter_context(patch.object(point_clouds, attribute, part))
        yield


if __name__ == "__main__":
    main()

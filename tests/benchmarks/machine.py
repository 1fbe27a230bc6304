"""What this machine is and can do: the yardstick of a benchmark's shares.

python -m tests.benchmarks.machine
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.memory import peak_memory_mb
from vitlens_core.precision import autocast

SIZES = {"tiny": "tiny", "b16": "B/16", "l14": "L/14", "bigg": "bigG/14"}


def described() -> dict[str, object]:
    """The machine, the moment and the revision."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if device().type == "cuda" else None,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "matmul_peak_gflop_per_s": {
            str(dtype).removeprefix("torch."): round(matmul_peak(dtype) / 1e9, 1)
            for dtype in (torch.float32, *[torch.bfloat16] * multiplies_bf16())
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
    }


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_bf16() -> bool:
    """Whether `auto` is bf16 here."""
    place = device()
    with autocast("auto", place):
        return torch.is_autocast_enabled(place.type)


def matmul_peak(dtype: torch.dtype, repeats: int = 5) -> float:
    """The best FLOP/s of a large matrix product; bf16 only where it is not emulated."""
    side = 8192 if device().type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device(), dtype=dtype) for _ in range(2))
    seconds = [timed(lambda: a @ b) for _ in range(repeats + 1)][1:]
    return 2 * side**3 / min(seconds)


def peak_memory_on_mb(place: torch.device) -> float:
    """The most memory that this program took on a device."""
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_memory_mb()


def timed(work: Callable[[], object]) -> float:
    """Seconds until it is done, on the GPU too."""
    start = time.perf_counter()
    work()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    print(json.dumps(described(), indent=2))

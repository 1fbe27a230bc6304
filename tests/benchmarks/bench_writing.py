"""Shards written per second, in MB, against writing the same bytes to one plain file.

    python -m tests.benchmarks.bench_writing [--samples 1024] [--repeats 5]

Samples of 170 kB lie in memory. A shard is hashed, summed and synced; the plain file is synced.
Prints JSON: medians, and the ratio of the two within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from upath import UPath

from pipelines.store.shards import Sample, write_shard
from tests.benchmarks.bench_loading import EMBED_DIM, sample
from tests.benchmarks.machine import timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = [sample(rng, number, EMBED_DIM) for number in range(args.samples)]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), samples, args.repeats), indent=2))


def measure(folder: Path, samples: list[Sample], repeats: int) -> dict[str, float]:
    tar = UPath(folder / "train-00000.tar")
    shard_s = [timed(lambda: write_shard(tar, samples)) for _ in range(repeats)]
    data = tar.read_bytes()
    plain_s = [timed(lambda: _write(folder / "plain", data)) for _ in range(repeats)]
    return {
        "samples": len(samples),
        "size_mb": round(len(data) / 1e6, 1),
        "shard_mb_per_s": round(len(data) / 1e6 / median(shard_s), 1),
        "plain_mb_per_s": round(len(data) / 1e6 / median(plain_s), 1),
        "share_of_plain_write": round(median(plain_s) / median(shard_s), 3),
    }


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()

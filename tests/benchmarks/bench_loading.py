"""Samples a second from point shards, against a raw sequential read of the same files.

    python -m tests.benchmarks.bench_loading [--samples 2048] [--repeats 5]

Targets of clouds of 10,000 points lie in the page cache; batches of 64 are read by one thread, as
a training worker does, with a training worker's settings of malloc. The raw read is of every whole
file into one small buffer, which stays in the processor's cache; the fresh read is into new memory,
mapped for it, as much at a time as a batch of the loader has. Prints JSON: the first epoch (which
finds out where everything lies), medians of the next ones, and ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
from upath import UPath

from pipelines.execution.cluster import FAST
from pipelines.execution.shard_tasks import ShardRecord
from pipelines.lens.batches import Batch, TrainingBatches
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import Sample, encode_array, write_shard
from tests.benchmarks.machine import timed

POINTS, VIEWS, CAPTIONS, EMBED_DIM = 10_000, 12, 20, 768
BATCH, PER_SHARD = 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if not FAST.items() <= os.environ.items():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | FAST)
    with tempfile.TemporaryDirectory() as folder:
        made = write(Path(folder), args.samples)
        print(json.dumps(measure(made, args.repeats), indent=2))


def measure(made: Artifact, repeats: int) -> dict[str, float]:
    count = made.manifest.counts["samples"]
    size_mb = sum(entry.size_bytes for entry in made.manifest.files) / 1e6
    epochs = TrainingBatches(made, "points.npy", ("image", "text"), BATCH).starting_at(0)
    first_s = timed(lambda: _load(epochs, count // BATCH))
    read_s, fresh_s, loaded_s = [], [], []
    for _ in range(repeats):  # in turn: the host's speed changes within a run
        read_s.append(timed(lambda: _read(made)))
        fresh_s.append(timed(lambda: _read_fresh(made, size_mb * 1e6 * BATCH / count)))
        loaded_s.append(timed(lambda: _load(epochs, count // BATCH)))
    return {
        "samples": count,
        "size_mb": round(size_mb, 1),
        "raw_read_mb_per_s": round(size_mb / median(read_s)),
        "fresh_read_mb_per_s": round(size_mb / median(fresh_s)),
        "loaded_samples_per_s": round(count / median(loaded_s)),
        "share_of_raw_read": round(median(read_s) / median(loaded_s), 3),
        "share_of_fresh_read": round(median(fresh_s) / median(loaded_s), 3),
        "first_epoch_share_of_raw_read": round(median(read_s) / first_s, 3),
    }


def write(folder: Path, count: int, embed_dim: int = EMBED_DIM) -> Artifact:
    """Targets of `count` random clouds, a multiple of a shard's samples."""
    rng = np.random.default_rng(0)
    build = Store(UPath(folder)).begin("targets", 1, {}, {})
    files = []
    for number in range(count // PER_SHARD):
        first = number * PER_SHARD
        samples = [sample(rng, first + i, embed_dim) for i in range(PER_SHARD)]
        name = f"train-{number:05d}"
        entry, written = write_shard(build.folder / f"{name}.tar", samples)
        record = ShardRecord(file=entry, samples=written)
        write_atomic(build.folder / f"{name}.record.json", record.model_dump_json().encode())
        files.append(entry)
    return build.commit(files, {"samples": len(files) * PER_SHARD})


def sample(rng: np.random.Generator, number: int, embed_dim: int) -> Sample:
    return {
        "__key__": f"object{number:06d}",
        "points.npy": encode_array(rng.random((POINTS, 6), np.float32).astype(np.float16)),
        "image_targets.npy": encode_array(rng.random((VIEWS, embed_dim)).astype(np.float16)),
        "text_targets.npy": encode_array(rng.random((CAPTIONS, embed_dim)).astype(np.float16)),
        "json": SampleInfo.model_validate(
            {"name": "", "label": "chair", "group": "", "split": "train"}
            | {"captions": ["a photo of a chair"] * CAPTIONS}
        ).encode(),
    }


def _read(made: Artifact) -> None:
    buffer = bytearray(1 << 20)
    for path in made.shards():
        with open(str(path), "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _read_fresh(made: Artifact, batch_bytes: float) -> None:
    """Read every file into memory that no process has used, a batch's bytes at a time."""
    size = round(batch_bytes)
    for path in made.shards():
        with open(str(path), "rb", buffering=0) as file:
            while True:
                with mmap.mmap(-1, size) as fresh:
                    if not file.readinto(fresh):
                        break


def _load(batches: Iterator[Batch], count: int) -> None:
    for _ in islice(batches, count):
        pass


if __name__ == "__main__":
    main()

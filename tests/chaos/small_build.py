"""`python -m tests.chaos.small_build STORE`: an artifact of cheap samples, on any Ray cluster."""

from __future__ import annotations

import io
import random
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from upath import UPath

from pipelines.artifacts import Artifact, Quarantined, Store
from pipelines.cluster import ShardTask, build_shards
from pipelines.runtime import Resources, Runtime
from pipelines.shard_io import Sample
from vitlens_core.errors import VitlensError

SHARDS, SAMPLES, SECONDS = 60, 8, 0.05


class Slow:
    """Eight samples of noise a shard, one of them bad, each of which takes a while."""

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for number in range(SAMPLES):
            time.sleep(SECONDS)
            key = f"{task.name}-{number}"
            if number == 3:
                yield Quarantined(key=key, step="slow", reason="the third is always bad")
            else:
                yield {"__key__": key, "bin": random.Random(key).randbytes(20_000)}


def build(store: Store) -> Artifact:
    runtime = Runtime(store, Resources(data_workers=2), Console(file=io.StringIO()))
    tasks = [ShardTask(f"train-{number:05d}") for number in range(SHARDS)]
    return build_shards(runtime, store.begin("slow", 1, {}, {}), tasks, Slow)


if __name__ == "__main__":
    try:
        build(Store(UPath(sys.argv[1])))
    except VitlensError as error:
        sys.exit(str(error))

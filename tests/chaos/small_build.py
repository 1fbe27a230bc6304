"""`python -m tests.chaos.small_build FOLDER`: an artifact of cheap samples, on any Ray cluster."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.execution.bulk import build_shards
from pipelines.execution.shard_tasks import ShardTask
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample
from tests.pipelines.quiet import quiet_runtime
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


def build(folder: Path) -> Artifact:
    runtime = quiet_runtime(folder, render_workers=2)
    tasks = [ShardTask(f"train-{number:05d}") for number in range(SHARDS)]
    return build_shards(runtime, runtime.store.begin("slow", 1, {}, {}), tasks, Slow)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except VitlensError as error:
        sys.exit(str(error))

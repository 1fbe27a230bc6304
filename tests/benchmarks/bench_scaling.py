"""Driver memory and time against the number of objects, and the share that Ray costs.

    python -m tests.benchmarks.bench_scaling [--objects 200 2000 20000] [--per-shard 100]

Cheap synthetic objects (a cube of 1 kB in a mirror of Objaverse's layout) go through the real
`objects` step (listing, selection, split, fetching, shards) and through a second step that reads
those shards and writes small samples. Each size runs in two fresh processes: on one Ray worker,
and without Ray. Prints JSON: peak resident memory of the driver, seconds of both ways once Ray
is up, and the slopes between the sizes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from upath import UPath

from pipelines.execution.bulk import build_shards
from pipelines.execution.cluster import connect
from pipelines.execution.runtime import Resources, Runtime
from pipelines.execution.shard_tasks import ShardTask, tasks_of
from pipelines.objects import job as objects
from pipelines.objects.step import ObjectsConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample
from tests.benchmarks.memory import peak_memory_mb
from tests.vitlens_core.rendering.glb_builder import cube

CLASSES = 25


class Digest:
    """A sample of what was read: cheap, but it touches every byte."""

    def __init__(self, made: Artifact) -> None:
        self.made = made

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        for sample in self.made.read(task.name):
            digest = hashlib.sha256(sample["glb"]).digest()
            yield {"__key__": sample["__key__"], "bin": digest * 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[200, 2000, 20_000])
    parser.add_argument("--per-shard", type=int, default=100)
    parser.add_argument("--one", nargs=2, metavar=("MIRROR", "WORKERS"), help="for itself")
    args = parser.parse_args()
    if args.one:
        mirror, workers = args.one
        print(json.dumps(build(Path(mirror), int(workers), args.per_shard)))
        return
    rows = [measure(count, args.per_shard) for count in args.objects]
    print(json.dumps({"sizes": rows, "slopes": slopes(rows[0], rows[-1])}, indent=2))


def measure(count: int, per_shard: int) -> dict[str, float]:
    """One size, on a worker of Ray's and without Ray."""
    with tempfile.TemporaryDirectory() as folder:
        mirror = Path(folder)
        write_mirror(mirror, count)
        found = {}
        for workers in (1, 0):
            command = [sys.executable, "-m", "tests.benchmarks.bench_scaling"]
            command += ["--one", str(mirror), str(workers), "--per-shard", str(per_shard)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            found[workers] = json.loads(out.splitlines()[-1])
    ray, plain = found[1], found[0]
    return {
        "objects": count,
        "driver_peak_mb": ray["peak_mb"],
        "ray_s": ray["seconds"],
        "plain_s": plain["seconds"],
        "ray_share": round(1 - plain["seconds"] / ray["seconds"], 3),
    }


def slopes(small: dict[str, float], large: dict[str, float]) -> dict[str, float]:
    more = large["objects"] - small["objects"]
    memory_kb = 1000 * (large["driver_peak_mb"] - small["driver_peak_mb"]) / more
    return {
        "driver_kb_per_object": round(memory_kb, 2),
        "ray_ms_per_object": round(1000 * (large["ray_s"] - small["ray_s"]) / more, 3),
        "plain_ms_per_object": round(1000 * (large["plain_s"] - small["plain_s"]) / more, 3),
    }


def build(mirror: Path, workers: int, per_shard: int) -> dict[str, float]:
    """Both steps in this process's Ray, or in this process."""
    with tempfile.TemporaryDirectory() as folder:
        resources = Resources(cpus=2, render_workers=workers, object_store_mb=100)
        runtime = Runtime(Store(UPath(folder)), resources, Console(file=io.StringIO()))
        if workers:
            connect(resources)
        start = time.perf_counter()
        config = ObjectsConfig(mirror=str(mirror), objects_per_shard=per_shard)
        fetched = objects.run(runtime, config)
        made = runtime.store.begin("digests", 1, {}, {"objects": fetched})
        build_shards(runtime, made, tasks_of(fetched), partial(Digest, fetched))
        seconds = time.perf_counter() - start
    peak_mb = peak_memory_mb()
    return {"seconds": round(seconds, 2), "peak_mb": round(peak_mb, 1)}


def write_mirror(root: Path, count: int) -> None:
    """`count` cubes in Objaverse's layout: annotations and files, a thousand to a folder."""
    layout = root / "hf-objaverse-v1"
    glb = cube().pack()
    uids = [hashlib.md5(str(n).encode()).hexdigest() for n in range(count)]
    parts = {uid: f"000-{number // 1000:03d}" for number, uid in enumerate(uids)}
    for part in sorted(set(parts.values())):
        (layout / "glbs" / part).mkdir(parents=True)
        (layout / "metadata").mkdir(exist_ok=True)
        own = [uid for uid in uids if parts[uid] == part]
        described = {"license": "by", "archives": {"glb": {"size": len(glb)}}}
        named = {uid: {"name": f"cube {uid[:6]}", "tags": [], **described} for uid in own}
        _write(layout / "metadata" / f"{part}.json.gz", named)
        for uid in own:
            (layout / "glbs" / part / f"{uid}.glb").write_bytes(glb)
    _write(layout / "object-paths.json.gz", {uid: f"glbs/{parts[uid]}/{uid}.glb" for uid in uids})
    labels = {f"class_{k:02d}": uids[k::CLASSES] for k in range(CLASSES)}
    _write(layout / "lvis-annotations.json.gz", labels)


def _write(path: Path, value: object) -> None:
    path.write_bytes(gzip.compress(json.dumps(value).encode(), compresslevel=1))


if __name__ == "__main__":
    main()

"""Seconds per object on one core, and objects per second of several workers.

    python -m tests.benchmarks.bench_rendering [--objects 60] [--workers 1 2]

12 views of 224 px and 10,000 ordered points of the shipped objects, spread over their classes.
Prints JSON: median and 90th percentile of the whole (as a caller of RenderWorker sees it) and of
each stage, this process and its render child pinned to one core; then objects per second by number
of workers, each with a core of its own as far as there are cores.
"""

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.resources import files

import numpy as np

from vitlens_core.rendering import RenderSettings, RenderWorker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    objects, cores = shipped_objects(args.objects), os.sched_getaffinity(0)
    by_workers = {count: round(throughput(objects, count), 2) for count in args.workers}
    os.sched_setaffinity(0, {max(cores)})
    made = measure(objects) | {"objects_per_s_by_workers": by_workers}
    print(json.dumps(made, indent=2))


def throughput(objects: list[bytes], workers: int) -> float:
    """Objects per second of so many workers side by side, each with a render child of its own."""
    with ExitStack() as stack:
        pool = [stack.enter_context(RenderWorker(RenderSettings())) for _ in range(workers)]
        for worker in pool:
            worker.render(objects[0], seed=0)

        def render(number: int) -> None:
            for glb in objects[number::workers]:
                pool[number].render(glb, seed=0)

        start = time.perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(render, range(workers)))
        return len(objects) / (time.perf_counter() - start)


def shipped_objects(wanted: int) -> list[bytes]:
    """Up to `wanted` of the shipped GLBs, evenly spaced."""
    folder = files("pipelines") / "data" / "mini-objaverse" / "hf-objaverse-v1" / "glbs"
    paths = sorted((path for part in folder.iterdir() for path in part.iterdir()), key=str)
    chosen = np.linspace(0, len(paths) - 1, min(wanted, len(paths))).astype(int)
    return [paths[index].read_bytes() for index in chosen]


def measure(objects: list[bytes]) -> dict[str, object]:
    """Timings over `objects`; the first renders once more beforehand, to leave start-up out."""
    laps: dict[str, list[float]] = {"whole": []}
    with RenderWorker(RenderSettings()) as worker:
        start = time.perf_counter()
        worker.render(objects[0], seed=0)
        first_s = time.perf_counter() - start
        for glb in objects:
            start = time.perf_counter()
            rendered = worker.render(glb, seed=0)
            laps["whole"].append(time.perf_counter() - start)
            for stage, seconds in rendered.seconds.items():
                laps.setdefault(stage, []).append(seconds)
    return {"objects": len(objects), "first_s": round(first_s, 3)} | {
        f"{stage}_s": {
            "median": round(float(np.median(lap)), 4),
            "p90": round(float(np.percentile(lap, 90)), 4),
        }
        for stage, lap in laps.items()
    }


if __name__ == "__main__":
    main()

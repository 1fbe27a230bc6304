"""Seconds per object on one core: 12 views of 224 px and 10,000 ordered points.

    python tests/benchmarks/bench_rendering.py [--objects 60]

Reads the shipped objects, spread over their classes; prints JSON with median and 90th
percentile of the whole (as a caller of RenderWorker sees it) and of each stage. The process and
its render child are pinned to one core.
"""

import argparse
import json
import os
import time
from importlib.resources import files

import numpy as np

from vitlens_core.rendering import RenderSettings, RenderWorker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60)
    wanted = parser.parse_args().objects
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(measure(_objects(wanted)), indent=2))


def _objects(wanted: int) -> list[bytes]:
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

"""Objects a second and memory of every step of one run, at whatever size its profile has.

    python -m tests.benchmarks.bench_flow point_cloud --profile parts [--set A.B=C …]

Starts `vitlens run` and reads the memory of its whole tree of processes (resident, so pages that
processes share count in each) every second. The run is an ordinary one in VITLENS_HOME: stopped, it
goes on with the same command, and steps that were finished before are left out. Prints JSON: by
step its seconds, what it made a second, and the highest memory in the first and in the last third
of its time: of a step whose memory is flat the two are alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from upath import UPath

from pipelines.store.artifacts import Manifest
from pipelines.store.home import Home

MB = 2**20
Readings = Sequence[tuple[float, float]]  # of a clock [s], and of memory [MB]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modality")
    parser.add_argument("--profile", default="parts")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--every-s", type=float, default=1.0)
    args = parser.parse_args()
    command = [str(Path(sys.executable).with_name("vitlens")), "run", args.modality]
    command += ["--profile", args.profile]
    command += [word for override in args.overrides for word in ("--set", override)]
    started = time.time()
    readings, status = watch(command, args.every_s)
    artifacts = Home.from_environment().store.root
    print(json.dumps({"status": status, "steps": by_step(artifacts, started, readings)}, indent=2))


def watch(command: Sequence[str], every_s: float) -> tuple[Readings, int]:
    """Run a command to its end; return its tree's memory over time, and its status."""
    readings = []
    with psutil.Popen(command, stdout=sys.stderr) as process:
        while process.poll() is None:
            readings.append((time.time(), tree_mb(process)))
            time.sleep(every_s)
    return readings, process.returncode


def tree_mb(process: psutil.Process) -> float:
    """Resident memory of a process and all below it."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile; what was counted is the least
        pass
    return total / MB


def by_step(artifacts: UPath, started: float, readings: Readings) -> dict[str, dict[str, object]]:
    """Figures of the steps that were made since a time, in the order in which they ended."""
    found = {}
    for path in sorted(artifacts.glob("*/*/manifest.json"), key=lambda path: path.stat().st_mtime):
        ended = path.stat().st_mtime
        if ended < started:
            continue
        manifest = Manifest.model_validate_json(path.read_bytes())
        found[path.parent.parent.name] = figures(manifest, ended, readings)
    return found


def figures(manifest: Manifest, ended: float, readings: Readings) -> dict[str, object]:
    seconds = manifest.seconds
    third = seconds / 3
    of_step = [(ended - at, mb) for at, mb in readings if 0 <= ended - at <= seconds]
    first = [mb for before, mb in of_step if before >= 2 * third]
    last = [mb for before, mb in of_step if before <= third]
    return {
        "seconds": round(seconds, 1),
        **{
            f"{name}_per_s": round(n / seconds, 2) for name, n in manifest.counts.items() if seconds
        },
        "first_third_mb": round(max(first)) if first else None,
        "last_third_mb": round(max(last)) if last else None,
    }


if __name__ == "__main__":
    main()

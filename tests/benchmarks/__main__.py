"""Every benchmark of the jobs in one command: one JSON with the machine's description, one plot.

    python -m tests.benchmarks [--quick | --full] [--device cpu|cuda] [--size b16|l14|tiny]
        [--only loading …] [--out FOLDER]

Each benchmark runs in a process of its own, one after the other, on an otherwise idle machine if
its figures are to mean something. `--quick` takes the smallest sizes, to see that all run; `--full`
scales to 20,000 objects. `bench_service` is apart: it needs a champion and its index. Writes
benchmarks.json and benchmarks.png; a benchmark that fails is in the JSON with its last lines, and
the command ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHOWN_CHARACTERS = 2000


def main() -> None:
    args = _arguments()
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if args.device == "cpu" else {})
    if args.device == "cuda" and not _has_cuda():
        sys.exit("--device cuda: torch finds no GPU here; leave the option out")
    made: dict[str, Any] = {"machine": _run("machine", [], environment)}
    wanted = {k: v for k, v in commands(args).items() if not args.only or k in args.only}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, options in wanted.items():
        print(f"{name} {' '.join(options)}", flush=True)
        made[name] = _run(f"bench_{name}", options, environment)
        # After each of them: half an hour of figures outlives an interruption.
        (args.out / "benchmarks.json").write_text(json.dumps(made, indent=2) + "\n")
    from tests.benchmarks.plot import draw  # late: matplotlib takes a second

    draw(made, args.out / "benchmarks.png")
    print(args.out / "benchmarks.json")
    if failed := [name for name, found in made.items() if "error" in found]:
        sys.exit(f"failed: {', '.join(failed)}")


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """The options of every benchmark."""
    sized = ["--size", "tiny" if args.quick else args.size]
    scale = ["200", "2000"] + (["20000"] if args.full else [])
    if args.quick:
        return {
            "rendering": ["--objects", "4"],
            "writing": ["--samples", "64", "--repeats", "2"],
            "loading": ["--samples", "256", "--repeats", "2"],
            "targets": [*sized, "--samples", "2", "--repeats", "1"],
            "training": [*sized, "--batch", "2", "--steps", "1"],
            "shares": [*sized, "--batch", "2", "--repeats", "1"],
            "encode": ["--tiny", "--modalities", "image", "point_cloud", "--batch", "2"],
            "scaling": ["--objects", "100", "200", "--per-shard", "50"],
        }
    encoded = {"tiny": ["--tiny"], "b16": ["--sizes", "B/16"], "l14": ["--sizes", "L/14"]}
    return {
        "rendering": [],
        "writing": [],
        "loading": [],
        "targets": sized,
        "training": sized,
        "shares": sized,
        "encode": [*encoded[args.size], "--batch", "2", "--repeats", "3"],
        "scaling": ["--objects", *scale],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true")
    how.add_argument("--full", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--size", choices=["tiny", "b16", "l14"], default="b16")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    return parser.parse_args()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _run(module: str, options: list[str], environment: dict[str, str]) -> Any:
    """What a benchmark printed: one JSON value, or a list of those it printed line by line."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr[-SHOWN_CHARACTERS:], "status": done.returncode}
    for read in (json.loads, lambda text: [json.loads(line) for line in text.splitlines()]):
        try:
            return read(done.stdout)
        except json.JSONDecodeError:
            continue
    return {"error": f"printed no JSON: {done.stdout[-SHOWN_CHARACTERS:]}", "status": 0}


if __name__ == "__main__":
    main()

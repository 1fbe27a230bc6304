"""All that wants to be seen on a GPU, in one command: `make gpu`.

    python -m tests.benchmarks.gpu [--small] [--out FOLDER]

Correctness of every kernel and path against the CPU (check_device), then training at the sizes of
ViT-L/14 and ViT-bigG/14 (step time, share of the matrix peak, memory), the loader against the step,
target encoding, and rendering through EGL. Each part runs in a process of its own with a limit;
when the time is up, what is left is named as left out. Writes gpu.json after each part, and at the
end gpu.md, a table. It takes less than eight minutes once the environment is there; on a bare
checkout `make gpu` runs `make setup` first, minutes more. `--small`, which a machine without a GPU
takes by itself, runs every part at its smallest size. Status 1 if a check or a part fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE_S = 440.0  # setup aside; leaves half a minute of eight for the start
_SHOWN = 1500  # characters of what a failed part said


@dataclass(frozen=True)
class Part:
    """One process.

    Attributes:
        module: of tests.benchmarks.
        limit_s: after which it is ended.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    limit_s: float = 60.0


FULL = (
    Part("machine", "machine"),
    Part("checks", "check_device", limit_s=120),
    Part("training L/14", "bench_training", ("--size", "l14", "--batch", "64"), 90),
    Part("loader", "bench_loading", ("--samples", "1024", "--repeats", "3"), 60),
    Part("targets L/14", "bench_targets", ("--size", "l14", "--samples", "32"), 60),
    Part("rendering", "bench_rendering", ("--objects", "12", "--workers", "1", "4"), 60),
    Part("training bigG/14", "bench_training", ("--size", "bigg", "--batch", "16"), 120),
)
SMALL = (
    Part("machine", "machine", limit_s=120),
    Part("checks", "check_device", limit_s=400),
    Part("training", "bench_training", ("--size", "tiny", "--batch", "2", "--steps", "1"), 120),
    Part("loader", "bench_loading", ("--samples", "128", "--repeats", "1"), 120),
    Part("targets", "bench_targets", ("--size", "tiny", "--samples", "2", "--repeats", "1"), 120),
    Part("rendering", "bench_rendering", ("--objects", "2", "--workers", "1"), 120),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    args = parser.parse_args()
    small = args.small or not _has_cuda()
    made = measure(SMALL if small else FULL, args.out, 4 * DEADLINE_S if small else DEADLINE_S)
    table = markdown(made)
    (args.out / "gpu.md").write_text(table)
    print(table)
    sys.exit(bool(failures(made)))


def measure(parts: tuple[Part, ...], out: Path, deadline_s: float) -> dict[str, Any]:
    """Run the parts one after the other; results are on disk after each."""
    out.mkdir(parents=True, exist_ok=True)
    end, made = time.monotonic() + deadline_s, {}
    for part in parts:
        left_s = end - time.monotonic()
        made[part.name] = run(part, min(part.limit_s, left_s)) if left_s > 5 else _left_out()
        print(f"{part.name}: {made[part.name].get('seconds', 0)} s", file=sys.stderr, flush=True)
        (out / "gpu.json").write_text(json.dumps(made, indent=2) + "\n")
    return made


def run(part: Part, limit_s: float) -> dict[str, Any]:
    """Run one part; its JSON, or why there is none."""
    command = [sys.executable, "-m", f"tests.benchmarks.{part.module}", *part.options]
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit_s:.0f} s", "seconds": round(limit_s, 1)}
    found: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1)}
    try:
        found["found"] = _read(done.stdout)
    except json.JSONDecodeError:
        found["error"] = f"printed no JSON: {done.stdout[-_SHOWN:]}"
    if done.returncode and not _failed_checks(found):
        found["error"] = done.stderr[-_SHOWN:]
    return found


def failures(made: dict[str, Any]) -> list[str]:
    """Name what failed: parts without a result, and checks out of bounds."""
    parts = [f"{name}: {part['error']}" for name, part in made.items() if "error" in part]
    checks = [one["check"] for part in made.values() for one in _failed_checks(part)]
    return parts + checks


def markdown(made: dict[str, Any]) -> str:
    """Write the table: a line per figure, the checks last, failures first."""
    lines = [f"- **FAILED** {each.splitlines()[-1]}" for each in failures(made)]
    lines += ["", "| what | figure |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in _figures(made)]
    lines += ["", "| check | difference from the CPU | allowed | |", "|---|---|---|---|"]
    for one in made.get("checks", {}).get("found", []):
        apart = "not run" if one["difference"] is None else f"{one['difference']:.2g}"
        note = ("" if one["passed"] else "**FAILED** ") + one["note"]
        lines.append(f"| {one['check']} | {apart} | {one['allowed']:g} | {note} |")
    return "\n".join(lines) + "\n"


def _figures(made: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, part in made.items():
        found = part.get("found")
        if isinstance(found, dict):
            yield from ((f"{name}: {key}", value) for key, value in found.items())
    loaded = made.get("loader", {}).get("found", {}).get("loaded_samples_per_s")
    for name, part in made.items():
        trained = (part.get("found") or {}) if name.startswith("training") else {}
        if loaded and trained.get("samples_per_s"):
            ratio = loaded / trained["samples_per_s"]
            yield f"{name}: samples loaded by one thread / samples trained", round(ratio, 1)


def _failed_checks(part: dict[str, Any]) -> list[dict[str, Any]]:
    found = part.get("found")
    return [one for one in found if not one["passed"]] if isinstance(found, list) else []


def _read(text: str) -> Any:
    """Read one JSON value, or a list of those printed line by line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def _left_out() -> dict[str, Any]:
    return {"error": "left out, as the time was up"}


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()

"""sweep: what one setting changes, as one table and one plot.

Reads     the artifacts of every point of a sweep, up to `evaluation`.
Writes    `<home>/sweeps/<modality>-<axis>-<fingerprint>/sweep.{json,html}` and `plot.svg`, and
          the same as MLflow runs: one of the sweep, one of every point below it.
Promises  the page is one file that asks nothing of the network; every file appears whole; the
          same sweep replaces what it wrote before.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.store.files import write_atomic
from pipelines.sweep import page, plot, runs
from pipelines.sweep.facts import Outcome, Sweep, collect

__all__ = ["Outcome", "Sweep", "write"]


def write(home: Path, sweep: Sweep) -> Path:
    """Write the files, log them to MLflow, and return their folder."""
    facts = collect(sweep)
    folder = home / "sweeps" / f"{sweep.modality}-{sweep.axis}-{sweep.fingerprint[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "sweep.json", content.encode())
    write_atomic(folder / "sweep.html", page.render(facts).encode())
    write_atomic(folder / "plot.svg", plot.standalone(facts).encode())
    runs.record(home, sweep, facts, folder)
    return folder

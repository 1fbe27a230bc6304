"""sweep: shows the effect of one setting in a table and a plot.

Reads     the artifacts of every point of a sweep, up to `evaluation`.
Writes    `<home>/sweeps/<modality>-<axis>-<fingerprint>/sweep.{json,html}` and `plot.svg`, and
          the same as MLflow runs: one of the sweep, and below it one of every point.
Promises  the page is one file that needs no network; every file appears whole; the same sweep
          replaces its earlier files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.report.content import encode_readable
from pipelines.store.files import write_atomic
from pipelines.sweep import efficiency, page, plot, runs
from pipelines.sweep.results import RESULTS_FILE, Sweep, SweepPoint, SweepResults

__all__ = ["Sweep", "SweepPoint", "SweepResults", "write"]


def write(home: Path, sweep: Sweep, record: Callable[..., str] = runs.record) -> Path:
    """Write the files, log them to MLflow by `record`, and return their folder."""
    results = SweepResults.of(sweep)
    folder = home / "sweeps" / f"{sweep.modality}-{sweep.axis}-{sweep.fingerprint[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RESULTS_FILE, encode_readable(results))
    write_atomic(folder / "sweep.html", page.render(results).encode())
    write_atomic(folder / "plot.svg", plot.standalone(results).encode())
    if sweep.axis == efficiency.AXIS:
        write_atomic(folder / efficiency.PLOT_FILE, efficiency.drawn(results).encode())
    record(home, sweep, results, folder)
    return folder

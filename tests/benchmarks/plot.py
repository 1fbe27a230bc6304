"""The benchmarks' ratios and rates in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

RATIOS = (
    ("writing", "share_of_plain_write", "shard writing / plain write"),
    ("loading", "share_of_raw_read", "loading / raw read"),
    ("loading", "share_of_fresh_read", "loading / raw read into fresh memory"),
    ("loading", "first_epoch_share_of_raw_read", "loading, first epoch / raw read"),
    ("targets", "share_of_plain_loop", "target encoding / plain loop"),
    ("training", "share_of_matmul_peak", "training FLOP/s / matmul peak"),
)
PARTS = ("fps_share", "knn_share", "attention_share")


def draw(made: dict[str, Any], path: Path) -> None:
    """Write a PNG; what did not run is left out."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    (ratios, shares), (rendering, scaling) = figure.subplots(2, 2)
    found = {
        label: made[name][field]
        for name, field, label in RATIOS
        if name in made and field in made[name]
    }
    _bars(ratios, found, "share", "Against the plain way")
    parts = {
        f"{tower}, {what.replace('_', ' + ')}: {part.removesuffix('_share')}": taken[part]
        for tower in ("presorted", "unsorted")
        for what, taken in made.get("shares", {}).get(tower, {}).items()
        for part in PARTS
    }
    _bars(shares, parts, "share of time", "Parts of a point tower")
    by_workers = made.get("rendering", {}).get("objects_per_s_by_workers", {})
    labelled = {f"{workers} workers": rate for workers, rate in by_workers.items()}
    _bars(rendering, labelled, "objects/s", "Rendering and sampling")
    sizes = made.get("scaling", {}).get("sizes", [])
    for field in ("ray_s", "plain_s"):
        scaling.loglog([s["objects"] for s in sizes], [s[field] for s in sizes], "o-", label=field)
    scaling.set(xlabel="objects", ylabel="seconds", title="Scaling")
    scaling.legend()
    machine = made.get("machine", {})
    figure.suptitle(
        f"{machine.get('cpu')}, {machine.get('cores')} cores, GPU {machine.get('gpu')}, "
        f"{machine.get('revision')}, {machine.get('date')}",
        fontsize=9,
    )
    figure.savefig(path, dpi=120)


def _bars(axes: Any, values: dict[str, float], unit: str, title: str) -> None:
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.margins(x=0.15)
    axes.set(xlabel=unit, title=title)

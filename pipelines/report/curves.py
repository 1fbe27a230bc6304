"""curves: the course of training as a drawing that follows the page's colours.

Reads     `curves.json` of the lens artifact.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Points = Sequence[Mapping[str, float]]

# Drawn in these, then replaced by the page's own colours, light or dark.
_PAGE_COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--line)",
    "#000004": "var(--accent)",
    "#000005": "var(--second)",
}
_INK, _MUTED, _LINE, _ACCENT, _SECOND = _PAGE_COLOURS
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "vitlens",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlesize": 10,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def summary(curves: Mapping[str, Points]) -> dict[str, Any]:
    """Steps, and the last and best losses: what `report.json` says of training."""
    train, val = curves["train"], curves["val"]
    return {
        "steps": int(train[-1]["step"]) if train else 0,
        "train_loss_last": train[-1]["loss"] if train else None,
        "val_loss_last": val[-1]["loss"] if val else None,
        "val_loss_best": min((p["loss"] for p in val), default=None),
        "val_r1_best": max((p["r1"] for p in val), default=None),
    }


def drawings(curves: Mapping[str, Points]) -> list[str]:
    """The loss, and validation retrieval where there is any, as inline SVG."""
    drawn = [_svg("Loss", curves, "loss")]
    if curves["val"]:
        only_val = {"train": (), "val": curves["val"]}
        drawn.append(_svg("Validation: retrieval R@1", only_val, "r1"))
    return drawn


def _svg(title: str, curves: Mapping[str, Points], figure_name: str) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.subplots()
        _plot(axes, curves["train"], figure_name, _SECOND, "training")
        _plot(axes, curves["val"], figure_name, _ACCENT, "validation")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        if curves["train"] and curves["val"]:
            axes.legend()
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _themed(buffer.getvalue(), title)


def _plot(axes: Axes, points: Points, name: str, colour: str, label: str) -> None:
    steps, values = [p["step"] for p in points], [p[name] for p in points]
    marker = "o" if len(points) < 20 else None
    if points:
        axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=3.5)


def _themed(svg: str, title: str) -> str:
    """The bare `svg` element, sized by the page, in its font and its colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{title}"', svg, count=1
    )
    for drawn, shown in _PAGE_COLOURS.items():
        svg = svg.replace(drawn, shown)
    return svg

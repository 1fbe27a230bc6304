"""curves: the course of training as a drawing that follows the page's colours.

Reads     `curves.json` of the lens artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.report import theme

Points = Sequence[Mapping[str, float]]


def summary(curves: Mapping[str, Points]) -> dict[str, Any]:
    """Steps, and the last and best losses: what `report.json` says of training."""
    train, val = curves["train"], curves["val"]
    return {
        "steps": int(train[-1]["step"]) if train else 0,
        "train_loss_last": train[-1]["loss"] if train else None,
        "val_loss_last": val[-1]["loss"] if val else None,
        "val_loss_best": min((p["loss"] for p in val), default=None),
        "val_r1_last": val[-1]["r1"] if val else None,
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
    with mpl.rc_context(theme.STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.subplots()
        _plot(axes, curves["train"], figure_name, theme.SECOND, "training")
        _plot(axes, curves["val"], figure_name, theme.ACCENT, "validation")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        if curves["train"] and curves["val"]:
            axes.legend()
        return theme.inline(figure, title)


def _plot(axes: Axes, points: Points, name: str, colour: str, label: str) -> None:
    steps, values = [p["step"] for p in points], [p[name] for p in points]
    marker = "o" if len(points) < 20 else None
    if points:
        axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=3.5)

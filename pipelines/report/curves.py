"""curves: draws the course of training in the page's colours.

Reads     `curves.json` of the lens artifact.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluation.presenter import figure_name
from pipelines.lens.curves import TrainingCurves
from pipelines.report import theme

Line = Sequence[tuple[float, float]]  # step, value


def drawings(curves: TrainingCurves) -> list[str]:
    """Draw the loss, and validation retrieval if there is any, as inline SVG."""
    train = [(point["step"], point["loss"]) for point in curves.train]
    drawn = [_svg("Loss", train, [(point.step, point.loss) for point in curves.val])]
    if curves.val:
        title = f"Validation: retrieval {figure_name('r1')} against {curves.validated_against}"
        drawn.append(_svg(title, [], [(point.step, point.r1) for point in curves.val]))
    return drawn


def _svg(title: str, train: Line, val: Line) -> str:
    with mpl.rc_context(theme.STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.subplots()
        _plot(axes, train, theme.SECOND, "training")
        _plot(axes, val, theme.ACCENT, "validation")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        if train and val:
            axes.legend()
        return theme.inline(figure, title)


def _plot(axes: Axes, line: Line, colour: str, label: str) -> None:
    marker = "o" if len(line) < 20 else None
    if line:
        steps, values = zip(*line, strict=True)
        axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=3.5)

"""plot: draws a sweep, with one line per point.

The left side shows the validation figure, which is for choosing; the right side the held-out
figure with its 95 % interval and chance. A failed point has a line without a mark.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.evaluation.presenter import figure_name
from pipelines.report import theme
from pipelines.sweep.results import FailedPoint, MadePoint, SweepResults

_WIDTH_IN, _LINE_IN, _FRAME_IN = 8.6, 0.36, 1.15
_LONGEST_LABEL = 40


def inline(results: SweepResults) -> str:
    """Draw the sweep as an element of a page, in the page's colours."""
    with mpl.rc_context(theme.STYLE):
        return theme.inline(_figure(results), f"Sweep over {results.axis}")


def standalone(results: SweepResults) -> str:
    """Draw the sweep as an SVG file."""
    with mpl.rc_context(theme.STYLE):
        return theme.standalone(_figure(results))


def _figure(results: SweepResults) -> Figure:
    points = results.points
    size = (_WIDTH_IN, _FRAME_IN + _LINE_IN * len(points))
    figure = Figure(figsize=size, layout="constrained")
    choosing, held_out = figure.subplots(1, 2, sharey=True)
    _draw_validation(choosing, results)
    _draw_held_out(held_out, points)
    choosing.set_yticks(range(len(points)), [_short(point.label) for point in points])
    choosing.set_ylim(len(points) - 0.5, -0.5)
    for axes in (choosing, held_out):
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(visible=True, axis="both")
        axes.tick_params(length=0)
    choosing.tick_params(axis="y", labelcolor=theme.INK)
    return figure


def _draw_validation(axes: Axes, results: SweepResults) -> None:
    """Draw the validation figures; the best points are filled."""
    axes.set_title(f"Validation {figure_name('r1')}: for choosing")
    for line, point in enumerate(results.points):
        if point.validation is None:
            continue
        face = theme.ACCENT if point.label in results.best_on_validation else "none"
        axes.plot(point.validation.r1, line, "o", color=theme.ACCENT, mfc=face, clip_on=False)


def _draw_held_out(axes: Axes, points: Sequence[MadePoint | FailedPoint]) -> None:
    axes.set_title(f"Held-out {figure_name('top1')}, 95 % interval")
    for line, point in enumerate(points):
        if isinstance(point, FailedPoint):
            continue
        top1, chance = point.zero_shot.top1, point.zero_shot.chance
        axes.plot([top1.low, top1.high], [line, line], color=theme.SECOND)
        axes.plot(top1.value, line, "s", color=theme.INK, markersize=5, clip_on=False)
        axes.vlines(chance, line - 0.5, line + 0.5, theme.BAD, "dashed", linewidth=1)


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"…{label[1 - _LONGEST_LABEL :]}"

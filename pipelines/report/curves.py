"""curves: draws the course of training in the page's colours.

Reads     `curves.json` of the lens artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.evaluation.presenter import figure_name
from pipelines.lens.curves import TrainingCurves
from pipelines.report import theme

Line = tuple[tuple[float, float], ...]  # step, value


def drawings(curves: TrainingCurves) -> list[str]:
    """Draw the loss, and validation retrieval if there is any, as inline SVG."""
    return [_inline(chart) for chart in _charts(curves)]


def picture(curves: TrainingCurves) -> str:
    """Draw the same beside each other, as one SVG file on white."""
    charts = _charts(curves)
    with mpl.rc_context(theme.STYLE):
        figure = Figure(figsize=(4.6 * len(charts), 2.7), layout="constrained")
        panels = figure.subplots(1, len(charts), squeeze=False)[0]
        for axes, chart in zip(panels, charts, strict=True):
            _draw(axes, chart)
        return theme.standalone(figure)


@dataclass(frozen=True)
class _Chart:
    """One chart: values of training and of validation by step."""

    title: str
    train: Line
    val: Line


def _charts(curves: TrainingCurves) -> list[_Chart]:
    """Return the loss, and validation retrieval if there is any."""
    train = tuple((point["step"], point["loss"]) for point in curves.train)
    losses = tuple((point.step, point.loss) for point in curves.val)
    charts = [_Chart("Loss", train, losses)]
    if curves.val:
        title = f"Validation: retrieval {figure_name('r1')} against {curves.validated_against}"
        charts.append(_Chart(title, (), tuple((point.step, point.r1) for point in curves.val)))
    return charts


@lru_cache(maxsize=8)  # a run writes its page twice: before and after its gates
def _inline(chart: _Chart) -> str:
    with mpl.rc_context(theme.STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        _draw(figure.subplots(), chart)
        return theme.inline(figure, chart.title)


def _draw(axes: Axes, chart: _Chart) -> None:
    _plot(axes, chart.train, theme.SECOND, "training")
    _plot(axes, chart.val, theme.ACCENT, "validation")
    axes.set_title(chart.title)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    if chart.train and chart.val:
        axes.legend()


def _plot(axes: Axes, line: Line, colour: str, label: str) -> None:
    marker = "o" if len(line) < 20 else None
    if line:
        steps, values = zip(*line, strict=True)
        axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=3.5)

"""confusion_picture: draws the confusion matrix as one SVG file, for pages other than the report.

Reads     the confusion matrix of `metrics.json`: rows are true classes.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pipelines.evaluation.result import EvaluationResult
from pipelines.report import theme
from pipelines.report.confusion import matrix

_INCHES = 0.24  # of one class
_MARGIN = 1.6  # for the names [inches]


def picture(result: EvaluationResult) -> str:
    """Draw which share of each class (rows) was taken for which (columns), on white."""
    shown = matrix(result.classes, result.confusion)
    counts, totals = np.asarray(shown.counts, float), np.asarray(shown.totals, float)
    shares = counts / np.maximum(totals, 1)[:, None]
    side = _MARGIN + _INCHES * len(shown.labels)
    with mpl.rc_context({**theme.STYLE, "axes.grid": False, "font.size": 7}):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        # Squares, not an image: the file stays text, and sharp at any size.
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors=theme.LINE, linewidth=0.3)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        names = [label.replace("_", " ") for label in shown.labels]
        middles = np.arange(len(names)) + 0.5
        axes.set_xticks(middles, names, rotation=90)
        axes.set_yticks(middles, names)
        axes.tick_params(length=0)
        axes.set_xlabel("taken for")
        axes.set_ylabel("class")
        return theme.standalone(figure)

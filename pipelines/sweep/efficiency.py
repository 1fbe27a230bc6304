"""efficiency: draws how a lens does with few objects, by the trunk it stands on.

Reads     the results of a sweep over the axis `efficiency`.
Promises  a line per trunk: the mean over seeds, with its 95 % interval (Student's t) where there
          are two seeds or more; what is missing of a stopped sweep is left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pipelines.report import theme
from pipelines.sweep.over_seeds import mean_over_seeds
from pipelines.sweep.results import SweepResults

AXIS = "efficiency"
PLOT_FILE = "efficiency.svg"
POINT = re.compile(r"(pretrained|random|whole)@(\d+(?:\.\d+)?)")
"""A value: the trunk, and the share of training samples in per cent."""

_TITLES = {
    "pretrained": "pretrained trunk, frozen",
    "random": "random trunk, frozen",
    "whole": "random trunk, trained whole",
}
_LOOKS = {
    "pretrained": (theme.ACCENT, "o", 0.96),
    "random": (theme.SECOND, "s", 1.0),
    "whole": (theme.INK, "^", 1.04),
}
"""Colour, mark, and a factor on the share, so that intervals stand side by side."""


class Figures(NamedTuple):
    """The held-out top-1 over seeds, and half the width of its interval (0 of one seed)."""

    mean: float
    half: float
    seeds: int


def figures(results: SweepResults) -> dict[str, dict[float, Figures]]:
    """Return the figures by trunk and share in per cent."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in results.made:
        if named := POINT.fullmatch(point.value or point.label):
            found[named[1]][float(named[2])].append(point.zero_shot.top1.value)
    return {
        trunk: {share: _over_seeds(values) for share, values in sorted(by_share.items())}
        for trunk, by_share in found.items()
    }


def drawn(results: SweepResults) -> str:
    """Draw them as an SVG file."""
    with mpl.rc_context(theme.STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for trunk, by_share in figures(results).items():
            colour, mark, aside = _LOOKS[trunk]
            shares, known = [share * aside for share in by_share], list(by_share.values())
            means, halves = [one.mean for one in known], [one.half for one in known]
            axes.errorbar(
                shares, means, halves, color=colour, marker=mark, capsize=2, label=_TITLES[trunk]
            )
        if results.made:
            chance = results.made[0].zero_shot.chance
            axes.axhline(chance, color=theme.BAD, ls="--", lw=1, label="chance")
        axes.set_title("Held-out top-1 by the share of training objects, 95 % interval over seeds")
        axes.set_xscale("log")
        axes.set_xticks([5, 10, 25, 50, 100])
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(bottom=0)
        # Below the axes, where it hides nothing.
        figure.legend(loc="outside lower center", ncols=2)
        return theme.standalone(figure)


def _over_seeds(values: list[float]) -> Figures:
    seeds = len(values)
    if seeds < 2:
        return Figures(values[0], 0.0, seeds)
    mean = mean_over_seeds(values)
    return Figures(mean.value, mean.high - mean.value, seeds)

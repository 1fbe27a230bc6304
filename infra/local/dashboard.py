"""Draws the dashboard from what a Prometheus holds, where no Grafana is at hand.

.venv/bin/python -m infra.local.dashboard http://127.0.0.1:9090 dashboard.png --minutes 30
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

DASHBOARD = Path(__file__).parents[1] / "config" / "grafana" / "vitlens.json"
_COLUMNS = 24  # of Grafana's grid
_INCHES = (0.75, 0.42)  # of a cell of the grid
_MOST_POINTS = 300
_STALE_S = 60
_LONG_S = 300  # from here on in minutes
_LARGE = 1000  # from here on without fractions
Series = dict[str, list[tuple[float, float]]]


def draw(prometheus: str, path: Path, minutes: float) -> dict[str, int]:
    """Draw every panel, and return the number of series in each."""
    matplotlib.use("Agg")
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(_COLUMNS * _INCHES[0], rows * _INCHES[1]), facecolor="white")
    shown = {}
    drawn: list[tuple[Axes, Mapping[str, Any], Series]] = []
    end = time.time()
    for panel in panels:
        place = panel["gridPos"]
        top = 1 - place["y"] / rows
        if panel["type"] == "row":
            figure.text(0.01, top - 0.6 / rows, panel["title"], fontsize=14, weight="bold")
            continue
        box = (place["x"] / _COLUMNS + 0.03, top - (place["h"] - 1) / rows)
        size = (place["w"] / _COLUMNS - 0.045, (place["h"] - 2.4) / rows)
        axes = figure.add_axes((*box, *size))
        found = _series(prometheus, panel, end - 60 * minutes, end)
        shown[panel["title"]] = len(found)
        drawn.append((axes, panel, found))
    # The same for all plots, so that what happened at once lies in line.
    began = min((points[0][0] for _, _, found in drawn for points in found.values()), default=end)
    for axes, panel, found in drawn:
        _panel(axes, panel, found, (began, end))
    figure.savefig(path, dpi=80)
    return shown


def _panel(
    axes: Axes, panel: Mapping[str, Any], series: Series, window: tuple[float, float]
) -> None:
    began, end = window
    if panel["type"] != "timeseries":
        # As Grafana asks it: what is true now, not what was the last to be true.
        series = {name: points for name, points in series.items() if points[-1][0] > end - _STALE_S}
    axes.set_title(panel["title"], fontsize=9, loc="left", pad=9)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color="grey")
        axes.set_axis_off()
    elif panel["type"] == "timeseries":
        for name, points in series.items():
            minutes = [(at - end) / 60 for at, _ in points]
            axes.plot(minutes, [value for _, value in points], lw=1.2, label=name)
        axes.set_xlim((began - end) / 60, 0)
        axes.set_xlabel("minutes", fontsize=6, loc="right", labelpad=0)
        axes.yaxis.set_major_formatter(lambda value, _: _text(panel, value))
        # Above the plot: no line is hidden by a name.
        axes.legend(
            fontsize=6,
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1, 0.98),
            ncols=min(4, len(series)),
        )
    else:
        names = list(series)[:12]
        axes.barh(names, [series[name][-1][1] for name in names], color="teal")
        axes.xaxis.set_major_formatter(lambda value, _: _text(panel, value))
        axes.bar_label(axes.containers[0], fmt=partial(_text, panel), fontsize=7)  # ty: ignore[invalid-argument-type]
        axes.margins(x=0.25)


def _text(panel: Mapping[str, Any], value: float) -> str:
    """Return a value as its panel has it, by the unit's name in Grafana."""
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    if unit in ("bytes", "Bps"):
        return EngFormatter("B/s" if unit == "Bps" else "B", places=1)(value)
    if unit in ("percent", "percentunit"):
        return f"{value * (100 if unit == 'percentunit' else 1):.0f} %"
    if unit == "s":
        return f"{value:.3g} s" if value < _LONG_S else f"{value / 60:.0f} min"
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.4g}"


def _series(prometheus: str, panel: Mapping[str, Any], start: float, end: float) -> Series:
    """Return the points (time [s], value) of a panel's series, by their legend."""
    found: Series = {}
    for target in panel["targets"]:
        step = max(1.0, (end - start) / _MOST_POINTS)
        asked = {"query": target["expr"], "start": start, "end": end, "step": step}
        url = f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url) as answer:  # noqa: S310  an address of the command line
            result = json.load(answer)["data"]["result"]
        for one in result:
            points = [(at, float(value)) for at, value in one["values"]]
            points = [(at, value) for at, value in points if value == value]  # not NaN
            if points:
                # A part that was started again is another series of the same name.
                found.setdefault(_legend(target["legendFormat"], one["metric"]), []).extend(points)
    return {name: sorted(points) for name, points in found.items()}


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form)


def main() -> None:
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description="The dashboard as a picture.")
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("path", type=Path, help="the picture to write")
    parser.add_argument("--minutes", type=float, default=30, help="how far to look back")
    asked = parser.parse_args()
    for title, number in draw(asked.prometheus, asked.path, asked.minutes).items():
        print(f"{number:>3} {title}")


if __name__ == "__main__":
    main()

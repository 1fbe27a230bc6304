"""tables: what the commands of the registry print, for 80 columns; and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import datetime

import click
from pydantic import BaseModel
from rich import box
from rich.table import Table

from pipelines.evaluation.presenter import figure_name, fraction

ALL = click.option("--all", "everything", is_flag=True, help="Show everything that is known.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

_HEADLINES = ("zero_shot.top1", "times_chance", "ratio_to_foundation", "calibration.ece")
_NAMES = {
    "times_chance": "top-1 over chance",
    "ratio_to_foundation": "of the foundation's top-1",
    "calibration.ece": "calibration error",
}
_COUNTS = {"n", "groups", "classes"}
_UNITS_S = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def plain_table(*columns: str, title: str = "") -> Table:
    """Return a table without frames: a row is a line that can be copied."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def headlines(names: Iterable[str]) -> list[str]:
    """Return the paths of the figures that say most, in the order in which they are shown."""
    known = list(names)
    retrieval = [name for name in known if name.startswith("retrieval.") and name.endswith(".r1")]
    first, *others = _HEADLINES
    return [name for name in (first, *others[:2], *sorted(retrieval), *others[2:]) if name in known]


def figure_title(path: str) -> str:
    """`retrieval.point_to_image.r1` → `point → image R@1`."""
    section, _, rest = path.partition(".")
    known = _NAMES.get(path)
    if known:
        return known
    return figure_name(rest.replace(".", "_") if section in ("zero_shot", "retrieval") else path)


def with_bounds(figures: Mapping[str, float], path: str) -> str:
    """`0.421 (0.32–0.53)`, or without bounds where there are none; `–` without the figure."""
    if path not in figures:
        return "–"
    section, _, name = path.rpartition(".")
    if name in _COUNTS:
        return f"{figures[path]:,.0f}"
    low, high = (figures.get(f"{section}.ci95.{name}.{side}") for side in ("low", "high"))
    value = fraction(figures[path])
    return value if low is None or high is None else f"{value} ({low:.2f}–{high:.2f})"


def ago(age_s: float) -> str:
    """`3 h`."""
    unit, seconds = next((u for u in _UNITS_S if age_s >= u[1]), _UNITS_S[-1])
    return f"{age_s // seconds:.0f} {unit}"


def size(size_bytes: float) -> str:
    """`18.2 MB`."""
    unit, factor = next((u for u in (("GB", 1e9), ("MB", 1e6)) if size_bytes >= u[1]), ("kB", 1e3))
    return f"{size_bytes / factor:,.1f} {unit}"


def echo_json(value: object) -> None:
    """Print a value as JSON; dataclasses, models and times are taken as they are."""
    click.echo(json.dumps(value, indent=1, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.isoformat() if isinstance(value, datetime) else str(value)

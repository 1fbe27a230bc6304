"""Show two versions side by side: their figures, and how their making differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import click
from rich.console import Console

from pipelines.registry import lineage as lineages
from pipelines.registry.lineage import Comparison
from pipelines.registry.version import CHALLENGER, CHAMPION, ModelVersion
from workflows.registered import called, find_version
from workflows.tables import (
    ALL,
    JSON,
    echo_json,
    figure_title,
    headlines,
    plain_table,
    with_bounds,
)
from workflows.text import shown

_SHOWN = 12  # settings that differ, without --all
_FINGERPRINT = 16  # characters shown, as the folder of the artifact is named; --json has all


@click.command("compare")
@click.argument("modality")
@click.argument("one", default=CHAMPION)
@click.argument("other", default=CHALLENGER)
@ALL
@JSON
def command(modality: str, one: str, other: str, everything: bool, as_json: bool) -> None:
    """Show two versions side by side: their figures, and how their making differs."""
    home, a = find_version(modality, one)
    _, b = find_version(modality, other)
    comparison = lineages.compare(home, a.name, a.version, b.version)
    if as_json:
        echo_json({"versions": [a, b], **vars(comparison)})
    else:
        _show(Console(), comparison, (a, b), everything)


def _show(
    console: Console, comparison: Comparison, pair: Sequence[ModelVersion], everything: bool
) -> None:
    titles = [f"{model.version} {called(model)}".strip() for model in pair]
    console.print(f"[bold]{pair[0].name}[/] version {' and '.join(titles)}", highlight=False)
    if not comparison.same_samples:
        console.print("[yellow]evaluated on different targets[/]: figures also differ by data set")
    left, right = (_side(comparison.figures, place) for place in (0, 1))
    if everything:
        shown_figures = filter(_is_no_bound, sorted(comparison.figures))
        for section, names in groupby(sorted(shown_figures, key=_section), _section):
            numbers = (str(model.version) for model in pair)
            table = plain_table("figure", *numbers, "difference", title=section)
            for name in names:
                table.add_row(name.removeprefix(f"{section}."), *_cells(left, right, name))
            console.print(table)
    else:
        table = plain_table("figure", *titles, "difference")
        for name in headlines(comparison.figures):
            table.add_row(figure_title(name), *_cells(left, right, name))
        console.print(table)
    _show_settings(console, comparison.settings, everything)
    if comparison.steps:
        console.print(f"other artifacts of {', '.join(comparison.steps)}", highlight=False)
    if everything:
        for step, (former, present) in comparison.steps.items():
            names = [(name or "–")[:_FINGERPRINT] for name in (former, present)]
            console.print(f"  {step} {' → '.join(names)}", highlight=False)
    elif hidden := sum(map(_is_no_bound, comparison.figures)) - len(headlines(comparison.figures)):
        console.print(f"[dim]--all shows {hidden} more figures[/]")


def _is_no_bound(name: str) -> bool:
    """Whether a figure has a row; a bound stands behind its figure."""
    return ".ci95." not in name


def _section(name: str) -> str:
    return name.rpartition(".")[0]


def _cells(left: Mapping[str, float], right: Mapping[str, float], name: str) -> tuple[str, ...]:
    """Return a figure of both versions, and the difference if both have it."""
    both = name in left and name in right
    difference = f"{right[name] - left[name]:+.3f}" if both else ""
    return with_bounds(left, name), with_bounds(right, name), difference


def _show_settings(
    console: Console, settings: Mapping[str, tuple[str | None, str | None]], everything: bool
) -> None:
    first = dict(list(settings.items())[: None if everything else _SHOWN])
    for name, (former, present) in first.items():
        line = f"  {name} {former or '–'} → {present or '–'}"
        console.print(shown(line), highlight=False, soft_wrap=everything)
    if more := len(settings) - len(first):
        console.print(f"  [dim]and {more} more settings[/]")


def _side(figures: Mapping[str, tuple[float | None, float | None]], place: int) -> dict[str, float]:
    """Return the figures that one of two versions has."""
    return {name: value for name, pair in figures.items() if (value := pair[place]) is not None}

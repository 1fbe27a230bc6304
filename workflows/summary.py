"""summary: prints the result of a run or a sweep on the terminal, from its report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.evaluation.presenter import (
    GENERATED,
    Cell,
    FigureTable,
    cell,
    figure_name,
    fraction,
    retrieval_table,
    trained_against,
    zero_shot_table,
)
from pipelines.flow import STEP_NAMES
from pipelines.registry import own_store
from pipelines.report.content import PAGE_FILE, Report
from pipelines.sweep.results import FailedPoint, MadePoint, SweepResults
from vitlens_core.intervals import FEW_GROUPS
from workflows.console import MARKS, log_line
from workflows.text import shown


def show_summary(console: Console, folder: Path) -> None:
    """Print scores with intervals, gates, the registered version, times and the report's path."""
    report = Report.read(folder)
    console.print()
    console.print(_scores(report))
    if report.retrieval:  # recordings without pictures or texts have none
        console.print(console_table(retrieval_table(report)))
    for gate in report.gates:
        mark = MARKS[gate.outcome]
        console.print(f"gate {gate.name} {mark}: {shown(gate.reason)}", soft_wrap=True)
    if model := report.model:
        aliases = ", ".join(model.aliases) or "no alias"
        console.print(f"model [bold]{model.name}[/] version {model.version} ({aliases})")
    if failed := [gate.name for gate in report.gates if not gate.passed]:
        console.print(f"[red]not promoted to champion[/]: {', '.join(failed)} failed")
    objects = report.objects
    console.print(f"{report.samples_are} {objects.ok} used, {objects.quarantined} quarantined")
    if report.is_generated:
        console.print(f"[yellow]{GENERATED}[/]")
    seconds = report.seconds
    times = [f"{step} {seconds[step]:.0f} s" for step in STEP_NAMES if step in seconds]
    console.print(f"made in {', '.join(times)}", soft_wrap=True)
    console.print(f"report {folder / PAGE_FILE}", soft_wrap=True)


def show_use(console: Console, home: Path, folder: Path, log: Path) -> None:
    """Print how the registered version is loaded, and where the log lies."""
    if model := Report.read(folder).model:
        alias = f"@{model.aliases[0]}" if model.aliases else f"/{model.version}"
        console.print(f'load   vitlens_core.load("models:/{model.name}{alias}")', soft_wrap=True)
        address = own_store.tracking_uri(home)
        console.print(
            f'       with MLflow alone: MLFLOW_TRACKING_URI="{address}" and '
            f'mlflow.pyfunc.load_model("models:/{model.name}{alias}")',
            soft_wrap=True,
            highlight=False,
        )
    console.print(log_line(log), soft_wrap=True)


def show_sweep(console: Console, folder: Path) -> bool:
    """Print every point's figures, validation's choice and the page's path.

    Returns:
        Whether a point failed.
    """
    results = SweepResults.read(folder)
    best = results.best_on_validation
    table = Table(title=f"{results.modality}: sweep over {results.axis}")
    table.add_column(results.axis)
    chosen_by = f"validation {figure_name('r1')}, for choosing"
    for name in (chosen_by, f"held-out {figure_name('top1')}", "epochs", "training"):
        table.add_column(name, justify="right")
    for point in results.points:
        table.add_row(*_point_row(point, best))
    console.print()
    console.print(table)
    if results.over_seeds:
        console.print(_over_seeds(results))
    for point in results.failed:
        console.print(f"[red]failed[/] {shown(point.label)}: {shown(point.failure)}")
    if best:
        console.print(f"best on validation: [bold]{shown(', '.join(best))}[/]", highlight=False)
    if results.is_generated:
        console.print(f"[yellow]{GENERATED}[/]")
    console.print(f"sweep {folder / 'sweep.html'}", soft_wrap=True)
    return bool(results.failed)


def _over_seeds(results: SweepResults) -> Table:
    """Means over seeds with their intervals, and differences to the first value seed by seed."""
    first = results.over_seeds[0]
    table = Table(title=f"over {first.seeds} seeds, 95 % intervals of means by Student's t")
    table.add_column(results.axis)
    difference = f"difference to {shown(first.value)}"
    for name in (f"validation {figure_name('r1')}", f"held-out {figure_name('top1')}", difference):
        table.add_column(name, justify="right")
    for row in results.over_seeds:
        means = (row.validation_r1, row.top1, row.difference)
        cells = [_with_bounds(cell(mean, 3)) if mean else "–" for mean in means]
        table.add_row(shown(row.value), *cells)
    return table


def _scores(report: Report) -> Table:
    scores, figures = report.zero_shot, zero_shot_table(report)
    table = console_table(figures)
    table.title = f"{report.modality}: {scores.n} held-out {report.samples_are}, {figures.title}"
    few = f"; only {scores.groups} groups: wide intervals" if scores.groups < FEW_GROUPS else ""
    table.caption = f"trained against {trained_against(report)}{few}"
    table.add_row("chance", fraction(scores.chance))
    return table


def console_table(figures: FigureTable) -> Table:
    """Return a table for the terminal, bounds dimmed."""
    table = Table(title=figures.title)
    table.add_column("")
    for name in figures.columns:
        table.add_column(name, justify="right")
    for row in figures.rows:
        table.add_row(row.title, *map(_with_bounds, row.cells))
    return table


def _with_bounds(figure: Cell) -> str:
    return f"{figure.value} [dim]{figure.bounds}[/]"


def _point_row(point: MadePoint | FailedPoint, best: tuple[str, ...]) -> list[str]:
    """Return a point's cells; a failed point has its label only."""
    label = shown(point.label)
    if isinstance(point, FailedPoint):
        return [label, "[red]failed[/]"]
    validation, training = point.validation, point.training
    chosen = "[bold]*[/] " if point.label in best else ""
    measured = f"{fraction(validation.r1)} to {validation.against}" if validation else "–"
    return [
        f"{label} [dim]emergent[/]" if point.emergent else label,
        f"{chosen}{measured}" if validation else measured,
        _with_bounds(cell(point.zero_shot.top1)),
        f"{training.epochs:.1f}",
        f"{training.seconds:.0f} s",
    ]

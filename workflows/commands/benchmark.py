"""Measure a model on public data sets, beside the published figures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table as ConsoleTable
from upath import UPath

from pipelines.benchmarks import suite as suites
from pipelines.benchmarks.datasets import check
from pipelines.benchmarks.mounting import mount
from pipelines.benchmarks.seen import trained_uids
from pipelines.benchmarks.step import PAGE, STEP, TABLE, BenchmarksConfig
from pipelines.benchmarks.table import Row, Table, figure_cells, markdown
from pipelines.execution.runtime import Runtime
from pipelines.registry import models
from pipelines.store.artifact_store import Store
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from vitlens_core.api import load
from vitlens_core.errors import ConfigError
from workflows.exit_codes import FAILED
from workflows.registered import stored_artifacts
from workflows.text import shown

_COLUMNS = ("figure", "value", "n", "chance", "published")
_NUMBERS = {"value", "n", "chance"}


@click.command("benchmark")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--root", "roots", multiple=True, metavar="NAME=FOLDER", help="A mounted data set.")
@click.option("--foundation", metavar="SPEC", help="Foundation of a lens: a spec or a folder.")
@click.option("--device", default="cpu", show_default=True, help="As torch names it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the table's files.")
def command(
    sources: tuple[str, ...],
    roots: tuple[str, ...],
    foundation: str | None,
    device: str,
    out: Path | None,
) -> None:
    """Measure a model on public data sets, beside the published figures."""
    if benchmark(Console(), sources, roots, out, foundation, device):
        sys.exit(FAILED)


def benchmark(
    console: Console,
    sources: Sequence[str],
    roots: Iterable[str],
    out: Path | None = None,
    foundation: str | None = None,
    device: str = "cpu",
) -> bool:
    """Measure a model and show its table.

    Args:
        sources: lenses of one foundation, `models:/…`, or one published checkpoint.
        roots: NAME=FOLDER, one per mounted benchmark.
        foundation: of a lens whose foundation does not lie beside it: a spec or a folder.
        device: as torch names it.

    Returns:
        Whether a mounted data set failed.

    Raises:
        VitlensError: the model cannot be loaded, or a root names no benchmark for it.
    """
    mounts = parse_roots(roots)
    check(mounts)
    model = load(*sources, foundation=foundation, device=device)
    config = BenchmarksConfig(roots=mounts)
    suite = mount(mounts, model.modalities)
    if "text" not in model.modalities:
        raise ConfigError(
            f"{', '.join(sources)} encodes {', '.join(model.modalities)} and no text: benchmarks "
            "need text for the names of the classes"
        )
    with Runtime(Store(UPath("."))).progress(STEP.name, suite.recordings, "recordings") as bar:
        trained_on = _trained_on(Home.from_environment(), sources)
        table = suites.measure(suite, model, config, bar.advance, trained_on=trained_on)
    show(console, table)
    if out is not None:
        _write(out, {TABLE: encode_model(table), PAGE: markdown(table)})
        console.print(f"table {out / PAGE}", soft_wrap=True)
    return bool(table.failed)


def _trained_on(home: Home, sources: Sequence[str]) -> Set[str] | None:
    """Return the uids that lenses were trained on; None if the targets of one are not at hand."""
    known: set[str] = set()
    for source in sources:
        if not source.startswith("models:/"):
            return None
        targets = stored_artifacts(home, models.find(source, home.root)).get("targets")
        uids = trained_uids(targets) if targets else None
        if uids is None:
            return None
        known |= uids
    return known


def parse_roots(roots: Iterable[str]) -> dict[str, str]:
    """`["esc50=/data/ESC-50"]` → {"esc50": "/data/ESC-50"}.

    Raises:
        ConfigError: a root of another form, no root at all, or one name twice.
    """
    mounts: dict[str, str] = {}
    for root in roots:
        name, equals, folder = root.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--root {root!r}: expected NAME=FOLDER, as esc50=/data/ESC-50")
        if name in mounts:
            raise ConfigError(f"--root {name} is given twice: {mounts[name]} and {folder}")
        mounts[name] = folder
    if not mounts:
        raise ConfigError("which data sets? Name one or more: --root esc50=/data/ESC-50")
    return mounts


def show(console: Console, table: Table) -> None:
    """Print the figures by data set, then the failed data sets, then those not mounted."""
    for name in dict.fromkeys(row.benchmark for row in table.rows):
        rows = [row for row in table.rows if row.benchmark == name]
        console.print(_console_table(rows))
        console.print(f"[dim]{shown(rows[0].protocol)}. Licence: {shown(rows[0].licence)}[/]")
        # The table has no room for notes on a single figure; the files have them.
        for note in dict.fromkeys(note for row in rows for note in row.notes):
            if all(note in row.notes for row in rows):
                console.print(f"[dim]- {shown(note)}[/]")
    for item in table.failed:
        console.print(f"[red]failed[/] {item.benchmark}: {shown(item.reason)}", soft_wrap=True)
    if table.skipped:
        names = ", ".join(item.benchmark for item in table.skipped)
        console.print(f"[dim]not mounted: {names}[/]", soft_wrap=True)


def _console_table(rows: Sequence[Row]) -> ConsoleTable:
    table = ConsoleTable(title=f"{rows[0].title} ({rows[0].benchmark})")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left")
    for row in rows:
        table.add_row(*map(shown, figure_cells(row)))
    return table


def _write(out: Path, contents: dict[str, bytes | str]) -> None:
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            write_atomic(out / name, data)

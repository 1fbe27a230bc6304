"""Measure a model on public data sets, beside what is published."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Shown
from upath import UPath

from pipelines.benchmarks import suite as suites
from pipelines.benchmarks.datasets import check
from pipelines.benchmarks.job import BenchmarksConfig
from pipelines.benchmarks.step import PAGE, STEP, TABLE
from pipelines.benchmarks.table import Row, Table, figure_cells, markdown
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Store
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.api import load
from vitlens_core.errors import ConfigError
from workflows.exit_codes import FAILED

_COLUMNS = ("figure", "value", "n", "chance", "published")
_NUMBERS = {"value", "n", "chance"}


@click.command("benchmark")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--root", "roots", multiple=True, metavar="NAME=FOLDER", help="A mounted data set.")
@click.option("--foundation", metavar="SPEC", help="Of a lens: a spec or a folder.")
@click.option("--device", default="cpu", show_default=True, help="As torch names it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the table's files.")
def command(
    sources: tuple[str, ...],
    roots: tuple[str, ...],
    foundation: str | None,
    device: str,
    out: Path | None,
) -> None:
    """Measure a model on public data sets, beside what is published."""
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
    """Measure a model and show its table; whether a mounted data set failed.

    Args:
        sources: lenses of one foundation, `models:/…`, or one published checkpoint.
        roots: NAME=FOLDER, one per mounted benchmark.
        foundation: of a lens, where it does not lie beside it: a spec or a folder.
        device: as torch names it.

    Raises:
        VitlensError: what loading raises, or a root that is no benchmark of the model's.
    """
    mounts = parse_roots(roots)
    check(mounts)
    model = load(*sources, foundation=foundation, device=device)
    config = BenchmarksConfig(roots=mounts)
    suite = suites.mount(mounts, model.modalities)
    if "text" not in model.modalities:
        raise ConfigError(
            f"{', '.join(sources)} holds {', '.join(model.modalities)} and no text: benchmarks "
            "compare with classes in words"
        )
    with Runtime(Store(UPath("."))).progress(STEP.name, suite.recordings, "recordings") as bar:
        table = suites.measure(suite, model, config, bar.advance)
    show(console, table)
    if out is not None:
        _write(out, {TABLE: encode_model(table), PAGE: markdown(table)})
        console.print(f"table {out / PAGE}", soft_wrap=True)
    return bool(table.failed)


def parse_roots(roots: Iterable[str]) -> dict[str, str]:
    """`["esc50=/data/ESC-50"]` → {"esc50": "/data/ESC-50"}.

    Raises:
        ConfigError: another form, none at all, or a name twice.
    """
    mounts: dict[str, str] = {}
    for root in roots:
        name, equals, folder = root.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--root {root!r}: expected NAME=FOLDER, as esc50=/data/ESC-50")
        if name in mounts:
            raise ConfigError(f"--root {name} stands twice: {mounts[name]} and {folder}")
        mounts[name] = folder
    if not mounts:
        raise ConfigError("which data sets? Name one or more: --root esc50=/data/ESC-50")
    return mounts


def show(console: Console, table: Table) -> None:
    """Figures by data set, then what failed, then what was not mounted."""
    for name in dict.fromkeys(row.benchmark for row in table.rows):
        rows = [row for row in table.rows if row.benchmark == name]
        console.print(_shown(rows))
        console.print(f"[dim]{escape(rows[0].protocol)}. Licence: {escape(rows[0].licence)}[/]")
        # What is said of one figure alone stands in the files.
        for note in dict.fromkeys(note for row in rows for note in row.notes):
            if all(note in row.notes for row in rows):
                console.print(f"[dim]- {escape(note)}[/]")
    for item in table.failed:
        console.print(f"[red]failed[/] {item.benchmark}: {escape(item.reason)}", soft_wrap=True)
    if table.skipped:
        names = ", ".join(item.benchmark for item in table.skipped)
        console.print(f"[dim]not mounted: {names}[/]", soft_wrap=True)


def _shown(rows: Sequence[Row]) -> Shown:
    shown = Shown(title=f"{rows[0].title} ({rows[0].benchmark})")
    for name in _COLUMNS:
        shown.add_column(name, justify="right" if name in _NUMBERS else "left")
    for row in rows:
        shown.add_row(*map(escape, figure_cells(row)))
    return shown


def _write(out: Path, contents: dict[str, bytes | str]) -> None:
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            write_atomic(out / name, data)

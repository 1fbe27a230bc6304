"""table: the results of the benchmarks, as data and as Markdown.

`benchmarks.json` is a `Table`; `benchmarks.md` shows the same, with published figures beside ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pipelines.benchmarks.step import TABLE
from pipelines.evaluation.presenter import cell, figure_name, fraction
from pipelines.store.artifacts import Artifact
from vitlens_core.metrics import Interval

if TYPE_CHECKING:
    from pipelines.benchmarks.base import Benchmark
    from pipelines.benchmarks.protocols import Figure

NOT_MOUNTED = "not mounted"


class Row(BaseModel):
    """One figure.

    Attributes:
        kind: kind of scoring: "zero-shot", "4-shot", …
        protocol: protocol of the data set.
        published: published figures of the same kind and protocol, in 0..1.
        seen: how many of the test recordings the lens was trained on, by uid; None: not known.
        recordings: number of test recordings; of figures by class `n` is another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    title: str
    modality: str
    kind: str
    protocol: str
    licence: str
    metric: str
    value: float
    ci95: tuple[float, float]
    n: int
    chance: float | None
    published: dict[str, float]
    notes: tuple[str, ...]
    seen: int | None = None
    recordings: int

    @property
    def seen_in_training(self) -> str:
        """`none of 46,205`."""
        return said_of_seen(self.seen, self.recordings)


def said_of_seen(seen: int | None, of: int) -> str:
    """Say how many of a benchmark's test recordings were trained on."""
    if seen is None:
        return "not known"
    return f"{seen:,} of {of:,}" if seen else f"none of {of:,}"


class Unscored(BaseModel):
    """A benchmark without figures, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    title: str
    protocol: str
    reason: str


class Table(BaseModel):
    """All results of the benchmarks for one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: tuple[Unscored, ...]
    skipped: tuple[Unscored, ...]


def row(
    benchmark: Benchmark,
    figure: Figure,
    notes: tuple[str, ...],
    *,
    comparable: bool,
    seen: int | None,
    of: int,
) -> Row:
    """Make a row of a figure, with the published figures of its protocol.

    Args:
        comparable: False for generated files, which are not compared with published figures.
        seen, of: `seen` and `recordings` of the row.
    """
    stated = benchmark.published.get(figure.metric, {})
    published = stated if comparable and figure.kind in ("zero-shot", "retrieval") else {}
    return Row(
        benchmark=benchmark.name,
        title=benchmark.title,
        modality=benchmark.modality,
        kind=figure.kind,
        protocol=benchmark.protocol,
        licence=benchmark.licence,
        metric=figure.metric,
        value=figure.interval.value,
        ci95=(figure.interval.low, figure.interval.high),
        n=figure.n,
        chance=figure.chance,
        published=dict(published),
        notes=(*figure.notes, *notes),
        seen=seen,
        recordings=of,
    )


def unscored(benchmark: Benchmark, reason: str) -> Unscored:
    return Unscored(
        benchmark=benchmark.name,
        title=benchmark.title,
        protocol=benchmark.protocol,
        reason=reason,
    )


def markdown(table: Table) -> str:
    """Format the table as Markdown, with failed and skipped data sets below it."""
    lines = [
        f"# Benchmarks: {', '.join(table.modalities)}",
        "",
        "Values and published figures in 0..1; intervals are 95 % bootstrap, by group.",
        "",
    ]
    if table.rows:
        lines += ["| benchmark | protocol | figure | value | n | chance | published | notes |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [_line(row) for row in table.rows]
        licences = dict.fromkeys(f"- {row.title}: {row.licence}" for row in table.rows)
        lines += ["", "## Licences of the data", "", *licences]
    for title, items in (("Failed", table.failed), ("Skipped", table.skipped)):
        if items:
            lines += ["", f"## {title}", ""]
            lines += [f"- {i.title} (`{i.benchmark}`; {i.protocol}): {i.reason}" for i in items]
    return "\n".join([*lines, ""])


def read_table(benchmarks: Artifact) -> Table:
    """Read the table of the step's artifact."""
    return benchmarks.read_model(TABLE, Table)


def figure_cells(row: Row) -> list[str]:
    """Return name, value with interval, number, chance and published figures as texts."""
    figure = Interval(row.value, *row.ci95)
    return [
        f"{row.kind} {figure_name(row.metric)}",
        # With thousands of recordings, bounds of two digits would equal the value.
        str(cell(figure, digits=3)),
        f"{row.n:,}",
        "" if row.chance is None else fraction(row.chance),
        ", ".join(f"{model} {fraction(value)}" for model, value in row.published.items()),
    ]


def _line(row: Row) -> str:
    texts = [row.title, row.protocol, *figure_cells(row), "; ".join(row.notes)]
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"

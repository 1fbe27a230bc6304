"""show: prints a plan for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from workflows.planning.plan import Plan
from workflows.tables import plain_table
from workflows.text import shown


def show(console: Console, plan: Plan) -> None:
    """Print a plan: a table, then what is implied and what is missing."""
    table = plain_table("what", "how much")
    for name, value in _rows(plan):
        table.add_row(name, shown(value))
    console.print(table)
    for title, sentences in (("implied", plan.implied), ("missing", plan.missing)):
        for sentence in sentences:
            console.print(f"[yellow]{title}[/] {shown(sentence)}", highlight=False, soft_wrap=True)


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    counts, training, network = plan.objects, plan.training, plan.network
    sides = (counts.train, counts.val, counts.test)
    yield "listed", f"{_count(counts.listed)} ({counts.counted_from})"
    yield "train, val, test", ", ".join(map(_count, sides))
    passes = "" if training.passes is None else f", {training.passes:.1f} × the training samples"
    yield "samples seen", f"{training.samples_seen:,}{passes}"
    yield "steps", f"{training.steps:,} of {training.batch_size:,}, {training.workers} workers"
    yield "parameters", f"{network.trained:,} trained, {network.frozen:,} frozen"
    yield "a sample", f"{network.step_flops / 1e9:,.0f} GFLOP"
    for name, value in vars(plan.stored).items():
        yield name.removesuffix("_bytes"), _bytes(value)
    hours = plan.hours
    yield "rendering", _hours(hours.render_core_hours, "core-hours")
    yield "encoding", _hours(hours.encode_gpu_hours, f"{plan.gpu} hours")
    yield (
        "training",
        f"{_hours(hours.train_gpu_hours, f'{plan.gpu} hours')}, {hours.train_days:.1f} days",
    )
    for name, value in plan.memory_bytes_per_gpu.items():
        yield f"memory: {name}", _bytes(value)
    yield "memory of a worker", _bytes(sum(plan.memory_bytes_per_gpu.values()))
    cost = plan.cost
    yield "GPUs", f"USD {cost.gpu_usd:,.0f}"
    yield "rendering", "unknown" if cost.render_usd is None else f"USD {cost.render_usd:,.0f}"
    yield "storage", f"USD {cost.storage_month_usd:,.0f} a month"


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _bytes(value: float | None) -> str:
    return "unknown" if value is None else f"{value / 1e9:,.2f} GB"


def _hours(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:,.1f} {unit}"

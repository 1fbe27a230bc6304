"""summary: the end of a run on the terminal, out of `report.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.flow import STEP_NAMES
from workflows.console import MARKS

_TOP = ("top1", "top3", "top5", "class_mean")
_RECALL = ("r1", "r5", "r10")


def show_summary(console: Console, folder: Path) -> None:
    """Scores with intervals, gates, the registered version, time per step, the report's path."""
    report = json.loads((folder / "report.json").read_text())
    model = report["model"]
    console.print()
    console.print(_scores(report))
    if report["retrieval"]:  # recordings without pictures or texts have none
        console.print(_retrieval(report["retrieval"]))
    for gate in report["gates"]:
        mark = MARKS[gate["outcome"]]
        console.print(f"gate {gate['name']} {mark}: {escape(gate['reason'])}", soft_wrap=True)
    aliases = ", ".join(model["aliases"]) or "no alias"
    console.print(f"model [bold]{model['name']}[/] version {model['version']} ({aliases})")
    if failed := [gate["name"] for gate in report["gates"] if not gate["passed"]]:
        console.print(f"[red]not promoted to champion[/]: {', '.join(failed)} failed")
    objects = report["objects"]
    counted = f"{objects['ok']} used, {objects['quarantined']} quarantined"
    console.print(f"{report['samples_are']} {counted}")
    if report["is_generated"]:
        console.print("[yellow]generated data[/]: no figure here says anything of real recordings")
    seconds = report["seconds"]
    made = [f"{step} {seconds[step]:.0f} s" for step in STEP_NAMES if step in seconds]
    console.print(f"made in {', '.join(made)}", soft_wrap=True)
    console.print(f"report {folder / 'report.html'}", soft_wrap=True)


def _scores(report: Mapping[str, Any]) -> Table:
    scores = report["zero_shot"]
    kind = "emergent zero-shot" if report["emergent"] else "zero-shot"
    table = Table(
        title=f"{report['modality']}: {scores['n']} held-out {report['samples_are']}, {kind}",
        caption=f"trained against {', '.join(report['supervision'])}",
    )
    table.add_column("")
    for name in _TOP:
        table.add_column(name.replace("top", "top-").replace("_", " "), justify="right")
    table.add_row("lens", *_cells(scores, _TOP))
    if teacher := report.get("teacher_zero_shot"):
        table.add_row("its teacher", *_cells(teacher, _TOP))
    if ceiling := report.get("foundation_image_zero_shot"):
        table.add_row("foundation, on images", *_cells(ceiling, _TOP))
    table.add_row("chance", f"{scores['chance']:.3f}")
    return table


def _retrieval(retrieval: Mapping[str, Any]) -> Table:
    table = Table(title="retrieval")
    table.add_column("")
    for rank in _RECALL:
        table.add_column(rank.replace("r", "R@"), justify="right")
    for name, recalls in retrieval.items():
        table.add_row(name.replace("_", " "), *_cells(recalls, _RECALL))
    return table


def _cells(scores: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    return [_cell(scores, name) for name in names]


def _cell(scores: Mapping[str, Any], name: str) -> str:
    interval = scores.get("ci95", {}).get(name)
    bounds = f" [dim]{interval[0]:.2f}–{interval[1]:.2f}[/]" if interval else ""
    return f"{scores[name]:.3f}{bounds}"


def show_sweep(console: Console, folder: Path) -> bool:
    """Every point's figures, what validation chooses, the page's path; whether a point failed."""
    sweep = json.loads((folder / "sweep.json").read_text())
    best = sweep["best_on_validation"]
    table = Table(title=f"{sweep['modality']}: sweep over {sweep['axis']}")
    table.add_column(sweep["axis"])
    for name in ("validation R@1, for choosing", "held-out top-1", "epochs", "training"):
        table.add_column(name, justify="right")
    for point in sweep["points"]:
        table.add_row(*_point_row(point, best))
    console.print()
    console.print(table)
    for point in sweep["points"]:
        if point["failure"]:
            console.print(f"[red]failed[/] {escape(point['label'])}: {escape(point['failure'])}")
    if best:
        console.print(f"best on validation: [bold]{escape(', '.join(best))}[/]", highlight=False)
    if sweep["is_generated"]:
        console.print("[yellow]generated data[/]: no figure here says anything of real recordings")
    console.print(f"sweep {folder / 'sweep.html'}", soft_wrap=True)
    return any(point["failure"] for point in sweep["points"])


def _point_row(point: Mapping[str, Any], best: list[str]) -> list[str]:
    """A failed point has its label alone."""
    emergent = " [dim]emergent[/]" if point.get("emergent") else ""
    label = escape(point["label"]) + emergent
    if point["failure"]:
        return [label, "[red]failed[/]"]
    validation = point["validation"]
    chosen = "[bold]*[/] " if point["label"] in best else ""
    training = point["training"]
    return [
        label,
        f"{chosen}{validation['r1']:.3f} to {validation['against']}" if validation else "–",
        _cell(point["zero_shot"], "top1"),
        f"{training['epochs']:.1f}",
        f"{training['seconds']:.0f} s",
    ]

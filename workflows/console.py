"""console: the lines a run leaves on the terminal, one per step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from pipelines.artifacts import Artifact
from pipelines.gates import GateResult
from pipelines.registry import ModelVersion

_WIDTH = 12


def show_artifact(console: Console, artifact: Artifact) -> None:
    """`renders      reused` or `renders      224 samples, 2 quarantined, 41 s`."""
    manifest = artifact.manifest
    if artifact.reused:
        return _line(console, manifest.step, "[dim]reused[/]")
    counts = [f"{count:,} {name}" for name, count in manifest.counts.items()]
    if manifest.quarantined:
        counts.append(f"[yellow]{len(manifest.quarantined)} quarantined[/]")
    return _line(console, manifest.step, ", ".join([*counts, f"{manifest.seconds:.0f} s"]))


def show_version(console: Console, step: str, model: ModelVersion) -> None:
    _line(console, step, f"{model.name} version {model.version}")


def show_gates(console: Console, results: Sequence[GateResult]) -> None:
    for result in results:
        mark = "[green]passed[/]" if result.passed else "[red]failed[/]"
        _line(console, "gate", f"{result.name} {mark}: {result.reason}")


def _line(console: Console, step: str, text: str) -> None:
    console.print(f"[bold]{step:<{_WIDTH}}[/] {text}", highlight=False, soft_wrap=True)

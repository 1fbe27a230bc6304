"""List artifacts and registered lenses."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.table import Table
from upath import UPath

from pipelines.flow import STEP_NAMES
from pipelines.registry import models
from pipelines.registry.registry import Registry
from pipelines.store.artifacts import MANIFEST, Artifact
from pipelines.store.home import Home
from workflows.spec import modality_names
from workflows.text import shown
from workflows.workplace import Workplace

_UNITS_S = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@click.command("status")
@click.pass_obj
def command(workplace: Workplace | None) -> None:
    """List artifacts and registered lenses."""
    show_status(Console(), workplace or Workplace.from_environment())


def show_status(console: Console, workplace: Workplace) -> None:
    """Print finished and unfinished artifacts, and every registered version."""
    console.print(f"home {workplace.home.root}", soft_wrap=True)
    console.print(_artifacts(workplace.home))
    for modality in modality_names():
        console.print(_versions(workplace.registry, modality))


def _artifacts(home: Home) -> Table | str:
    found, unreadable = home.store.scan()
    finished = sorted(found, key=lambda a: (_order(a.manifest.step), -_age_s(a)))
    unfinished = [f for f in home.store.root.glob("*/*") if not (f / MANIFEST).exists()]
    if not finished and not unfinished and not unreadable:
        return "no artifacts yet: `vitlens run MODALITY` makes them"
    table = Table("step", "fingerprint", "content", "quarantined", "size", "age", title="artifacts")
    for artifact in finished:
        table.add_row(*_row(artifact))
    for folder in sorted(unfinished, key=lambda f: _order(f.parent.name)):
        # Shards of a killed run, or of an artifact that is built piece by piece.
        shards = len(list(folder.glob("*.record.json")))
        table.add_row(
            shown(folder.parent.name),
            shown(folder.name),
            f"{shards} shards",
            "[yellow]unfinished[/]",
        )
    for damage in unreadable:
        table.add_row("[red]damaged[/]", "", shown(damage))
    return table


def _row(artifact: Artifact) -> list[str]:
    manifest = artifact.manifest
    counts = ", ".join(f"{count:,} {name}" for name, count in manifest.counts.items())
    quarantined = len(manifest.quarantined)
    size_mb = sum(file.size_bytes for file in manifest.files) / 1e6
    quarantined_cell = f"[yellow]{quarantined}[/]" if quarantined else "0"
    return [
        shown(manifest.step),
        shown(manifest.fingerprint[:12]),
        shown(counts),
        quarantined_cell,
        f"{size_mb:,.1f} MB",
        _ago(_age_s(artifact)),
    ]


def _versions(registry: Registry, modality: str) -> Table | str:
    versions = registry.versions(modality)
    if not versions:
        return f"{models.model_name(modality)}: no version registered yet"
    table = Table("version", "aliases", "gates", "age", title=models.model_name(modality))
    for version in versions:
        age_s = time.time() - version.created_at.timestamp()
        gates = "[green]passed[/]" if version.gates_passed else "[red]failed[/]"
        table.add_row(str(version.version), shown(", ".join(version.aliases)), gates, _ago(age_s))
    return table


def _order(step: str) -> int:
    return STEP_NAMES.index(step) if step in STEP_NAMES else len(STEP_NAMES)


def _age_s(artifact: Artifact) -> float:
    return time.time() - UPath(artifact.folder / MANIFEST).stat().st_mtime


def _ago(age_s: float) -> str:
    unit, seconds = next((u for u in _UNITS_S if age_s >= u[1]), _UNITS_S[-1])
    return f"{age_s // seconds:.0f} {unit}"

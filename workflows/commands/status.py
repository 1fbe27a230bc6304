"""List registered versions by modality, and what the store holds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from upath import UPath

from pipelines.flow import STEP_NAMES
from pipelines.registry.registry import Registry
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.store.artifacts import MANIFEST, Artifact
from pipelines.store.home import Home
from workflows.modalities import modality_names
from workflows.tables import ALL, JSON, ago, echo_json, plain_table, size
from workflows.text import shown
from workflows.workplace import Workplace

_SETTINGS = 3  # settings shown of those that differ from the champion's
_VERSIONS = 5  # newest versions of a modality, without --all


@click.command("status")
@ALL
@JSON
@click.pass_obj
def command(workplace: Workplace | None, everything: bool, as_json: bool) -> None:
    """List registered versions by modality, and what the store holds."""
    workplace = workplace or Workplace.from_environment()
    if as_json:
        echo_json(facts(workplace))
    else:
        show_status(Console(), workplace, everything)


def facts(workplace: Workplace) -> dict[str, object]:
    """Return what `status` knows, for programs."""
    found, unreadable = workplace.home.store.scan()
    return {
        "home": str(workplace.home.root),
        "mended": workplace.registry.reconcile(modality_names()),
        "versions": {name: workplace.registry.versions(name) for name in modality_names()},
        "artifacts": [
            {
                "step": artifact.manifest.step,
                "fingerprint": artifact.fingerprint,
                "folder": str(artifact.folder),
                "counts": artifact.manifest.counts,
                "quarantined": artifact.manifest.quarantined,
                "size_bytes": _size_bytes(artifact),
                "age_s": round(_age_s(artifact)),
            }
            for artifact in found
        ],
        "damaged": unreadable,
        "unfinished": list(map(str, _unfinished(workplace.home))),
    }


def show_status(console: Console, workplace: Workplace, everything: bool = False) -> None:
    """Print every modality's versions, then the artifacts by step, or all of them."""
    console.print(f"home {workplace.home.root}", soft_wrap=True)
    without = []
    for mended in workplace.registry.reconcile(modality_names()):
        console.print(f"[yellow]{shown(mended)}[/]", highlight=False)
    for modality in modality_names():
        versions = workplace.registry.versions(modality)
        if versions:
            _show_versions(console, workplace.registry, versions, everything)
        else:
            without.append(modality)
    if without:
        console.print(f"no version yet: {', '.join(without)}")
    found, unreadable = workplace.home.store.scan()
    finished = sorted(found, key=lambda a: (_order(a.manifest.step), -_age_s(a)))
    unfinished = _unfinished(workplace.home)
    if not finished and not unfinished and not unreadable:
        console.print("no artifacts yet: `vitlens run MODALITY` makes them")
    elif everything:
        _show_artifacts(console, finished)
    else:
        _show_steps(console, finished)
    for folder in unfinished:
        # Shards of a killed run, or of an artifact that is built piece by piece.
        shards = len(list(folder.glob("*.record.json")))
        name = f"{folder.parent.name} {folder.name}"
        console.print(f"{shown(name)}: [yellow]unfinished[/], {shards} shards", highlight=False)
    for damage in unreadable:
        console.print(f"[red]damaged[/] {shown(damage)}", highlight=False)


def _show_versions(
    console: Console, registry: Registry, versions: Sequence[ModelVersion], everything: bool
) -> None:
    champion = next((v for v in versions if CHAMPION in v.aliases), versions[-1])
    table = plain_table("version", "alias", "gates", "age", "settings", title=versions[0].name)
    newest = versions if everything else versions[:_VERSIONS]
    for version in newest:
        gates = "[green]passed[/]" if version.gates_passed else "[red]failed[/]"
        gates = gates if version.gates else "[yellow]not checked[/]"
        if skipped := sum(gate.skipped for gate in version.gates):
            gates += f" [yellow]{skipped} skipped[/]"
        age = ago(time.time() - version.created_at.timestamp())
        settings = "" if version is champion else _differences(registry, champion, version)
        aliases = shown(", ".join(version.aliases))
        table.add_row(str(version.version), aliases, gates, age, shown(settings))
    console.print(table)
    if more := len(versions) - len(newest):
        console.print(f"[dim]--all shows {more} older versions[/]")


def _differences(registry: Registry, champion: ModelVersion, version: ModelVersion) -> str:
    """Return the settings of a version that are not the champion's."""
    theirs, own = registry.settings(champion), registry.settings(version)
    changed = [f"{k}={own.get(k, '–')}" for k in sorted(own) if own.get(k) != theirs.get(k)]
    more = f" and {len(changed) - _SETTINGS} more" if len(changed) > _SETTINGS else ""
    return (", ".join(changed[:_SETTINGS]) or "the champion's") + more


def _show_steps(console: Console, finished: Sequence[Artifact]) -> None:
    by_step: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in finished:
        by_step[artifact.manifest.step].append(artifact)
    table = plain_table("step", "artifacts", "size", "newest", "quarantined", title="store")
    for step, artifacts in by_step.items():
        bad = sum(a.manifest.quarantined for a in artifacts)
        cells = (size(sum(map(_size_bytes, artifacts))), ago(min(map(_age_s, artifacts))))
        table.add_row(shown(step), str(len(artifacts)), *cells, f"[yellow]{bad}[/]" if bad else "")
    console.print(table)
    total = size(sum(map(_size_bytes, finished)))
    console.print(f"{total} in all; --all lists each artifact, `vitlens gc` what nothing needs")


def _show_artifacts(console: Console, finished: Sequence[Artifact]) -> None:
    table = plain_table("step", "fingerprint", "content", "quarantined", "size", "age")
    for artifact in finished:
        manifest = artifact.manifest
        counts = ", ".join(f"{count:,} {name}" for name, count in manifest.counts.items())
        bad = manifest.quarantined
        cells = (f"[yellow]{bad}[/]" if bad else "", size(_size_bytes(artifact)))
        age = ago(_age_s(artifact))
        table.add_row(shown(manifest.step), manifest.fingerprint[:12], shown(counts), *cells, age)
    console.print(table)


def _unfinished(home: Home) -> list[UPath | Path]:
    folders = [f for f in home.store.folders() if not (f / MANIFEST).exists()]
    return sorted(folders, key=lambda folder: _order(folder.parent.name))


def _size_bytes(artifact: Artifact) -> int:
    return sum(file.size_bytes for file in artifact.manifest.files)


def _order(step: str) -> int:
    return STEP_NAMES.index(step) if step in STEP_NAMES else len(STEP_NAMES)


def _age_s(artifact: Artifact) -> float:
    return time.time() - UPath(artifact.folder / MANIFEST).stat().st_mtime

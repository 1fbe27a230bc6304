"""List what no version, schedule or recent run needs; `--delete` frees its space."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from upath import UPath

from pipelines.flow import left_out
from pipelines.registry import lineage
from pipelines.registry.leftovers import Leftover, leftovers, remove
from pipelines.store.artifacts import FEATURES, MANIFEST, WEIGHTS, Artifact
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError, VitlensError
from workflows.current import Finished
from workflows.modalities import modality_names
from workflows.spec import Workflow, load_workflow
from workflows.tables import ago, plain_table, size
from workflows.workplace import Workplace

_DAY_S = 86_400


@dataclass(frozen=True)
class Unneeded:
    """A folder of the store that can be deleted."""

    folder: UPath
    what: str
    size_bytes: int
    age_s: float


@click.command("gc")
@click.option("--delete/--dry-run", help="Delete them, or only list them (the default).")
@click.option(
    "--older-than",
    "days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Leave younger ones.",
)
@click.option("--shared", is_flag=True, help="Delete also where VITLENS_STORE may serve others.")
@click.pass_obj
def command(workplace: Workplace | None, delete: bool, days: float, shared: bool) -> None:
    """List what no version, schedule or recent run needs; `--delete` frees its space.

    Artifacts of the store, unfinished ones, image features and weights that are made or fetched
    again when they are needed, and MLflow's deleted runs and files in the home.
    """
    workplace = workplace or Workplace.from_environment()
    home = workplace.home
    if delete and "VITLENS_STORE" in os.environ and not shared:
        raise ConfigError(
            f"the store {home.store.root} may serve other homes, whose versions are not known "
            "here; --shared deletes all the same"
        )
    with home.lock("vitlens gc"):
        found = [u for u in unneeded(workplace) if u.age_s >= days * _DAY_S]
        of_registry = [item for item in leftovers(home.root) if item.age_s >= days * _DAY_S]
        _show(Console(), [*found, *of_registry], delete)
        if delete and of_registry:
            remove(home.root, of_registry)
        for item in found if delete else ():
            # The manifest first: what a kill leaves is unfinished, never half an artifact.
            (item.folder / MANIFEST).unlink(missing_ok=True)
            item.folder.fs.rm(item.folder.path, recursive=True)


def unneeded(workplace: Workplace) -> list[Unneeded]:
    """Return the folders that no registered version, schedule or sensor needs."""
    home = workplace.home
    finished = {a.fingerprint: a for a in home.store.artifacts()}
    kept = _with_inputs(_needed(workplace), finished)
    spare = [a for fingerprint, a in finished.items() if fingerprint not in kept]
    found = [_of_artifact(artifact) for artifact in spare]
    found += [*_unfinished(home), *_features(home)]
    return sorted(found, key=lambda item: -item.size_bytes)


def _needed(workplace: Workplace) -> Iterator[str]:
    """Yield the fingerprints of what versions were made of, and of what automation would reuse."""
    for modality in modality_names():
        for version in workplace.registry.versions(modality):
            yield from lineage.fingerprints(workplace.home.root, version).values()
        workflow = load_workflow(modality)
        automations = (workflow.schedule, workflow.sensor, workflow.pieces)
        for profile in {automation.profile for automation in automations if automation}:
            yield from _reused(workplace, workflow, profile)


def _reused(workplace: Workplace, workflow: Workflow, profile: str) -> Iterator[str]:
    finished = Finished(workplace, workflow, profile)
    without = left_out(workflow.config(profile))
    for name in workflow.step_names:
        if name not in without:
            try:
                yield finished[name].fingerprint
            except VitlensError:  # not made, or its data are not here: nothing to keep
                return


def _with_inputs(needed: Iterable[str], finished: dict[str, Artifact]) -> set[str]:
    kept, open_ = set(), list(needed)
    while open_:
        fingerprint = open_.pop()
        if fingerprint not in kept and fingerprint in finished:
            kept.add(fingerprint)
            open_ += finished[fingerprint].manifest.inputs.values()
    return kept


def _of_artifact(artifact: Artifact) -> Unneeded:
    written = (artifact.folder / MANIFEST).stat().st_mtime
    name = f"{artifact.manifest.step} {artifact.fingerprint[:12]}"
    size_bytes = sum(file.size_bytes for file in artifact.manifest.files)
    return Unneeded(artifact.folder, name, size_bytes, time.time() - written)


def _unfinished(home: Home) -> Iterator[Unneeded]:
    for folder in home.store.folders():
        if not (folder / MANIFEST).exists():
            yield _of_folder(folder, f"{folder.parent.name} {folder.name[:12]} unfinished")


def _features(home: Home) -> Iterator[Unneeded]:
    """Yield what is computed or fetched again when it is needed (`pipelines.foundation`)."""
    for folder in (home.store.root / FEATURES).glob("*"):
        yield _of_folder(folder, f"{FEATURES} {folder.name[:12]} of pictures")
    weights = home.store.root / WEIGHTS
    if weights.exists():
        yield _of_folder(weights, f"{WEIGHTS} of foundations")


def _of_folder(folder: UPath, what: str) -> Unneeded:
    files = [file.stat() for file in folder.glob("**/*") if file.is_file()]
    last = max([file.st_mtime for file in files], default=folder.stat().st_mtime)
    return Unneeded(folder, what, sum(f.st_size for f in files), time.time() - last)


def _show(console: Console, found: Sequence[Unneeded | Leftover], delete: bool) -> None:
    if not found:
        console.print("nothing to free: everything is needed, or too young (--older-than)")
        return
    table = plain_table("what", "size", "age")
    for item in found:
        table.add_row(item.what, size(item.size_bytes), ago(item.age_s))
    console.print(table)
    total = size(sum(item.size_bytes for item in found))
    deed = "deleted" if delete else "could be freed; --delete deletes them"
    console.print(f"{len(found)} entries, {total} {deed}")

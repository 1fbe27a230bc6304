"""Compare every stored file with its size and checksum."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.registry.registry import Registry
from pipelines.store.artifacts import Artifact
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError
from workflows.exit_codes import FAILED
from workflows.modalities import modality_names
from workflows.text import shown


@click.command("verify")
@click.option("--step", metavar="NAME", help="Artifacts of this step only, such as shards.")
def command(step: str | None) -> None:
    """Compare every stored file with its size and checksum."""
    if verify(Console(), Home.from_environment(), step):
        sys.exit(FAILED)


def verify(console: Console, home: Home, step: str | None = None) -> int:
    """Compare every file with its manifest, and name damaged files and samples.

    With all steps, aliases of models are compared with the log of promotions too.

    Args:
        step: check the artifacts of this step only.

    Returns:
        The number of damaged files.

    Raises:
        ConfigError: there is no artifact to check.
    """
    found, unreadable = home.store.scan()
    artifacts = [a for a in found if step in (None, a.manifest.step)]
    if not artifacts and not unreadable:
        wanted = f"no artifacts of {step}" if step else "no artifacts"
        raise ConfigError(f"{home.store.root} holds {wanted}: `vitlens run MODALITY` makes them")
    artifacts.sort(key=lambda a: (a.manifest.step, a.fingerprint))
    total = sum(entry.size_bytes for a in artifacts for entry in a.manifest.files)
    columns = (TextColumn("verify"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    damaged = len(unreadable)
    for damage in unreadable:
        console.print(f"[red]{shown(damage)}[/]", highlight=False, soft_wrap=True)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("verify", total=total)
        for damage, size_bytes in _checked_files(artifacts):
            progress.advance(bar, size_bytes)
            if damage:
                damaged += 1
                console.print(f"[red]{shown(damage)}[/]", highlight=False, soft_wrap=True)
    files = sum(len(a.manifest.files) for a in artifacts)
    verdict = f"[red]{damaged} damaged[/]" if damaged else "[green]none damaged[/]"
    console.print(f"{len(artifacts)} artifacts, {files} files, {total / 1e6:,.1f} MB: {verdict}")
    if damaged:
        console.print(
            "delete the folder of a damaged artifact and run again: it is made again, byte for byte"
        )
    if step is None:
        for mended in Registry(home.root).reconcile(modality_names()):
            console.print(f"[yellow]{shown(mended)}[/]", highlight=False)
    return damaged


def _checked_files(artifacts: list[Artifact]) -> Iterator[tuple[str, int]]:
    for artifact in artifacts:
        for entry in artifact.manifest.files:
            yield artifact.damage(entry), entry.size_bytes

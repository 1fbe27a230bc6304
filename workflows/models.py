"""models: the registry on the command line: promote, roll back, compare, history, lineage."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.registry import lineage as lineages
from pipelines.registry import models, promotion
from pipelines.registry.models import CHALLENGER, CHAMPION, ModelVersion
from vitlens_core.errors import ConfigError
from workflows.console import MARKS
from workflows.home import Home

_WHY = click.option("--why", default="", metavar="TEXT", help="Kept in the model's history.")


@click.command()
@click.argument("modality")
@click.argument("version", default=CHALLENGER)
@_WHY
@click.option("--force", is_flag=True, help="Although a gate failed; the history says so.")
def promote(modality: str, version: str, why: str, force: bool) -> None:
    """Make a version champion: a number, or an alias (by default `challenger`)."""
    home, model = _version(modality, version)
    promoted = promotion.promote(home, model.name, model.version, why, force=force)
    click.echo(f"{promoted.name} version {promoted.version} is champion")


@click.command()
@click.argument("modality")
@_WHY
def rollback(modality: str, why: str) -> None:
    """Make the previous champion champion again."""
    home, model = _version(modality, CHAMPION)
    back = promotion.rollback(home, model.name, why)
    click.echo(f"{back.name} version {back.version} is champion again, {model.version} previous")


@click.command()
@click.argument("modality")
def history(modality: str) -> None:
    """Every promotion and rollback: what, who, when and why."""
    home = Home.from_environment().root
    name = _some(home, modality)[0].name
    table = Table("when", "what", "champion", "before", "who", "why", title=name)
    for move in promotion.history(home, name):
        what = f"{move.action} [red](forced)[/]" if move.forced else move.action
        before = "–" if move.before is None else str(move.before)
        cells = (what, str(move.version), before, escape(move.who), escape(move.why))
        table.add_row(f"{move.at:%Y-%m-%d %H:%M:%S}Z", *cells)
    Console().print(table)


@click.command()
@click.argument("modality")
@click.argument("one", default=CHAMPION)
@click.argument("other", default=CHALLENGER)
def compare(modality: str, one: str, other: str) -> None:
    """Two versions side by side: figures, and what differs in how they were made."""
    home, a = _version(modality, one)
    _, b = _version(modality, other)
    found = lineages.compare(home, a.name, a.version, b.version)
    console = Console()
    titles = [f"version {model.version} {_called(model)}".strip() for model in (a, b)]
    figures = Table("figure", *titles, "difference", title=a.name)
    for name, (left, right) in sorted(found.figures.items()):
        both = left is not None and right is not None
        figures.add_row(name, _number(left), _number(right), f"{right - left:+.4g}" if both else "")
    console.print(figures)
    if not found.same_samples:
        console.print("[yellow]evaluated on different targets[/]: figures compare data sets too")
    for title, pairs in (("made of", found.steps), ("settings", found.settings)):
        if not pairs:
            continue
        table = Table("", *titles, title=f"{title}: what differs")
        for name, pair in pairs.items():
            table.add_row(name, *(escape(str(value or "–")[:40]) for value in pair))
        console.print(table)


@click.command()
@click.argument("modality")
@click.argument("version", default=CHAMPION)
def lineage(modality: str, version: str) -> None:
    """What a version was made of, its gates, and every evaluation of its lens."""
    home, model = _version(modality, version)
    found = lineages.lineage(home, model.name, model.version)
    console = Console()
    made = Table(
        "step", "fingerprint", title=f"{model.name} version {model.version} {_called(model)}"
    )
    for step, fingerprint in found.fingerprints.items():
        made.add_row(step, fingerprint)
    made.add_row("foundation", f"{found.foundation_spec}, digest {found.foundation_digest}")
    made.add_row("code", found.code_revision or "not from a checkout")
    console.print(made)
    for gate in found.gates:
        console.print(
            f"{gate.tier}: {gate.name} {MARKS[gate.outcome]}: {escape(gate.reason)}", soft_wrap=True
        )
    for evaluation in found.evaluations:
        figures = ", ".join(f"{k.split('.')[-1]} {v:.3f}" for k, v in evaluation.figures.items())
        console.print(
            f"evaluated {evaluation.at:%Y-%m-%d %H:%M}Z {evaluation.fingerprint[:16]}: {figures}"
        )


COMMANDS = (promote, rollback, compare, history, lineage)


def _some(home: Path, modality: str) -> list[ModelVersion]:
    """Every version of a modality's model (`ConfigError`: none)."""
    if found := models.versions(home, modality):
        return found
    raise ConfigError(
        f"{models.model_name(modality)} has no version; `vitlens run {modality}` registers one"
    )


def _version(modality: str, asked: str) -> tuple[Path, ModelVersion]:
    """The version of that number or alias."""
    home = Home.from_environment().root
    found = _some(home, modality)
    for model in found:
        if asked in (str(model.version), *model.aliases):
            return home, model
    known = [str(model.version) for model in found]
    known += [alias for model in found for alias in model.aliases]
    raise ConfigError(f"{found[0].name} has no {asked!r}; there are {', '.join(known)}")


def _called(model: ModelVersion) -> str:
    return f"({', '.join(model.aliases)})" if model.aliases else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"

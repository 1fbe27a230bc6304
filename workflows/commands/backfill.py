"""Build a workflow's data set in pieces, ahead of the run that uses it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import click
from rich.console import Console

from pipelines.store.pieces import Piece
from pipelines.store.pieces import pieces as pieces_of
from vitlens_core.errors import ConfigError
from workflows.console import log_line, pointing_to, quiet_terminal, remark
from workflows.preflight import check
from workflows.spec import Pieces, load_workflow
from workflows.workplace import Workplace

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@click.command("backfill")
@click.argument("modality")
@click.option("--pieces", "chosen", metavar="1-4,7", help="Which pieces; all without it.")
@click.option("--profile", help="Settings to build with; else those that its pieces name.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
@click.pass_obj
def command(
    workplace: Workplace | None,
    modality: str,
    chosen: str | None,
    profile: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Build a workflow's data set in pieces, ahead of the run that uses it.

    One line per piece. What is made already is found again; several machines may build into one
    store. `vitlens run` with the same settings then finds every shard.
    """
    workflow = load_workflow(modality)
    division = _division(workflow.pieces, modality)
    wanted = numbered(chosen, division.number)
    profile = profile or division.profile
    workplace = workplace or Workplace.from_environment()
    for found in check(workflow, profile, overrides, workplace.home):
        remark(found)
    log = workplace.home.logs() / f"{modality}-pieces-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with quiet_terminal(log) as console, pointing_to(log):
        _build(workplace, modality, profile, overrides, wanted, console)
    same = "".join(f" --set {override}" for override in overrides)
    console = Console(highlight=False, soft_wrap=True)
    console.print(log_line(log), markup=False)
    console.print(f"finish with  vitlens run {modality} --profile {profile}{same}", markup=False)


def _build(
    workplace: Workplace,
    modality: str,
    profile: str,
    overrides: tuple[str, ...],
    wanted: Iterable[Piece],
    console: Console,
) -> None:
    # Late: Dagster and torch take seconds to import, and settings are checked without them.
    from workflows.runner import build_piece

    for piece in wanted:
        started = time.monotonic()
        try:
            counts = build_piece(workplace, modality, profile, overrides, piece)
        except BaseException:
            console.print(f"piece {piece}   [red]failed[/]", highlight=False)
            raise
        made = ", ".join(f"{count} {name}" for name, count in counts.items())
        took = time.monotonic() - started
        console.print(f"piece {piece}   {made}, {took:.0f} s", highlight=False)


def _division(division: Pieces | None, modality: str) -> Pieces:
    if division is None:
        raise ConfigError(
            f"{modality} is not divided into pieces: state `pieces` in its defs.yaml, or let "
            f"`vitlens run {modality}` build all of it"
        )
    return division


def numbered(chosen: str | None, total: int) -> list[Piece]:
    """Return the pieces that `1-4,7` names, in order; all if nothing is chosen."""
    if chosen is None:
        return pieces_of(total)
    numbers: set[int] = set()
    for part in chosen.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"--pieces {chosen}: expected numbers and ranges such as 1-4,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= total:
            raise ConfigError(f"--pieces {chosen}: expected numbers from 1 to {total}, in order")
        numbers.update(range(first, last + 1))
    return [Piece(number, total) for number in sorted(numbers)]

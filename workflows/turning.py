"""turning: what `vitlens schedule` and `vitlens sensor` have in common."""

from __future__ import annotations

import click
from rich.console import Console

from vitlens_core.errors import VitlensError
from workflows.preflight import check
from workflows.processes import history
from workflows.spec import Schedule, Sensor
from workflows.switches import Switch, switches
from workflows.text import shown
from workflows.workplace import Workplace

ON, OFF = "on", "off"
STATE = click.argument("state", required=False, type=click.Choice([ON, OFF]))


def show_or_turn(
    workplace: Workplace | None,
    kind: type[Schedule | Sensor],
    modality: str | None,
    state: str | None,
) -> None:
    """Print one line per schedule or sensor; with `state`, switch one on or off before.

    Raises:
        ConfigError: no such modality, or its workflow has none.
    """
    workplace = workplace or Workplace.from_environment()
    found = switches(kind, modality)
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    with history(workplace.home) as instance:
        for switch in found:
            if state is not None:
                switch.turn(instance, on=state == ON)
            is_on = switch.is_on(instance)
            mark = "[green]on [/]" if is_on else "[dim]off[/]"
            name = f"{switch.workflow.modality:<12}"
            console.print(f"{name} {mark}  {shown(str(switch.automation))}")
            if is_on and (why := _obstacle(switch)):
                console.print(f"[yellow]{name} its run would fail now: {shown(why)}[/]")


def _obstacle(switch: Switch) -> str | None:
    """Return what would stop a run of this profile at present."""
    try:
        check(switch.workflow, switch.automation.profile, ())
    except VitlensError as error:
        return str(error)
    return None

"""Show the settings of a modality: their values, where each comes from, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console

from pipelines.config import RunConfig, layered, merged, parse_override
from pipelines.registry.tracking import flatten
from workflows.spec import DEFAULT_PROFILE, Workflow, load_workflow
from workflows.tables import JSON, echo_json
from workflows.text import shown


@dataclass(frozen=True)
class Setting:
    """One setting of a run, as `--set` takes it."""

    name: str
    value: str
    origin: str
    description: str


@click.command("config")
@click.argument("modality")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Settings to show.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change one setting.")
@click.option("--section", metavar="NAME", help="Only settings that begin so, as lens.train.")
@JSON
def command(
    modality: str, profile: str, overrides: tuple[str, ...], section: str | None, as_json: bool
) -> None:
    """Show the settings of a modality: their values, where each comes from, and what they mean."""
    found = list(settings(load_workflow(modality), profile, overrides))
    listed = [s for s in found if section is None or s.name.startswith(section)]
    if as_json:
        echo_json(listed)
        return
    console = Console()
    for setting in listed:
        origin = "" if setting.origin == "default" else f" [yellow]{setting.origin}[/]"
        name = f"[bold]{shown(setting.name)}[/]"
        console.print(f"{name} = {shown(setting.value)}{origin}", highlight=False, soft_wrap=True)
        if setting.description:
            console.print(f"    [dim]{shown(setting.description)}[/]", highlight=False)


def settings(workflow: Workflow, profile: str, overrides: tuple[str, ...]) -> Iterator[Setting]:
    """Yield every setting of a run by dotted path.

    Raises:
        ConfigError: an unknown profile, or a mistake in the overrides.
    """
    config = workflow.config(profile, overrides)
    base, stated = {**workflow.base, "gates": workflow.gates}, workflow.all_profiles[profile]
    layers = {
        "--set": merged(map(parse_override, overrides)),
        f"profile {profile}": stated,
        "workflow": base,
    }
    applied = layered(base, stated, overrides)
    for name, value in flatten(_content(config)):
        if name == "modality":
            continue
        applies = _has(applied, name)
        origins = [origin for origin, layer in layers.items() if applies and _has(layer, name)]
        yield Setting(name, value, (origins or ["default"])[0], _description(config, name))


def _content(config: RunConfig) -> dict[str, Any]:
    """Return all settings; those of signal and network with their defaults."""
    tower = config.tower()
    content = config.model_dump(mode="json")
    content["signal"] = tower.signal_config.model_dump(mode="json")
    content["lens"]["tokenizer"] = tower.tokenizer_config.model_dump(mode="json")
    return content


def _has(layer: object, name: str) -> bool:
    for key in name.split("."):
        if not isinstance(layer, Mapping) or key not in layer:
            return False
        layer = layer[key]
    return True


def _description(config: RunConfig, name: str) -> str:
    """Return what the model of a section says of a field."""
    tower, keys = config.tower(), name.split(".")
    value: object = config
    if keys[0] == "signal":
        value, keys = tower.signal_config, keys[1:]
    elif keys[:2] == ["lens", "tokenizer"]:
        value, keys = tower.tokenizer_config, keys[2:]
    for key in keys[:-1]:
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    if isinstance(value, BaseModel) and keys and keys[-1] in type(value).model_fields:
        return type(value).model_fields[keys[-1]].description or ""
    return ""

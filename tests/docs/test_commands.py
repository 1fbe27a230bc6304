"""What the pages tell people to type exists: commands, settings, jobs, targets, files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from docs.generators.tables import section_in
from pipelines.config import RunConfig
from tests.docs.pages import MADE_UP, PAGES, ROOT, Command, commands, name_of, quoted, shell_lines
from vitlens_core.errors import ConfigError
from workflows.axes import points_of
from workflows.cli import main
from workflows.commands.backfill import numbered
from workflows.spec import load_workflow

COMMANDS = commands()
# Shown as a mistake, with the message it gives.
MISTAKES = {
    "docs/tutorials/own-meshes.md": ("point_cloud", "tiny", "renders.size=64"),
    "docs/how/setting.md": ("point_cloud", "demo", "lens.train.step=400"),
}
# The commands of what runs by itself, and where a workflow declares it.
SELF_RUNNING = {"schedule": "schedule", "sensor": "sensor", "backfill": "pieces"}
_SECTIONS = "|".join(RunConfig.model_fields)
_SETTING = re.compile(rf"(?:{_SECTIONS})(?:\.[a-z_]+)+")
_ENDINGS = {"json", "jsonl", "npy", "py", "safetensors", "tar"}  # `lens.safetensors` is a file
_FILE = re.compile(r"(?:docs|infra|pipelines|tests|vitlens_core|workflows)/[\w./-]+")
_SECRETS = "infra/compose/secrets/"  # what secrets.sh writes
# In a text of the code: with its ending, as a name may go on in braces.
_NAMED = re.compile(rf"(?<![\w./-]){_FILE.pattern}\.(?:json|md|py|sh|yaml)\b")


def settings_commands() -> list[Command]:
    """Those that state settings and are meant to work."""
    mistaken = {override for *_, override in MISTAKES.values()}
    return [
        command
        for command in COMMANDS
        if command.words[0] in ("run", "sweep", "backfill")
        and command.words[1] != MADE_UP
        and not mistaken & set(command.overrides)
    ]


def test_there_are_commands_to_look_at():
    assert len(COMMANDS) > 30
    assert len(settings_commands()) > 15


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_command_line_takes_it(command: Command):
    context = click.Context(main, info_name="vitlens")
    name, found, rest = main.resolve_command(context, [w for w in command.words if w != "--debug"])
    assert found is not None
    found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("command", settings_commands(), ids=str)
def test_its_settings_are_valid(command: Command):
    workflow = load_workflow(command.words[1])
    profile = (command.values("--profile") or ["demo"])[0]
    config = workflow.config(profile, command.overrides)
    for axis in command.values("--axis"):
        values = ",".join(command.values("--values"))
        points = points_of(axis, workflow, config, values.split(",") if values else [])
        for point in points:
            workflow.config(profile, [*command.overrides, *point.overrides])


@pytest.mark.parametrize("page", MISTAKES)
def test_the_mistake_it_shows_is_told_so(page: str):
    modality, profile, override = MISTAKES[page]
    with pytest.raises(ConfigError) as error:
        load_workflow(modality).config(profile, [override])
    shown = str(error.value).partition("?")[0] + "?"
    assert f"```text\n{shown}\n```" in (ROOT / page).read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_settings_it_names_exist(page: Path):
    for name in quoted(page):
        if _SETTING.fullmatch(name) and name.rpartition(".")[2] not in _ENDINGS:
            assert _exists(RunConfig, name.split(".")), f"{name_of(page)}: no setting {name}"


def _exists(model: type[BaseModel], parts: list[str]) -> bool:
    head, *rest = parts
    if head not in model.model_fields:
        return False
    if head in ("source", "gates", "tokenizer", "signal"):
        return True  # of the data set, the workflow or the modality: no fixed keys
    inner = section_in(model.model_fields[head].annotation)
    return not rest or (inner is not None and _exists(inner, rest))


# One column of the structure's figures is of an earlier layout.
@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "measured.md"], ids=name_of)
def test_the_files_it_names_exist(page: Path):
    named = [name for text in quoted(page) for name in _FILE.findall(text)]
    shipped = [name for name in named if MADE_UP not in name and not name.startswith(_SECRETS)]
    missing = [name for name in shipped if not (ROOT / name.rstrip(".")).exists()]
    assert not missing


@pytest.mark.slow
def test_the_files_that_the_code_names_exist():
    """In messages and docstrings; a file that was moved is still named otherwise."""
    missing, known = [], 0
    for package in ("infra", "pipelines", "vitlens_core", "workflows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    named = _NAMED.findall(node.value)
                    known += len(named)
                    missing += [f"{path}: {name}" for name in named if not (ROOT / name).exists()]
    assert known > 5
    assert not missing


def test_the_files_it_copies_exist():
    copied = [words[1] for page in PAGES for words in shell_lines(page) if words[0] == "cp"]
    shipped = [name for name in copied if _FILE.fullmatch(name)]
    assert shipped
    assert [name for name in shipped if not (ROOT / name).exists()] == []


def test_the_targets_it_names_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for text in [*quoted(page), *(" ".join(words) for words in shell_lines(page))]
        for name in re.findall(r"^make (\w+)$", text)
    }
    assert named <= targets


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] in SELF_RUNNING], ids=str)
def test_what_it_runs_by_itself_is_declared(command: Command):
    workflow = load_workflow(command.words[1])
    assert getattr(workflow, SELF_RUNNING[command.words[0]]) is not None
    for chosen in command.values("--pieces"):
        assert workflow.pieces is not None
        assert numbered(chosen, workflow.pieces.number)

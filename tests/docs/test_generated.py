"""What is drawn and listed from the code is complete and current."""

from __future__ import annotations

import ast
import inspect
import re
import xml.etree.ElementTree as ElementTree
from types import ModuleType

import click
import pytest

import vitlens_core
from docs.generators.pictures import FOLDER, PICTURES
from docs.generators.reference import formats, undescribed
from pipelines.flow import STEPS
from tests.docs.pages import PAGES, ROOT, blocks
from vitlens_core import rendering
from vitlens_core.api.verbs import Verbs
from vitlens_core.plugins import ask, detect, imagine
from vitlens_core.plugins.detect import clip_vectors
from workflows.cli import main

PACKAGES = ("vitlens_core", "pipelines", "workflows")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_that_of_the_present_code(name: str):
    drawn = PICTURES[name]().render()
    assert (FOLDER / f"{name}.svg").read_text() == drawn, "run python -m docs.generators.pictures"
    assert "\n\n" not in drawn  # Markdown would end the picture there
    ElementTree.fromstring(drawn)


def test_every_step_stands_in_the_flow():
    drawn = PICTURES["flow"]().render()
    assert [step.name for step in STEPS if f">{step.name}</text>" not in drawn] == []


def test_every_file_of_every_step_has_its_format():
    page = formats()
    for step in STEPS:
        assert f"## {step.name}\n" in page
        for pattern in step.writes:
            assert all(f"`{name}`" in page for name in pattern.split(", "))


def test_every_setting_says_what_it_is():
    assert undescribed() == []


def test_every_public_name_stands_in_the_api():
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    for name in vitlens_core.__all__:
        assert f"::: vitlens_core.{name}\n" in page
    assert [n for n in rendering.__all__ if f"::: vitlens_core.rendering.{n}\n" not in page] == []


def test_every_verb_of_a_model_stands_in_the_api():
    """mkdocstrings shows what a class defines itself: each class of ours must stand there."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    ours = [c for c in vitlens_core.Model.__mro__ if c.__module__.startswith("vitlens_core")]
    assert Verbs in ours
    for each in ours[1:]:
        assert f"::: {each.__module__}.{each.__name__}\n" in page
        verbs = [name for name in vars(each) if not name.startswith("_")]
        assert [name for name in verbs if not inspect.getdoc(getattr(each, name))] == []


@pytest.mark.parametrize("plugin", [ask, detect, imagine, clip_vectors], ids=lambda m: m.__name__)
def test_what_opens_a_plugin_stands_in_the_api(plugin: ModuleType):
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    public = getattr(plugin, "__all__", vars(plugin))
    opening = [name for name in public if re.match(r"(open|save)_", name)]
    assert opening
    assert [n for n in opening if f"::: {plugin.__name__}.{n}\n" not in page] == []


def test_what_the_pages_import_stands_in_the_api():
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    imported = {
        f"{node.module}.{alias.name}"
        for source in PAGES
        for body in blocks(source, "python")
        for node in ast.walk(ast.parse(body))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vitlens_core")
        for alias in node.names
    }
    assert imported
    lacking = [n for n in imported if not re.search(rf"^::: {re.escape(n)}$", page, re.MULTILINE)]
    assert [n for n in lacking if f"::: {n.rpartition('.')[0]}\n" not in page] == []


def test_every_command_stands_in_the_table():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text().partition("## Exit codes")[0]
    names = main.list_commands(click.Context(main))
    assert [name for name in names if not re.search(rf"`(vitlens )?{name}\b", page)] == []
    # The command reference of the page has an anchor for each; schedule and sensor share a row.
    linked = set(re.findall(r"\(#vitlens-(\w+)\)", page))
    assert set(names) - linked <= {"sensor"}


def test_every_environment_variable_of_the_code_is_explained():
    sources = [p.read_text() for package in PACKAGES for p in (ROOT / package).rglob("*.py")]
    named = {
        name
        for text in sources
        if "environ" in text  # elsewhere such a name is a constant
        for name in re.findall(r"[\"'$](VITLENS_[A-Z_]+)", text)
    }
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    assert named
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []

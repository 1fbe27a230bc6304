"""What is drawn and listed from the code is complete and current."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

import vitlens_core
from docs.generators.pictures import FOLDER, PICTURES
from docs.generators.reference import formats, undescribed
from pipelines.flow import STEPS
from tests.docs.pages import ROOT
from vitlens_core import rendering

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

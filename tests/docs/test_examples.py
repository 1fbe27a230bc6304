"""The examples of the pages run as they stand there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from pydantic import Field, TypeAdapter

from pipelines.registry import promotion
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from pipelines.registry.notices.base import AnyReceiver
from pipelines.registry.version import CHAMPION
from pipelines.source import datasets
from pipelines.source.base import Pair, SourceSettings
from tests.docs.pages import PAGES, ROOT, blocks, commands, name_of
from tests.pipelines.registered import aliases, register
from vitlens_core.losses.base import Loss, Pairs
from vitlens_core.modalities.base import LensedModality, Rendered, SignalConfig
from workflows.cli import main

EXAMPLES = ("README.md", "docs/tutorials/using-a-model.md")


def python_blocks(page: str) -> list[str]:
    """Those that run; the others say in their first line why not."""
    return [body for body in blocks(ROOT / page, "python") if not body.startswith("# not run")]


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_of_a_page_run_in_their_order(page: str, workplace: Path):
    names: dict[str, Any] = {"points": np.random.default_rng(0).random((64, 6))}
    for number, body in enumerate(python_blocks(page)):
        exec(compile(body, f"{page}, block {number}", "exec"), names)
    assert names["probabilities"].shape == (2, 3)
    assert names["probabilities"].sum(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "csv")], ids=name_of)
def test_the_tables_are_manifests(page: Path, tmp_path: Path):
    for table in blocks(page, "csv"):
        (tmp_path / "manifest.csv").write_text(table)
        settings = datasets.load("manifest").model_validate({"root": str(tmp_path)})
        assert len(list(settings.pairs())) == len(table.strip().splitlines()) - 1


def test_the_receivers_of_the_page_are_settings():
    page = ROOT / "docs" / "deployment" / "operation.md"
    [shown] = [yaml.safe_load(body) for body in blocks(page, "yaml")]
    receivers = TypeAdapter(tuple[AnyReceiver, ...]).validate_python(shown)
    assert [each.kind for each in receivers] == ["webhook", "slack", "mail"]


def test_pages_with_examples_are_run():
    with_python = {
        page.relative_to(ROOT).as_posix()
        for page in PAGES
        if python_blocks(page.relative_to(ROOT).as_posix())
    }
    # That page shows the form of a source, not a whole one.
    assert with_python - {"docs/contributing/extend.md"} == set(EXAMPLES)


_USES: dict[str, Any] = {
    "Iterator": Iterator, "Mapping": Mapping, "ClassVar": ClassVar, "Literal": Literal,
    "Field": Field, "np": np, "torch": torch, "Pair": Pair, "SourceSettings": SourceSettings,
    "Gate": Gate, "GateContext": GateContext, "GateResult": GateResult, "Tier": Tier,
    "Loss": Loss, "Pairs": Pairs, "LensedModality": LensedModality, "Rendered": Rendered,
    "SilhouetteSignal": SignalConfig,
}  # fmt: skip
_FORMS = python_blocks("docs/contributing/extend.md")


@pytest.mark.parametrize("body", _FORMS, ids=lambda body: body.partition("(")[0])
def test_the_forms_of_new_kinds_set_what_their_bases_have(body: str):
    """A name that a base does not know is taken without a word, and does nothing."""
    names = dict(_USES)
    exec(compile(body, "docs/contributing/extend.md", "exec"), names)
    [made] = [value for name, value in names.items() if name not in (*_USES, "__builtins__")]
    [base] = made.__bases__
    settings = getattr(made, "model_fields", {})
    set_here = {name for name in vars(made) if not name.startswith("_")} - {"model_fields"}
    stated = set(made.__annotations__) | set_here
    assert stated - set(settings) <= set(dir(base)) | set(base.__annotations__)


def test_the_commands_about_versions_do_what_the_page_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the page's order, on a home with a champion and a challenger."""
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.setenv("VITLENS_USER", "ada")
    first = register(home, right=0.5)
    promotion.promote(home, first.name, first.version)
    register(home, right=0.75)
    seen = {}
    for command in commands():
        if command.page == "docs/tutorials/champions.md" and command.words[0] != "run":
            result = CliRunner().invoke(main, list(command.words), catch_exceptions=False)
            assert result.exit_code == 0, f"{command}: {result.output}"
            seen[command.words[0]] = (result.output, aliases(home))
    assert CHAMPION in seen["promote"][1][2]
    assert CHAMPION in seen["rollback"][1][1]
    assert "field test" in seen["history"][0]
    assert "ada" in seen["history"][0]

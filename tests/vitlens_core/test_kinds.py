"""Kinds of settings, found by the names of their modules."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from vitlens_core.errors import ConfigError
from vitlens_core.kinds import OneOf

BASE = """
from pydantic import BaseModel, ConfigDict

class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
"""
MODULE = """
from typing import Literal
from {package}.base import Shape

class {title}(Shape):
    kind: Literal["{kind}"] = "{kind}"
    size: int = 1
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A model with a shape: a ball by default, or a rod; `broken` and `other` define none."""
    folder = tmp_path_factory.mktemp("kinds") / "shapes_of_a_test"
    folder.mkdir()
    ball = MODULE.format(package=folder.name, title="Ball", kind="ball")
    rod = MODULE.format(package=folder.name, title="Rod", kind="rod")
    files = {"__init__": "", "base": BASE, "ball": ball, "rod": rod, "_helper": "1 / 0"}
    files |= {"broken": "1 / 0", "other": ball}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        from shapes_of_a_test.base import Shape  # ty: ignore[import-not-found]

        one_of = OneOf(Shape, "shape", folder.name, default="ball")

        class Drawing(BaseModel):
            model_config = ConfigDict(frozen=True)

            shape: Annotated[Shape, one_of] = one_of.load("ball")()
            others: dict[str, Annotated[Shape, one_of]] = {}

        yield Drawing


def test_a_kind_is_named_alone_or_with_its_settings(shapes: Any) -> None:
    kinds = [
        type(shapes.model_validate({"shape": given}).shape).__name__
        for given in ("rod", {"kind": "rod", "size": 3}, {}, {"size": 2})
    ]
    assert kinds == ["Rod", "Rod", "Ball", "Ball"]


def test_what_is_stored_is_read_back(shapes: Any) -> None:
    drawing = shapes.model_validate({"shape": {"kind": "rod", "size": 3}, "others": {"a": "ball"}})
    stored = drawing.model_dump_json()
    assert json.loads(stored)["shape"] == {"kind": "rod", "size": 3}
    assert drawing.model_dump(mode="json") == json.loads(stored)
    assert shapes.model_validate_json(stored) == drawing


@pytest.mark.parametrize(
    ("given", "where", "said"),
    [
        ("rood", ("shape",), "unknown shape 'rood'; did you mean rod.*ball, broken, other, rod"),
        ({"kind": "_helper"}, ("shape",), "unknown shape '_helper'"),
        ({"kind": "rod", "size": "x"}, ("shape", "size"), "valid integer"),
        ({"kind": "rod", "sise": 1}, ("shape", "sise"), "not permitted"),
        (3, ("shape",), "section with a kind"),
    ],
)
def test_a_mistake_stands_where_it_was_made(
    shapes: Any, given: object, where: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as raised:
        shapes.model_validate({"shape": given})
    assert [error["loc"] for error in raised.value.errors()] == [where]


def test_a_module_without_its_kind_says_what_is_expected(shapes: Any) -> None:
    with pytest.raises(ConfigError, match=r"other: expected one subclass of Shape .* 'other'"):
        shapes.model_validate({"shape": "other"})


def test_only_the_module_that_is_named_is_imported(shapes: Any) -> None:
    shapes.model_validate({"shape": "rod"})
    assert "shapes_of_a_test.broken" not in sys.modules
    with pytest.raises(ZeroDivisionError):
        shapes.model_validate({"shape": "broken"})


def test_losses_and_negatives_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from pydantic import BaseModel\n"
        "from vitlens_core.losses.base import AnyLoss\n"
        "from pipelines.lens.negatives.base import AnySampling\n"
        "class Both(BaseModel):\n    loss: AnyLoss\n    negatives: AnySampling\n"
        "found = Both(loss='sigmoid', negatives={'kind': 'bank', 'size': 3})\n"
        "assert 'torch' not in sys.modules, [n for n in sys.modules if 'torch' in n]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path.cwd(), check=True)

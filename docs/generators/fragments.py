"""fragments: what pages show of the code, by name.

A page says `<!-- generated: steps -->` where the fragment belongs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from docs.generators.recipes import recipes
from docs.generators.reference import (
    data_sets,
    files,
    formats,
    modalities,
    records,
    run_settings,
)
from docs.generators.tables import first_paragraph, sentence, table
from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.flow import STEPS
from pipelines.registry.gates import non_inferiority, sanity, threshold
from pipelines.registry.gates.base import TIERS
from pipelines.store import home as homes
from vitlens_core.rendering.extensions import EXTENSIONS, Treatment
from workflows.axes import AXES

ROOT = Path(__file__).parents[2]
PACKAGES = ("vitlens_core", "pipelines", "workflows")


def steps() -> str:
    """The steps in order: who makes them, from what, and what they are."""
    rows = [
        (
            f"[`{step.name}`](../reference/formats.md#{step.name})",
            " or ".join(step.inputs) if step.takes_one_input else ", ".join(step.inputs) or "–",
            step.made_by,
            step.description,
        )
        for step in STEPS
    ]
    return table(("step", "reads", "made by", "what it is"), rows)


def axes() -> str:
    """What a sweep can vary."""
    rows = [(f"`{name}`", axis.description, axis.takes) for name, axis in AXES.items()]
    return table(("axis", "what is varied", "what `--values` takes"), rows)


def tiers() -> str:
    """The tiers of gates in the order they are checked."""
    said = {
        "sanity": _said(first_paragraph(sanity)),
        "thresholds": _said(first_paragraph(threshold)),
        "non_inferiority": _said(first_paragraph(non_inferiority)),
        "benchmarks": BENCHMARKS.description,
    }
    rows = [(str(n), tier.replace("_", "-"), said[tier]) for n, tier in enumerate(TIERS)]
    return table(("tier", "name", "what it asks"), rows)


def extensions() -> str:
    """glTF's extensions by what the reader does about them."""
    rows = [
        (sentence(treatment.value), ", ".join(f"`{n}`" for n in names))
        for treatment in Treatment
        if (names := sorted(n for n, of in EXTENSIONS.items() if of is treatment))
    ]
    return table(("treatment", "extensions"), rows)


def tree() -> str:
    """Folders and modules with the first line of what they say of themselves."""
    lines = [line for package in PACKAGES for line in _described(ROOT / package, 0)]
    width = max(len(name) for name, _ in lines) + 2
    shown = (f"{name:<{width}}{words}".rstrip() for name, words in lines)
    return "```text\n" + "\n".join(shown) + "\n```\n"


def home() -> str:
    """The folders of a home, as the code has them."""
    drawn = (inspect.getdoc(homes) or "").split("\n\n")[1]
    return f"```text\n{textwrap.dedent(drawn)}\n```\n"


def _described(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    """A package, then its packages; two levels below the first."""
    yield "  " * depth + folder.name + "/", _first_line(folder / "__init__.py")
    if depth == 2:
        return
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").is_file():
            yield from _described(inner, depth + 1)


def _first_line(path: Path) -> str:
    return _said((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0])


def _said(line: str) -> str:
    """`gates: the thresholds …` without the name."""
    head, colon, rest = line.partition(": ")
    return sentence(rest if colon and head.isidentifier() else line)


_MADE = (steps, axes, tiers, extensions, tree, home)
_OF_REFERENCE = (run_settings, modalities, recipes, data_sets, files, formats, records)
FRAGMENTS: Mapping[str, Callable[[], str]] = {
    made.__name__: made for made in (*_MADE, *_OF_REFERENCE)
}

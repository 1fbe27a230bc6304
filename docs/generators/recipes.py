"""recipes: the published recipes in tables."""

from __future__ import annotations

import json

from docs.generators.tables import table
from workflows.recipes import OURS, Recipe
from workflows.recipes import recipes as published


def recipes() -> str:
    """The published recipes: what each was, and every setting with the place where it stands."""
    parts = []
    for recipe in published():
        parts.append(f"## {recipe.title} {{ #{recipe.modality}-{recipe.name} }}\n")
        facts = (
            ("profile", f"`{recipe.modality}`, `{recipe.name}`"),
            ("code", recipe.code),
            ("where", recipe.command),
            ("reached", recipe.figures),
            ("took", recipe.cost),
            ("training set", f"{recipe.samples:,}: {recipe.samples_from}"),
            ("epochs", _epochs(recipe)),
            ("samples seen", f"{recipe.samples_seen:,}"),
        )
        parts.append(table(("", ""), facts))
        rows = [
            (f"`{path}`", f"`{json.dumps(value)}`", _place(where))
            for path, (value, where) in recipe.settings.items()
        ]
        parts.append(table(("setting", "value", "where it stands"), rows))
    return "\n".join(parts)


def _epochs(recipe: Recipe) -> str:
    again = f", each {recipe.repeat} times through it ({recipe.repeat_from})"
    return f"{recipe.epochs} ({recipe.epochs_from}){again if recipe.repeat > 1 else ''}"


def _place(where: str) -> str:
    return f"**ours:** {where.removeprefix(OURS)}" if where.startswith(OURS) else where

"""recipes: the published recipes as profiles, each setting with the place where it stands.

Reads     `workflows/recipes.yaml`.
Promises  a recipe is a profile like any other of its modality: `vitlens run`, `plan` and `config`
          take its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from pipelines.config import merged
from vitlens_core.errors import ConfigError

FILE = Path(__file__).parent / "recipes.yaml"
OURS = "ours: "  # begins the place of a setting that differs from what was published

Cited = tuple[Any, str]


class Recipe(BaseModel):
    """One published training.

    Attributes:
        samples: of the training set; `repeat` times as many are an epoch.
        settings: by dotted path: the value, and where it stands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="the profile's")
    modality: str
    title: str
    code: str = Field(description="repository and revision")
    command: str = Field(description="where the launch command stands")
    figures: str = Field(description="what was reached")
    cost: str = Field(description="what it took")
    samples: int
    samples_from: str
    repeat: int = 1
    repeat_from: str = ""
    epochs: int
    epochs_from: str = "command: --epochs"
    settings: dict[str, Cited]

    @property
    def samples_seen(self) -> int:
        """Samples of the whole training, the last of an epoch that make no batch left out."""
        batch = self.settings["lens.train.batch_size"][0]
        return self.samples * self.repeat // batch * batch * self.epochs

    def profile(self) -> dict[str, object]:
        """Return the settings as a profile of `defs.yaml`."""
        return merged(_nested(path, value) for path, (value, _) in self.settings.items())


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return all recipes, in the file's order."""
    content = yaml.safe_load(FILE.read_text())
    shared: dict[str, dict[str, Cited]] = content["shared"]
    made = []
    for stated in content["recipes"]:
        own = dict(stated)
        settings: dict[str, Cited] = {}
        for part in own.pop("shares"):
            settings |= shared[part]
        made.append(Recipe.model_validate({**own, "settings": settings | own["settings"]}))
    return tuple(made)


def recipe_profiles(modality: str, own: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return the recipes of a modality as profiles.

    Raises:
        ConfigError: a profile of `defs.yaml` has the name of a recipe.
    """
    found = {r.name: r.profile() for r in recipes() if r.modality == modality}
    if twice := found.keys() & own:
        raise ConfigError(f"profiles of {modality}: {', '.join(sorted(twice))} is a recipe's name")
    return found


def _nested(path: str, value: object) -> dict[str, object]:
    """`a.b`, 1 → {"a": {"b": 1}}."""
    first, _, rest = path.partition(".")
    return {first: _nested(rest, value) if rest else value}

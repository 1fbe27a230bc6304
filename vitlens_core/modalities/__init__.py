"""One file per modality, found by its name.

A modality's module holds its name, the extension of its stored signal (`SIGNAL`) and
`Tokenizer`: a frozen settings model that prepares and augments stored signals and builds
the tokenizer module. Nothing is registered anywhere: Ray workers import by name too.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from vitlens_core.errors import ConfigError


def names() -> list[str]:
    """The modalities that exist."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a modality; `ConfigError` names those that exist."""
    if name not in names():
        raise ConfigError(f"unknown modality {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")

"""Data sets in their published layouts, one module each, found by name.

A module holds one subclass of `SourceSettings` whose `kind` is the module's name. Nothing is
registered anywhere: a new data set is a new module.
"""

from __future__ import annotations

import importlib
import pkgutil
from inspect import getmembers, isclass

from pipelines.source.base import SourceSettings
from vitlens_core.errors import ConfigError, unknown


def kinds() -> list[str]:
    """The data sets that can be read."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(kind: str) -> type[SourceSettings]:
    """The settings of a kind of source (`ConfigError` names those there are)."""
    if kind not in kinds():
        raise ConfigError(unknown("source", kind, kinds()))
    module = importlib.import_module(f"{__name__}.{kind}")
    [settings] = [
        found
        for _, found in getmembers(module, isclass)
        if issubclass(found, SourceSettings) and found.__module__ == module.__name__
    ]
    return settings

"""Data sets in their published layouts, one module each, found by name.

A module holds one subclass of `SourceSettings` whose `kind` is the module's name. Nothing is
registered anywhere: a new data set is a new module.
"""

from __future__ import annotations

from typing import Annotated

from pipelines.source.base import SourceSettings
from vitlens_core.kinds import OneOf

_SOURCES = OneOf(SourceSettings, "source", __name__)
AnySource = Annotated[SourceSettings, _SOURCES]


def kinds() -> list[str]:
    """The data sets that can be read."""
    return _SOURCES.names()


def load(kind: str) -> type[SourceSettings]:
    """The settings of a kind of source (`ConfigError` names those there are)."""
    return _SOURCES.load(kind)

"""One file per modality, found by its name; `base` says what a modality is.

Each file defines one instance, `MODALITY`. Nothing is registered anywhere: a file that is there
is a modality, on Ray workers too.
"""

from __future__ import annotations

import importlib
import pkgutil

from vitlens_core.errors import ConfigError, unknown
from vitlens_core.modalities.base import AnyLensed, LensedModality, Modality

_NOT_A_MODALITY = "base"


def names() -> list[str]:
    """The modalities that exist."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name != _NOT_A_MODALITY)


def load(name: str) -> Modality:
    """A modality; `ConfigError` names those that exist."""
    if name not in names():
        raise ConfigError(unknown("modality", name, names()))
    modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    assert isinstance(modality, Modality)
    return modality


def lensed() -> list[str]:
    """The modalities that have a tower of their own."""
    return [name for name in names() if isinstance(load(name), LensedModality)]


def rendered() -> list[str]:
    """The modalities that rendered objects give."""
    return [name for name in lensed() if load_lensed(name).renders_as]


def load_lensed(name: str) -> AnyLensed:
    """A modality that has a tower of its own.

    Raises:
        ConfigError: unknown, or encoded by the foundation itself.
    """
    modality = load(name)
    if not isinstance(modality, LensedModality):
        raise ConfigError(
            f"{name!r} is encoded by the foundation itself and has no lens; "
            f"choose from: {', '.join(lensed())}"
        )
    return modality

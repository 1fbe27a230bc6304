"""One file per modality, found by its name; `base` says what a modality is.

Each file defines one instance, `MODALITY`. There is no registry: every file of this folder is a
modality, on Ray workers too.
"""

from __future__ import annotations

import importlib
import pkgutil

from vitlens_core.errors import ConfigError, unknown
from vitlens_core.modalities.base import AnyLensed, LensedModality, Modality

_NOT_A_MODALITY = "base"


def names() -> list[str]:
    """List the modalities that exist."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if name != _NOT_A_MODALITY)


def load(name: str) -> Modality:
    """Load a modality by its name. Raises ConfigError, which names those that exist."""
    if name not in names():
        raise ConfigError(unknown("modality", name, names()))
    modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    assert isinstance(modality, Modality)
    return modality


def lensed() -> list[str]:
    """List the modalities that have a tower of their own."""
    return [name for name in names() if isinstance(load(name), LensedModality)]


def rendered() -> list[str]:
    """List the modalities that can be made from rendered objects."""
    return [name for name in lensed() if load_lensed(name).renders_as]


def load_lensed(name: str) -> AnyLensed:
    """Load a modality that has a tower of its own.

    Raises:
        ConfigError: it is unknown, or the foundation encodes it itself.
    """
    modality = load(name)
    if not isinstance(modality, LensedModality):
        raise ConfigError(
            f"{name!r} is encoded by the foundation itself and has no lens; "
            f"choose from: {', '.join(lensed())}"
        )
    return modality

"""One file per modality, found by its name.

Every module states `NAME`, `WORD` (in metric names), `TEMPLATES` (prompts for a class),
`ENCODER`, and how to `read` a file into a raw array.

    ENCODER = "lens"        perceived through tokenizer and lens. `Tokenizer` holds its settings
                            (see `vitlens_core.signals.settings`), `SIGNAL` the extension of its
                            stored signal, `LENS` and `TRUNK` the settings ViT-Lens trained with
    ENCODER = "foundation"  image, video and text: the foundation's own. `store` checks one raw
                            input, `embed` passes a batch of them through the foundation

Nothing is registered anywhere: Ray workers import by name too.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from vitlens_core.errors import ConfigError


def names() -> list[str]:
    """The modalities that exist."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a modality; `ConfigError` names those that exist."""
    if name not in names():
        raise ConfigError(f"unknown modality {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def lensed() -> list[str]:
    """The modalities that are perceived through a lens."""
    return [name for name in names() if load(name).ENCODER == "lens"]


def load_lensed(name: str) -> Any:
    """The module of a modality that is perceived through a lens.

    Raises:
        ConfigError: unknown, or encoded by the foundation itself.
    """
    module = load(name)
    if module.ENCODER != "lens":
        raise ConfigError(
            f"{name!r} is encoded by the foundation itself and has no lens; "
            f"choose from: {', '.join(lensed())}"
        )
    return module

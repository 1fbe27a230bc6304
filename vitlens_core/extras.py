"""Imports what an extra brings, or says which extra to install."""

from __future__ import annotations

import importlib
from typing import Any

from vitlens_core.errors import ConfigError


def require(module: str, extra: str, what: str) -> Any:
    """Import a module of an extra when it is used.

    Args:
        what: what needs it, the subject of the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs {error.name or module}: pip install 'vitlens[{extra}]'"
        ) from error

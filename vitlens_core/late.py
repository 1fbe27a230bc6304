"""torch as a module that is imported when it is first used.

Settings are checked without it: its import takes seconds.

    from vitlens_core.late import torch

    def scaled(self, rows: torch.Tensor) -> torch.Tensor:   # annotations stay text
        return torch.exp(rows)                              # imports torch
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Late(ModuleType):
    """Stands for a module; unlike `importlib.util.LazyLoader` it is not in `sys.modules`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
else:
    torch = _Late("torch")
    F = _Late("torch.nn.functional")

"""Stand-ins for torch, torchaudio and the tokenizers, imported when they are first used.

Their import takes seconds, and the settings of all modalities are checked without them.

    from vitlens_core.late import torch

    def prepare(self, signals: torch.Tensor) -> torch.Tensor:   # annotations stay text
        return torch.flip(signals, [1])                         # imports torch
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Late(ModuleType):
    """Stands in for a module until one of its names is used."""

    # Not `importlib.util.LazyLoader`, which puts the unloaded module into `sys.modules`, where
    # other packages take it for torch.

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    import torchaudio.functional as audio
    from torchaudio.compliance import kaldi

    from vitlens_core.models import tokenizers
else:
    torch = _Late("torch")
    F = _Late("torch.nn.functional")
    audio = _Late("torchaudio.functional")
    kaldi = _Late("torchaudio.compliance.kaldi")
    tokenizers = _Late("vitlens_core.models.tokenizers")


# For a process that imports them all before it gives up its rights.
NAMES = (
    "torch",
    "torch.nn.functional",
    "torchaudio.functional",
    "torchaudio.compliance.kaldi",
    "vitlens_core.models.tokenizers",
)

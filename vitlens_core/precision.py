"""Which arithmetic is fast here: bf16 where the processor multiplies it natively, else fp32.

A CPU without AMX emulates bf16 some hundred times slower than fp32, so it is never assumed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """The autocast context for `precision` on `device`; `auto` is bf16 only where it is native."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bf16()
    enabled = precision == "bf16" or (precision == "auto" and native)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _cpu_multiplies_bf16() -> bool:
    return torch.cpu._is_amx_tile_supported()

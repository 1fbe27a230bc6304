"""Which arithmetic is fast here: bf16 where the processor multiplies it natively, else fp32.

A CPU without AMX emulates bf16 some hundred times slower than fp32, and a GPU before Ampere has
none either, so it is never assumed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from vitlens_core.late import torch

Precision = Literal["auto", "fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """The autocast context for `precision` on `device`; `auto` is bf16 only where it is native."""
    native = _gpu_multiplies_bf16() if device.type == "cuda" else _cpu_multiplies_bf16()
    enabled = precision == "bf16" or (precision == "auto" and native)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def tf32(device: torch.device) -> Generator[None]:
    """Products of fp32 matrices with 11 bits of each factor on a GPU: as many as fp16 has."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _gpu_multiplies_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_multiplies_bf16() -> bool:
    return torch.cpu._is_amx_tile_supported()

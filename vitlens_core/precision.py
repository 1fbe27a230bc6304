"""Chooses the fast arithmetic: bf16 where the processor multiplies it natively, else fp32.

bf16 is never assumed: a CPU without AMX emulates it some 300 times slower than fp32 (0.3 against
111 GFLOP/s were measured), and GPUs before Ampere do not multiply it either.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from vitlens_core.late import torch

Precision = Literal["auto", "fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Return the autocast context on `device`."""
    enabled = takes_bf16(precision, device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def takes_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether matrices are multiplied in bf16; `auto` takes it only where it is native."""
    if precision != "auto":
        return precision == "bf16"
    return _gpu_multiplies_bf16() if device.type == "cuda" else _cpu_multiplies_bf16()


def halve_frozen(module: torch.nn.Module) -> None:
    """Store the frozen matrices of linear and attention layers in bf16, in place.

    For a module that runs under `autocast` alone: it would cast them anew in every pass, to the
    same numbers. Norms, biases and embeddings stay fp32, since they are not multiplied in bf16.
    """
    layers = (torch.nn.Linear, torch.nn.MultiheadAttention)
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False) if isinstance(layer, layers) else ():
            if not parameter.requires_grad and parameter.ndim == 2:
                parameter.data = parameter.data.bfloat16()


@contextmanager
def tf32(device: torch.device) -> Generator[None]:
    """Let a GPU multiply fp32 matrices with 11 bits of each factor, as many as fp16 has."""
    # The setting is global: it must not reach what runs afterwards.
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _gpu_multiplies_bf16() -> bool:
    # By default torch says yes to emulation as well.
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_multiplies_bf16() -> bool:
    # torch has no public name for this question.
    return torch.cpu._is_amx_tile_supported()

"""Precision: bf16 where it is asked for or native, fp32 elsewhere."""

from pathlib import Path

import pytest
import torch

from vitlens_core import precision

CPU = torch.device("cpu")


def _product_dtype(asked: precision.Precision) -> torch.dtype:
    with precision.autocast(asked, CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_the_processor(monkeypatch, native):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native)
    assert _product_dtype("auto") == (torch.bfloat16 if native else torch.float32)
    assert _product_dtype("fp32") == torch.float32
    assert _product_dtype("bf16") == torch.bfloat16


def test_the_processor_answers_as_the_kernel_lists_it():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert precision._cpu_multiplies_bf16() == ("amx_tile" in flags)


@pytest.mark.parametrize(("device", "inside"), [("cuda", "high"), ("cpu", "highest")])
def test_tf32_is_for_gpus_and_ends_with_its_block(device: str, inside: str) -> None:
    with precision.tf32(torch.device(device)):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_gpu_that_emulates_bf16_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ampere: asked plainly, torch says yes."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert not precision._gpu_multiplies_bf16()

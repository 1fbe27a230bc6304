"""Precision: bf16 where it is asked for or native, fp32 elsewhere."""

import pytest
import torch

from vitlens_core import precision

CPU = torch.device("cpu")


def _product_dtype(asked: precision.Precision) -> torch.dtype:
    with precision.autocast(asked, CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_the_processor(monkeypatch, native):
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: native)
    assert _product_dtype("auto") == (torch.bfloat16 if native else torch.float32)
    assert _product_dtype("fp32") == torch.float32
    assert _product_dtype("bf16") == torch.bfloat16


def test_the_processor_answers():
    assert precision._cpu_multiplies_bf16() in (True, False)

"""Which device draws. EGL itself is stood in for: this machine has one device."""

from __future__ import annotations

from itertools import islice
from typing import Any

import moderngl
import pytest

from vitlens_core.errors import ConfigError
from vitlens_core.rendering import is_software
from vitlens_core.rendering.opengl import cuda_numbers, in_order, open_context, renderer_name


@pytest.mark.parametrize(
    ("visible", "cuda", "expected"),
    [
        ("", [], [0, 1, 2]),
        ("", [0, 1, None], [0, 1, 2]),
        ("1", [0, 1, None], [1, 0, 2]),
        ("2,3", [3, 2, 1], [1, 0, 2]),
        ("GPU-8f1c", [0, 1], [0, 1, 2]),
    ],
)
def test_a_worker_tries_its_own_gpu_first(
    visible: str, cuda: list[int | None], expected: list[int]
) -> None:
    assert list(islice(in_order(visible, cuda), 3)) == expected


def test_the_first_device_that_opens_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create(device_index: int, **_settings: Any) -> str:
        asked.append(device_index)
        if device_index < 2:
            raise Exception("eglInitialize failed")
        return f"context {device_index}"

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(moderngl, "create_context", create)
    assert open_context() == "context 2"
    assert asked == [0, 1, 2]


def test_a_machine_whose_devices_are_all_closed_says_so_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create(device_index: int, **_settings: Any) -> None:
        ended = "requested device index 2, but found 2 devices"
        raise Exception("eglInitialize failed" if device_index < 2 else ended)

    monkeypatch.setattr(moderngl, "create_context", create)
    with pytest.raises(ConfigError, match=r"device 0: eglInitialize.*device 1: .*graphics"):
        open_context()


def test_what_draws_says_its_name() -> None:
    context = open_context()
    name = renderer_name(context)
    context.release()
    assert ", OpenGL " in name
    assert is_software("llvmpipe (LLVM 15.0.6, 256 bits), OpenGL 4.5")
    assert not is_software("NVIDIA H100 80GB HBM3/PCIe/SSE2, OpenGL 4.6.0 NVIDIA 550.54")
    assert len(cuda_numbers()) >= 1

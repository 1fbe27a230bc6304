"""Examples that modalities are held to the contracts with, found by the modality's name.

A modality's test, `tests/vitlens_core/modalities/test_<name>.py`, states its `EXAMPLE`. A modality
without a test is held to the same contracts at its default sizes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, reduce
from importlib.util import find_spec
from typing import Any

import numpy as np

from tests.tiny_models import LENS
from vitlens_core import modalities
from vitlens_core.models.tower_settings import TowerSettings

Rng = np.random.Generator

# As many patches as the tiny trunk has positions, as wide as it is.
SQUARE = {"side_px": 16}
PATCHES = {"patch_px": 4, "width": 24}


@dataclass(frozen=True)
class Example:
    """A modality's example.

    Attributes:
        signal, tokenizer, lens: settings of a tiny tower; unused for modalities that the
            foundation encodes.
        raw: draws one raw recording; the modality's own `example()`, shuffled, where unset.
        refused: raw recordings of the right type that `store` must refuse at these sizes.
        malformed: ten or more: what is wrong, a raw array or a `File`, and a pattern of what the
            error must say, at the modality's default sizes.
    """

    signal: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    lens: dict[str, Any] = field(default_factory=lambda: LENS)
    raw: Callable[[Rng], Any] | None = None
    refused: tuple[Any, ...] = ()
    malformed: tuple[tuple[str, Any, str], ...] = ()


def stated_in(name: str) -> str:
    """Where a modality's example is looked for."""
    return f"tests.vitlens_core.modalities.test_{name}"


@cache
def example(name: str) -> Example:
    """What the modality's test states, or the default sizes."""
    if find_spec(stated_in(name)) is None:
        return Example()
    return importlib.import_module(stated_in(name)).EXAMPLE


def tower_settings(name: str, **changes: Any) -> TowerSettings:
    """A tower of the modality's example, small enough for `TinyFoundation`."""
    sizes = example(name)
    stated = {"signal": sizes.signal, "tokenizer": sizes.tokenizer, "lens": sizes.lens}
    return TowerSettings.of(name, **(stated | changes))


def raws(name: str, count: int, seed: int = 0) -> list[Any]:
    """`count` different raw recordings of a modality."""
    rng = np.random.default_rng(seed)
    draw = example(name).raw or shuffled(name)
    return [draw(rng) for _ in range(count)]


def noise(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def between_0_and_1(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.random(shape, dtype=np.float32)


def pixels(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.integers(256, size=shape, dtype=np.uint8)


def shuffled(name: str) -> Callable[[Rng], np.ndarray]:
    """The modality's example, its long axes in another order: no value leaves its range."""
    made_up = modalities.load_lensed(name).Signal(**example(name).signal).example()
    long = [axis for axis, size in enumerate(made_up.shape) if 2 * size >= max(made_up.shape)]

    def draw(rng: Rng) -> np.ndarray:
        return reduce(lambda array, axis: rng.permuted(array, axis=axis), long, made_up)

    return draw

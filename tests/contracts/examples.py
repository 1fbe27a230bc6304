"""One small example per modality: sizes, raw recordings, and raw ones to refuse.

A new modality adds its example here and is tested by every contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.tiny_models import LENS, TOKENIZER

Rng = np.random.Generator

# As many patches as the tiny trunk has positions, as wide as it is.
_PATCHES = {"side_px": 16, "patch_px": 4, "width": 24}


@dataclass(frozen=True)
class Example:
    """A modality's example.

    Attributes:
        raw: draws one raw recording.
        refused: raw recordings of the right type that `store` must refuse.
        tokenizer, lens: settings of a tiny tower; empty for modalities the foundation encodes.
    """

    raw: Callable[[Rng], Any]
    refused: tuple[Any, ...]
    tokenizer: dict[str, Any] = field(default_factory=dict)
    lens: dict[str, Any] = field(default_factory=lambda: LENS)


def _noise(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.normal(size=shape).astype(np.float32)


def _between_0_and_1(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.random(shape, dtype=np.float32)


def _pixels(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.integers(256, size=shape, dtype=np.uint8)


def _sentence(rng: Rng) -> str:
    return " ".join(rng.choice(["a", "red", "chair", "lamp", "small"], size=4))


EXAMPLES = {
    "audio": Example(
        raw=_noise(4000),
        refused=(np.zeros(4000), np.ones(100), np.ones((2, 4000))),
        tokenizer={"clips": 2, "clip_s": 0.1, "mel_bins": 16, "frames": 16}
        | {"patch": 6, "stride": 4, "width": 10},
    ),
    "depth": Example(
        raw=_between_0_and_1(20, 30),
        refused=(np.full((20, 30), -1.0), np.ones((20, 30, 1)), np.ones((0, 30))),
        tokenizer=_PATCHES,
        lens={"kind": "identity"},
    ),
    "eeg": Example(
        raw=_noise(4, 500),
        refused=(np.ones((4, 500)), np.ones((3, 500)), np.ones((4, 100))),
        tokenizer={"channels": 4, "length": 32, "window": 4, "stride": 4, "width": 10},
    ),
    "image": Example(
        raw=_pixels(20, 30, 3),
        refused=(np.ones((20, 30, 3), np.float32), np.ones((20, 30, 4), np.uint8)),
    ),
    "imu": Example(
        raw=_noise(6, 60),
        refused=(np.full((6, 60), 1e6), np.ones((3, 60)), np.ones((6, 10))),
        tokenizer={"length": 40, "window": 8, "width": 10},
    ),
    "point_cloud": Example(
        raw=_between_0_and_1(60, 6),
        refused=(np.ones((60, 6)), np.ones((60, 4)), np.full((60, 6), 2.0) * np.eye(60, 6)),
        tokenizer=TOKENIZER,
    ),
    "tactile": Example(
        raw=_pixels(20, 30, 3),
        refused=(np.ones((20, 30, 3), np.float32), np.ones((20, 30), np.uint8)),
        tokenizer=_PATCHES,
        lens={"kind": "identity"},
    ),
    "text": Example(raw=_sentence, refused=("", " \n", "\ud800")),
    "thermal": Example(
        raw=_between_0_and_1(20, 30),
        refused=(np.full((20, 30), 37.0), np.ones((20, 30, 3)), np.full((20, 30), -0.5)),
        tokenizer=_PATCHES,
        lens={"kind": "identity"},
    ),
    "video": Example(
        raw=_pixels(3, 20, 30, 3),
        refused=(np.ones((3, 20, 30, 3), np.float32), np.ones((20, 30, 3), np.uint8)),
    ),
}


def raws(name: str, count: int, seed: int = 0) -> list[Any]:
    """`count` different raw recordings of a modality."""
    rng = np.random.default_rng(seed)
    return [EXAMPLES[name].raw(rng) for _ in range(count)]

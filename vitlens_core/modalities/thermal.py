"""Thermal: infrared pictures of one channel.

Raw: brightness [H, W] in 0..1, cold to hot over a range the caller states. Stored: its middle
square [S, S]. The tower sees it normalised to −1..1. Augmentation is our own choice.

Axes: B batch, H height, W width, S side.
Source: ImageBind (arXiv 2305.05665) §3.2 and appendix B.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings, TrunkSettings
from vitlens_core.readers.arrays import read_array
from vitlens_core.readers.formats import ARRAYS, PICTURES, identify
from vitlens_core.readers.pictures import read_counts
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.pictures import square_map


class ThermalSignal(SignalConfig):
    """The middle square of a thermal picture."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, -1)

    side_px: int = Field(224, ge=14, description="side of the stored square")

    def example(self) -> np.ndarray:
        """Return a picture that grows warmer from left to right."""
        return np.linspace(0, 1, 320, dtype=np.float32)[None].repeat(240, axis=0)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Resize the middle of brightness [H, W] in 0..1 to float32 [S, S]. Raises InputError."""
        values = raw_numbers(raw, "thermal brightness", "H", "W")
        if values.min() < 0 or values.max() > 1:
            raise InputError(
                f"expected thermal brightness in 0..1, found {values.min()}..{values.max()}; "
                "scale it by the range of the camera"
            )
        return square_map(values, self.side_px)


class ThermalTokenizer(TokenizerConfig[ThermalSignal]):
    """Patches of one channel with a positional table of their own."""

    patch_px: int = Field(14, ge=1, description="side of a patch")
    width: int = Field(1024, ge=1, description="width of a token, equal to the trunk's")

    def build(self, signal: ThermalSignal) -> tokenizers.PatchTokenizer:
        size = (signal.side_px, signal.side_px)
        return tokenizers.PatchTokenizer(
            width=self.width, patch=self.patch_px, size=size, in_channels=1
        )

    def prepare(self, signals: torch.Tensor, signal: ThermalSignal) -> torch.Tensor:
        """Scale [B, S, S] in 0..1 to [B, 1, S, S] in −1..1."""
        return _checked(signals, signal)[:, None] * 2 - 1

    def augment(
        self, signals: torch.Tensor, signal: ThermalSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Prepare [B, S, S] as [B, 1, S, S], as if the camera's range (gain, offset) were another.

        The geometry stays: the targets belong to the RGB picture as it is.
        """
        shape = (len(signals), 1, 1)
        gain = generator.uniform(0.8, 1.25, *shape)
        offset = generator.uniform(-0.1, 0.1, *shape)
        return self.prepare((_checked(signals, signal) * gain + offset).clamp(0, 1), signal)


def _checked(signals: torch.Tensor, signal: ThermalSignal) -> torch.Tensor:
    return batch_of_numbers(signals, "thermal brightness", signal.side_px, signal.side_px)


class Thermal(LensedModality[ThermalSignal]):
    """Thermal: infrared pictures of one channel."""

    name = "thermal"
    metric_prefix = "thermal"
    templates = (
        "{}",
        "a thermal image of {}.",
        "an infrared photo of {}.",
        "a thermal photo of {}.",
        "{} seen by a thermal camera.",
        "the heat of {}.",
    )
    signal_file = "thermal.npy"
    takes = (*PICTURES, *ARRAYS)
    Signal = ThermalSignal
    Tokenizer = ThermalTokenizer
    lens = LensSettings(kind="identity")
    trunk = TrunkSettings(unlock_first=4)

    def read(
        self, path: str | Path, *, coldest: float | None = None, hottest: float | None = None
    ) -> np.ndarray:
        """Read brightness [H, W] in 0..1 from a one-channel picture or an array.

        Args:
            coldest, hottest: the numbers in the file that become 0 and 1 (counts or degrees). By
                default 0 and 255 for an 8-bit picture; other files need both.

        Raises:
            InputError: the file cannot be read, has colours, or its range is needed and missing.
        """
        # A range is never guessed from a picture's extremes: equal heat would get other numbers.
        path, content = identify(path, self.takes, "a thermal picture")
        stored = read_array(path) if content in ARRAYS else read_counts(path)
        if coldest is None and hottest is None and stored.dtype == np.uint8:
            coldest, hottest = 0, 255
        if coldest is None or hottest is None or not coldest < hottest:
            raise InputError(
                f"{path} holds {stored.dtype}: state its coldest and hottest numbers, "
                f"found coldest={coldest}, hottest={hottest}"
            )
        values = raw_numbers(stored, "a thermal picture", "H", "W")
        return np.clip((values - coldest) / (hottest - coldest), 0, 1)


MODALITY = Thermal()

"""IMU: accelerometer and gyroscope, 5 s at 400 Hz.

Raw: [6, time] at 400 Hz, acceleration in m/s² on x, y, z, then angular rate in rad/s. Stored:
its middle 5 s [6, 2000]. Augmentation is our own choice.

Axes: B batch.
Source: ImageBind (arXiv 2305.05665) §3.2 and appendix B (Ego4D).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.models.tokenizers import SeriesTokenizer
from vitlens_core.readers.arrays import read_array
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import middle, resampled
from vitlens_core.signals.settings import SignalSettings

NAME = "imu"
WORD = "imu"
SIGNAL = "imu.npy"
ENCODER = "lens"
TEMPLATES = (
    "{}",
    "a person doing {}.",
    "the movement of {}.",
    "a motion recording of {}.",
    "somebody is busy with {}.",
)
LENS = {"depth": 2}
TRUNK: dict[str, object] = {}

RATE_HZ = 400.0
CHANNELS = 6
G_M_S2 = 9.80665  # for recordings in g
_LARGEST = 1e4  # beyond any sensor: raw counts rather than m/s² and rad/s


def read(path: str | Path, *, rate_hz: float = RATE_HZ) -> np.ndarray:
    """[6, time] at 400 Hz of an array file, channels first, or a CSV of 6 columns.

    Args:
        rate_hz: the rate of the file.

    Raises:
        InputError: unreadable, another number of channels, or a rate that is not positive.
    """
    stored = read_array(path)
    if Path(path).suffix.lower() == ".csv":
        stored = stored.T
    return at_400_hz(stored, rate_hz)


def at_400_hz(series: np.ndarray, rate_hz: float) -> np.ndarray:
    """A series [6, time] of another rate as `encode` and `store` take it."""
    return resampled(raw_numbers(series, "an IMU series", CHANNELS, "time"), rate_hz, RATE_HZ)


class Tokenizer(SignalSettings):
    """Windows of all channels."""

    raw_shape: ClassVar[tuple[int, ...]] = (CHANNELS, -1)

    length: int = Field(2000, ge=1, description="samples at 400 Hz")
    window: int = Field(8, ge=1, description="samples of a token")
    width: int = Field(512, ge=1, description="width of a token")

    def build(self) -> SeriesTokenizer:
        return SeriesTokenizer(
            width=self.width,
            in_channels=CHANNELS,
            length=self.length,
            window=self.window,
            stride=self.window,
        )

    def example(self) -> np.ndarray:
        """Five seconds of swinging: each channel a sine of its own rate."""
        time_s = np.arange(round(5 * RATE_HZ)) / RATE_HZ
        return np.sin(np.arange(1, CHANNELS + 1)[:, None] * time_s).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """[6, time] at 400 Hz → float32 [6, length]. Raises InputError, on raw counts too."""
        series = raw_numbers(raw, "an IMU series", CHANNELS, "time")
        if np.abs(series).max() > _LARGEST:
            raise InputError(
                f"expected m/s² and rad/s, found {np.abs(series).max():.3g}: raw counts of the "
                "sensor? Multiply them by its scale"
            )
        return middle(series, self.length, "an IMU series at 400 Hz")

    def prepare(self, signals: Tensor) -> Tensor:
        """[B, 6, length] → same, as float32."""
        return batch_of_numbers(signals, "IMU series", CHANNELS, self.length)

    def augment(self, signals: Tensor, generator: torch.Generator) -> Tensor:
        """[B, 6, length] → same: gain of each sensor axis, noise of 2 % of its spread."""
        series = self.prepare(signals)
        gain = torch.empty(len(series), CHANNELS, 1).uniform_(0.9, 1.1, generator=generator)
        spread = series.std(dim=-1, keepdim=True)
        return series * gain + 0.02 * spread * torch.randn(series.shape, generator=generator)

"""EEG: 128 channels while a picture is seen.

Raw: [128, time] at 1 kHz from the moment the picture appears. Stored: samples 20 to 459. The
tower sees them stretched linearly to 512. Augmentation is our own choice.

Axes: B batch, C channels.
Source: ViT-Lens (arXiv 2311.16081) §4.1 (ImageNet-EEG).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import F, tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings
from vitlens_core.readers.arrays import read_array
from vitlens_core.readers.formats import ARRAYS
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import resampled

RATE_HZ = 1000.0
# The window that the authors of ImageNet-EEG use; the last sample is excluded.
FIRST_SAMPLE, LAST_SAMPLE = 20, 460


def at_1_khz(series: np.ndarray, rate_hz: float) -> np.ndarray:
    """Resample a series [C, time] to the rate that `store` takes."""
    return resampled(raw_numbers(series, "an EEG series", "C", "time"), rate_hz, RATE_HZ)


class EegSignal(SignalConfig):
    """The 440 samples of every channel while the picture is seen."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, -1)

    channels: int = Field(128, ge=1, description="electrodes")

    def example(self) -> np.ndarray:
        """Return half a second of alpha waves (10 Hz), each channel a little later."""
        time_s = np.arange(round(0.5 * RATE_HZ)) / RATE_HZ
        phase = np.linspace(0, np.pi, self.channels)[:, None]
        return np.sin(2 * np.pi * 10 * time_s - phase).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Cut a series [C, time] at 1 kHz to float32 [C, 440].

        Raises:
            InputError: another number of channels, fewer than 460 samples, numbers that are not
                finite, or constant channels only.
        """
        series = raw_numbers(raw, "an EEG series", self.channels, "time")
        if series.shape[1] < LAST_SAMPLE:
            raise InputError(
                f"expected {LAST_SAMPLE} samples or more at {RATE_HZ:.0f} Hz, "
                f"found {series.shape[1]}"
            )
        window = series[:, FIRST_SAMPLE:LAST_SAMPLE]
        if not np.ptp(window, axis=1).any():
            raise InputError("expected an EEG recording, found constant channels only")
        # A copy: a view would keep the whole recording in memory.
        return np.ascontiguousarray(window)


class EegTokenizer(TokenizerConfig[EegSignal]):
    """Windows of all channels."""

    length: int = Field(512, ge=1, description="samples to which the stored ones are stretched")
    window: int = Field(1, ge=1, description="samples of a token")
    stride: int = Field(1, ge=1, description="samples between tokens")
    width: int = Field(1024, ge=1, description="width of a token")

    def build(self, signal: EegSignal) -> tokenizers.SeriesTokenizer:
        return tokenizers.SeriesTokenizer(
            width=self.width,
            in_channels=signal.channels,
            length=self.length,
            window=self.window,
            stride=self.stride,
        )

    def prepare(self, signals: torch.Tensor, signal: EegSignal) -> torch.Tensor:
        """Stretch [B, C, 440] linearly to [B, C, length]."""
        samples = LAST_SAMPLE - FIRST_SAMPLE
        series = batch_of_numbers(signals, "EEG series", signal.channels, samples)
        return F.interpolate(series, size=self.length, mode="linear")

    def augment(
        self, signals: torch.Tensor, signal: EegSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Prepare with one gain per recording, noise, and one electrode in ten silent."""
        series = self.prepare(signals, signal)
        batch, channels, _ = series.shape
        gain = generator.uniform(0.9, 1.1, batch, 1, 1)
        heard = generator.rand(batch, channels, 1) >= 0.1
        spread = series.std(dim=-1, keepdim=True)
        noisy = series + 0.05 * spread * generator.randn(*series.shape)
        return noisy * gain * heard


class Eeg(LensedModality[EegSignal]):
    """EEG: 128 channels while a picture is seen."""

    name = "eeg"
    metric_prefix = "eeg"
    templates = ("an image of {}.",)
    signal_file = "eeg.npy"
    takes = ARRAYS
    Signal = EegSignal
    Tokenizer = EegTokenizer
    lens = LensSettings(depth=1)

    def read(self, path: str | Path, *, rate_hz: float = RATE_HZ) -> np.ndarray:
        """Read an array file, channels first, as [C, time] at 1 kHz.

        Args:
            rate_hz: the rate of the file.

        Raises:
            InputError: the file cannot be read, has not two axes, or the rate is not positive.
        """
        return at_1_khz(read_array(path), rate_hz)


MODALITY = Eeg()

"""Audio: recordings as log-mel spectrograms of a few clips.

Raw: mono waveform [time] at 16 kHz. Stored: log-mel spectrograms [S, frames, M] of S clips
spread evenly over it. The tower sees them normalised and averages the clips' embeddings before
normalising; training sees one clip, masked, rolled and noisy.

Axes: B batch, S clips, M mel bins.
Source: ViT-Lens (arXiv 2311.16081) §4.1; AST (arXiv 2104.01778).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.models.tokenizers import SpectrogramTokenizer
from vitlens_core.readers.sounds import read_waveform
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import resampled
from vitlens_core.signals.settings import SignalSettings
from vitlens_core.signals.spectrograms import log_mel, masked, rolled, spread_clips

NAME = "audio"
WORD = "audio"
SIGNAL = "log_mel.npy"
ENCODER = "lens"
TEMPLATES = (
    "{}",
    "a sound of {}.",
    "the sound of {}.",
    "a recording of {}.",
    "an audio clip of {}.",
    "this is how {} sounds.",
    "{} can be heard.",
    "i hear {}.",
)
LENS = {"depth": 2, "self_per_cross": 3}
TRUNK: dict[str, object] = {}

RATE_HZ = 16_000
_SHORTEST_S = 0.05
_LONGEST_BAND_BINS, _LONGEST_SPAN_FRAMES = 12, 48
_MOST_ROLLED_FRAMES = 10


def read(path: str | Path) -> np.ndarray:
    """Mono waveform [time] at 16 kHz of a WAV, FLAC, OGG or MP3. Raises InputError."""
    waveform, rate_hz = read_waveform(path)
    return at_16_khz(waveform, rate_hz)


def at_16_khz(waveform: np.ndarray, rate_hz: float) -> np.ndarray:
    """A mono waveform [time] of another rate as `encode` and `store` take it."""
    return resampled(raw_numbers(waveform, "a mono waveform", "time"), rate_hz, RATE_HZ)


class Tokenizer(SignalSettings):
    """Overlapping patches over a log-mel spectrogram."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1,)
    in_clips: ClassVar[bool] = True

    clips: int = Field(3, ge=1, description="clips per recording, spread evenly")
    clip_s: float = Field(5.0, gt=0, description="length of a clip")
    mel_bins: int = Field(128, ge=1)
    frames: int = Field(512, ge=1, description="frames of 10 ms; missing ones are 0")
    mean: float = Field(-4.2677, description="of the training set's spectrograms")
    std: float = Field(4.5690, gt=0)
    patch: int = Field(14, ge=1, description="mel bins and frames of a patch")
    stride: int = Field(10, ge=1, description="mel bins and frames between patches")
    width: int = Field(1024, ge=1, description="width of a token")

    def build(self) -> SpectrogramTokenizer:
        return SpectrogramTokenizer(
            width=self.width,
            patch=self.patch,
            mel_bins=self.mel_bins,
            frames=self.frames,
            stride=(self.stride, self.stride),
        )

    def example(self) -> np.ndarray:
        """A second of concert pitch."""
        time_s = np.arange(RATE_HZ) / RATE_HZ
        return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Waveform [time] at 16 kHz → log-mel [S, frames, M] float32.

        A recording shorter than a clip is repeated.

        Raises:
            InputError: not one channel, shorter than 50 ms, silent, not finite.
        """
        waveform = raw_numbers(raw, "a mono waveform", "time")
        if len(waveform) < _SHORTEST_S * RATE_HZ:
            raise InputError(
                f"expected a waveform of {_SHORTEST_S} s or more at {RATE_HZ} Hz, "
                f"found {len(waveform)} samples"
            )
        if not waveform.any():
            raise InputError("expected a sound, found silence: every sample is 0")
        samples = round(self.clip_s * RATE_HZ)
        clips = spread_clips(waveform, samples, self.clips)
        return log_mel(clips, RATE_HZ, self.mel_bins, self.frames)

    def prepare(self, signals: Tensor) -> Tensor:
        """[B, S, frames, M] → same, normalised."""
        size = ("S", self.frames, self.mel_bins)
        return (batch_of_numbers(signals, "log-mel clips", *size) - self.mean) / self.std

    def augment(self, signals: Tensor, generator: torch.Generator) -> Tensor:
        """[B, S, frames, M] → one clip of each [B, 1, frames, M], masked, rolled and noisy."""
        clips = self.prepare(signals)
        batch, count = clips.shape[:2]
        chosen = torch.randint(count, (batch,), generator=generator)
        clip = clips[torch.arange(batch), chosen]
        clip = masked(clip, _LONGEST_BAND_BINS, _LONGEST_SPAN_FRAMES, generator)
        loudness = torch.rand(batch, 1, 1, generator=generator) / 10
        clip = clip + loudness * torch.rand(clip.shape, generator=generator)
        return rolled(clip, _MOST_ROLLED_FRAMES, generator)[:, None]

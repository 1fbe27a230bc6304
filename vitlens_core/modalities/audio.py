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
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.models.settings import LensSettings
from vitlens_core.readers.sounds import read_waveform
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import resampled
from vitlens_core.signals.spectrograms import log_mel, masked, rolled, spread_clips

RATE_HZ = 16_000
_SHORTEST_S = 0.05
_LONGEST_BAND_BINS, _LONGEST_SPAN_FRAMES = 12, 48
_MOST_ROLLED_FRAMES = 10


def at_16_khz(waveform: np.ndarray, rate_hz: float) -> np.ndarray:
    """A mono waveform [time] of another rate as `store` takes it."""
    return resampled(raw_numbers(waveform, "a mono waveform", "time"), rate_hz, RATE_HZ)


class AudioSignal(SignalConfig):
    """Log-mel spectrograms of clips."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1,)
    in_clips: ClassVar[bool] = True

    clips: int = Field(3, ge=1, description="clips per recording, spread evenly")
    clip_s: float = Field(5.0, gt=0, description="length of a clip")
    mel_bins: int = Field(128, ge=1, description="bands of a spectrogram")
    frames: int = Field(512, ge=1, description="frames of 10 ms; missing ones are 0")

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


class AudioTokenizer(TokenizerConfig[AudioSignal]):
    """Overlapping patches over a normalised log-mel spectrogram."""

    mean: float = Field(-4.2677, description="of the training set's spectrograms")
    std: float = Field(4.5690, gt=0, description="of the training set's spectrograms")
    patch: int = Field(14, ge=1, description="mel bins and frames of a patch")
    stride: int = Field(10, ge=1, description="mel bins and frames between patches")
    width: int = Field(1024, ge=1, description="width of a token")

    def build(self, signal: AudioSignal) -> tokenizers.SpectrogramTokenizer:
        return tokenizers.SpectrogramTokenizer(
            width=self.width,
            patch=self.patch,
            mel_bins=signal.mel_bins,
            frames=signal.frames,
            stride=(self.stride, self.stride),
        )

    def prepare(self, signals: torch.Tensor, signal: AudioSignal) -> torch.Tensor:
        """[B, S, frames, M] → same, normalised."""
        size = ("S", signal.frames, signal.mel_bins)
        return (batch_of_numbers(signals, "log-mel clips", *size) - self.mean) / self.std

    def augment(
        self, signals: torch.Tensor, signal: AudioSignal, generator: torch.Generator
    ) -> torch.Tensor:
        """[B, S, frames, M] → one clip of each [B, 1, frames, M], masked, rolled and noisy."""
        clips = self.prepare(signals, signal)
        batch, count = clips.shape[:2]
        chosen = torch.randint(count, (batch,), generator=generator)
        clip = clips[torch.arange(batch), chosen]
        clip = masked(clip, _LONGEST_BAND_BINS, _LONGEST_SPAN_FRAMES, generator)
        loudness = torch.rand(batch, 1, 1, generator=generator) / 10
        clip = clip + loudness * torch.rand(clip.shape, generator=generator)
        return rolled(clip, _MOST_ROLLED_FRAMES, generator)[:, None]


class Audio(LensedModality[AudioSignal]):
    """Audio: recordings as log-mel spectrograms of a few clips."""

    name = "audio"
    metric_prefix = "audio"
    templates = (
        "{}",
        "a sound of {}.",
        "the sound of {}.",
        "a recording of {}.",
        "an audio clip of {}.",
        "this is how {} sounds.",
        "{} can be heard.",
        "i hear {}.",
    )
    signal_file = "log_mel.npy"
    Signal = AudioSignal
    Tokenizer = AudioTokenizer
    lens = LensSettings(depth=2, self_per_cross=3)

    def read(self, path: str | Path) -> np.ndarray:
        """Mono waveform [time] at 16 kHz of a WAV, FLAC, OGG or MP3. Raises InputError."""
        waveform, rate_hz = read_waveform(path)
        return at_16_khz(waveform, rate_hz)


MODALITY = Audio()

"""Audio: recordings as log-mel spectrograms of a few clips.

Raw: mono waveform [time] at 16 kHz. Stored: log-mel spectrograms [S, frames, M] of S clips
spread evenly over it. The tower sees normalised spectrograms, and averages the clips' embeddings
before it normalises them. Training sees one clip, masked, rolled and with noise.

Axes: B batch, S clips, M mel bins.
Source: ViT-Lens (arXiv 2311.16081) §4.1; AST (arXiv 2104.01778).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings
from vitlens_core.readers.formats import SOUNDS
from vitlens_core.readers.sounds import Channel, read_waveform
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import resampled
from vitlens_core.signals.spectrograms import log_mel, masked, rolled, spread_clips

RATE_HZ = 16_000
_SHORTEST_S = 0.05


def at_16_khz(waveform: np.ndarray, rate_hz: float) -> np.ndarray:
    """Resample a mono waveform [time] to the rate that `store` takes."""
    return resampled(raw_numbers(waveform, "a mono waveform", "time"), rate_hz, RATE_HZ)


class AudioSignal(SignalConfig):
    """Log-mel spectrograms of clips."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1,)
    in_clips: ClassVar[bool] = True

    clips: int = Field(3, ge=1, description="clips per recording, spread evenly")
    clip_s: float = Field(5.0, gt=0, description="length of a clip")
    mel_bins: int = Field(128, ge=1, description="bands of a spectrogram")
    frames: int = Field(512, ge=1, description="frames of 10 ms per clip; missing ones are 0")
    short: Literal["pad", "repeat"] = Field(
        "pad",
        description="a recording shorter than a clip is followed by empty frames (AST, ImageBind), "
        "or repeated (ViT-Lens)",
    )

    def example(self) -> np.ndarray:
        """Return a second of concert pitch (440 Hz)."""
        time_s = np.arange(RATE_HZ) / RATE_HZ
        return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Turn a waveform [time] at 16 kHz into log-mel spectrograms [S, frames, M] float32.

        Raises:
            InputError: it has several channels, is shorter than 50 ms, silent or not finite.
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
        clips = spread_clips(waveform, samples, self.clips, repeat=self.short == "repeat")
        return log_mel(clips, RATE_HZ, self.mel_bins, self.frames)


class AudioTokenizer(TokenizerConfig[AudioSignal]):
    """Overlapping patches over a normalised log-mel spectrogram."""

    mixes: ClassVar[bool] = True

    mean: float = Field(-4.2677, description="mean of the training set's spectrograms")
    std: float = Field(4.5690, gt=0, description="deviation of the training set's spectrograms")
    patch: int = Field(14, ge=1, description="side of a patch, in mel bins and frames")
    stride: int = Field(10, ge=1, description="step between patches, in mel bins and frames")
    width: int = Field(1024, ge=1, description="width of a token")
    # SpecAugment masks one band of mel bins and one span of frames, of random widths.
    mask_bins: int = Field(12, ge=0, description="widest band that training masks, in mel bins")
    mask_frames: int = Field(48, ge=0, description="longest span that training masks, in frames")
    noise: float = Field(
        0.1, ge=0, description="loudest uniform noise in training, in deviations of a spectrogram"
    )
    roll_frames: int = Field(10, ge=0, description="most frames that training rolls a clip by")

    def build(self, signal: AudioSignal) -> tokenizers.SpectrogramTokenizer:
        return tokenizers.SpectrogramTokenizer(
            width=self.width,
            patch=self.patch,
            mel_bins=signal.mel_bins,
            frames=signal.frames,
            stride=(self.stride, self.stride),
        )

    def prepare(self, signals: torch.Tensor, signal: AudioSignal) -> torch.Tensor:
        """Normalise stored clips [B, S, frames, M]."""
        size = ("S", signal.frames, signal.mel_bins)
        return (batch_of_numbers(signals, "log-mel clips", *size) - self.mean) / self.std

    def augment(
        self, signals: torch.Tensor, signal: AudioSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Draw one clip of each recording, mask, add noise and roll: [B, 1, frames, M]."""
        clips = self.prepare(signals, signal)
        batch, count = clips.shape[:2]
        chosen = generator.randint(0, count, batch)
        clip = clips[torch.arange(batch, device=clips.device), chosen]
        clip = masked(clip, self.mask_bins, self.mask_frames, generator)
        # As in AST: uniform noise whose strength is drawn for each clip.
        loudness = generator.rand(batch, 1, 1) * self.noise
        clip = clip + loudness * generator.rand(*clip.shape)
        return rolled(clip, self.roll_frames, generator)[:, None]

    def mix(
        self, signals: torch.Tensor, others: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        """Mix log-mel clips [B, S, frames, M] as if the waveforms, at shares [B], were added.

        Powers add where waveforms do, since two recordings have no phase in common.
        """
        share = shares.view(-1, 1, 1, 1).to(signals.dtype)
        # A waveform's share is squared in its power.
        together = torch.logaddexp(signals + 2 * share.log(), others + 2 * torch.log1p(-share))
        # Missing frames are 0: where one of the two lacks a frame, it is the other's.
        of_one = torch.where(signals == 0, others, signals)
        return torch.where((signals == 0) | (others == 0), of_one, together)


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
    takes = SOUNDS
    Signal = AudioSignal
    Tokenizer = AudioTokenizer
    lens = LensSettings(depth=2, self_per_cross=3)

    def read(self, path: str | Path, *, channel: Channel = "mean") -> np.ndarray:
        """Read a sound as a mono waveform [time] at 16 kHz.

        Args:
            channel: `mean` of all channels, or the number of one, counted from 0.

        Raises:
            InputError: the file cannot be read, or lacks the channel.
        """
        waveform, rate_hz = read_waveform(path, channel)
        return at_16_khz(waveform, rate_hz)


MODALITY = Audio()

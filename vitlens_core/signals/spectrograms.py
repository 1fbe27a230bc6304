"""Turns waveforms into log-mel spectrograms, and augments these.

Axes: B batch, S clips, M mel bins.
Source: AST (arXiv 2104.01778) §2; SpecAugment (arXiv 1904.08779); ImageBind
(arXiv 2305.05665) appendix B.
"""

from __future__ import annotations

import numpy as np

from vitlens_core.late import F, kaldi, torch
from vitlens_core.row_generator import RowGenerator

_FRAME_SHIFT_MS = 10.0


def spread_clips(waveform: np.ndarray, samples: int, clips: int, *, repeat: bool) -> np.ndarray:
    """Cut [time] into evenly spread clips [S, samples]; a single clip is the middle.

    Args:
        repeat: whether a waveform that is shorter than a clip is repeated to its length;
            otherwise its clips are as short.
    """
    if len(waveform) < samples:
        if not repeat:
            return np.broadcast_to(waveform, (clips, len(waveform)))
        waveform = np.resize(waveform, samples)  # repeats, unlike `ndarray.resize`
    last = len(waveform) - samples
    starts = np.linspace(0, last, clips) if clips > 1 else np.array([last / 2])
    return np.stack([waveform[start : start + samples] for start in starts.astype(int)])


def log_mel(clips: np.ndarray, rate_hz: int, mel_bins: int, frames: int) -> np.ndarray:
    """Turn waveforms [S, samples] into log-mel spectrograms [S, frames, M] float32.

    They are Kaldi filter banks of Hanning windows of 25 ms every 10 ms, without dither; the mean
    of each waveform is subtracted. Missing frames at the end are 0, surplus ones are cut off.
    """
    waveforms = torch.from_numpy(np.ascontiguousarray(clips, dtype=np.float32))
    waveforms = waveforms - waveforms.mean(dim=1, keepdim=True)
    banks = torch.stack([_bank(waveform, rate_hz, mel_bins) for waveform in waveforms])[:, :frames]
    return F.pad(banks, (0, 0, 0, frames - banks.shape[1])).numpy()


def _bank(waveform: torch.Tensor, rate_hz: int, mel_bins: int) -> torch.Tensor:
    # The arguments of AST. Without dither, which is noise, equal recordings give equal bytes.
    return kaldi.fbank(
        waveform[None],
        htk_compat=True,
        sample_frequency=float(rate_hz),
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mel_bins,
        dither=0.0,
        frame_shift=_FRAME_SHIFT_MS,
    )


def masked(
    spectrograms: torch.Tensor, mel_bins: int, frames: int, generator: RowGenerator
) -> torch.Tensor:
    """Set a band and a span of [B, frames, M] to 0, of random widths up to those given."""
    bands = _random_span(spectrograms, 2, mel_bins, generator)[:, None, :]
    spans = _random_span(spectrograms, 1, frames, generator)[:, :, None]
    return spectrograms.masked_fill(bands | spans, 0.0)


def rolled(spectrograms: torch.Tensor, frames: int, generator: RowGenerator) -> torch.Tensor:
    """Shift [B, frames, M] along time, in a circle, by up to `frames` in either direction."""
    length = spectrograms.shape[1]
    shift = generator.randint(-frames, frames + 1, len(spectrograms), 1)
    index = (torch.arange(length, device=shift.device) + shift) % length
    return spectrograms.gather(1, index[..., None].expand_as(spectrograms))


def _random_span(x: torch.Tensor, axis: int, longest: int, generator: RowGenerator) -> torch.Tensor:
    """Draw a mask [B, size of the axis] per sample, true on a span of 0..longest."""
    batch, size = len(x), x.shape[axis]
    length = generator.randint(0, min(longest, size) + 1, batch, 1)
    start = (generator.rand(batch, 1) * (size - length + 1)).long()
    position = torch.arange(size, device=x.device)
    return (position >= start) & (position < start + length)

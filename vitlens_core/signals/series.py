"""Resamples time series to the rate a tower was trained at, and cuts them.

Axes: C channels (any leading axes), time in samples.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.late import audio, torch

# Rates that differ by less than this share count as equal: clocks are no more exact.
_RATE_TOLERANCE = 1e-4
# The resampling filter grows with the terms of the fraction of the two rates.
_LARGEST_RATIO = 20_000


def resampled(series: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample along the last axis, band-limited: [..., time] → [..., ⌈time × to ÷ from⌉].

    Raises:
        InputError: the rate is not a positive number.
    """
    if not (np.isfinite(from_hz) and from_hz > 0):
        raise InputError(f"expected a sampling rate in Hz above 0, found {from_hz}")
    if abs(from_hz / to_hz - 1) < _RATE_TOLERANCE:
        return series
    ratio = (Fraction(from_hz) / Fraction(to_hz)).limit_denominator(_LARGEST_RATIO)
    tensor = torch.from_numpy(np.ascontiguousarray(series, dtype=np.float32))
    result = audio.resample(tensor, ratio.numerator, ratio.denominator)
    return result.numpy()


def middle(series: np.ndarray, samples: int, what: str) -> np.ndarray:
    """Cut the middle `samples` along the last axis.

    Raises:
        InputError: the series is shorter.
    """
    length = series.shape[-1]
    if length < samples:
        raise InputError(f"expected {what} of at least {samples} samples, found {length}")
    start = (length - samples) // 2
    return series[..., start : start + samples]

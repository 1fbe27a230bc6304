"""Time series: resampling to the rate a tower was trained at, and cutting.

Axes: C channels (any leading axes), time in samples.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.late import audio, torch

# Rates closer than this, as a share, are the same clock.
_RATE_TOLERANCE = 1e-4
_LARGEST_RATIO = 20_000


def resampled(series: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Band-limited resampling along the last axis: [..., time] → [..., ⌈time × to ÷ from⌉].

    Raises:
        InputError: a rate that is not a positive number.
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
    """The middle `samples` along the last axis.

    Raises:
        InputError: the series is shorter.
    """
    found = series.shape[-1]
    if found < samples:
        raise InputError(f"expected {what} of at least {samples} samples, found {found}")
    start = (found - samples) // 2
    return series[..., start : start + samples]

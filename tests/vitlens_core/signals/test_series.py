"""Series: rates."""

import numpy as np
import pytest

from vitlens_core.errors import InputError
from vitlens_core.signals.series import resampled


def test_rates_that_agree_leave_the_series_alone():
    series = np.random.default_rng(0).normal(size=(2, 30))
    assert resampled(series, 400.01, 400) is series


def test_resampling_refuses_what_is_no_rate():
    for rate_hz in (0, -5, float("inf"), float("nan")):
        with pytest.raises(InputError, match="sampling rate in Hz above 0"):
            resampled(np.ones(10), rate_hz, 400)

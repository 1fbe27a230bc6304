"""IMU and EEG: rates, channels, windows."""

import numpy as np
import pytest
import torch

from vitlens_core.errors import InputError
from vitlens_core.modalities import eeg, imu
from vitlens_core.signals.series import resampled

TIME_S = np.arange(2000) / 400
RNG = np.random.default_rng(0)


def _motion(rate_hz: float, seconds: float) -> np.ndarray:
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.stack([np.sin(2 * np.pi * (1 + c) * time_s) for c in range(6)])


@pytest.mark.parametrize("rate_hz", [50, 98.3, 200, 1000])
def test_imu_of_any_rate_becomes_400_hz(tmp_path, rate_hz):
    np.save(tmp_path / "a.npy", _motion(rate_hz, 6))
    series = imu.read(tmp_path / "a.npy", rate_hz=rate_hz)
    assert series.shape[1] == pytest.approx(2400, abs=10)
    middle = slice(200, 2200)  # the filter rings at the ends
    np.testing.assert_allclose(series[:, middle], _motion(400, 6)[:, middle], atol=0.03)


def test_a_csv_has_one_sample_per_line(tmp_path):
    motion = _motion(400, 5)
    np.savetxt(tmp_path / "a.csv", motion.T, delimiter=",")
    np.testing.assert_allclose(imu.read(tmp_path / "a.csv"), motion, atol=1e-6)


def test_the_middle_five_seconds_are_kept():
    raw = np.tile(np.arange(2400, dtype=np.float32), (6, 1))
    np.testing.assert_array_equal(imu.Tokenizer().store(raw)[0], np.arange(200, 2200))


def test_rates_that_agree_leave_the_series_alone():
    series = RNG.normal(size=(2, 30))
    assert resampled(series, 400.01, 400) is series


def test_resampling_refuses_what_is_no_rate():
    for rate_hz in (0, -5, float("inf"), float("nan")):
        with pytest.raises(InputError, match="sampling rate in Hz above 0"):
            resampled(np.ones(10), rate_hz, 400)


def test_eeg_is_cut_to_20_to_460_and_stretched_linearly_to_512():
    raw = np.tile(np.arange(500, dtype=np.float32), (128, 1))
    stored = eeg.Tokenizer().store(raw)
    np.testing.assert_array_equal(stored[0], np.arange(20, 460))
    seen = eeg.Tokenizer().prepare(torch.from_numpy(stored)[None])
    position = (torch.arange(512) + 0.5) * 440 / 512 - 0.5
    assert seen.shape == (1, 128, 512)
    torch.testing.assert_close(seen[0, 5], 20 + position.clamp(0, 439), atol=1e-3, rtol=0)


def test_eeg_of_another_rate_becomes_1_khz(tmp_path):
    np.save(tmp_path / "a.npy", RNG.normal(size=(4, 250)))
    assert eeg.read(tmp_path / "a.npy", rate_hz=500).shape == (4, 500)

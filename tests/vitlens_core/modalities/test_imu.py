"""IMU: rates, files, windows."""

import numpy as np
import pytest

from tests.contracts.examples import Example, noise
from tests.contracts.malformed import file_of_array, file_of_bytes, no_file, with_one
from vitlens_core.modalities import imu

IMU = np.random.default_rng(0).normal(size=(6, 2400)).astype(np.float32)

EXAMPLE = Example(
    raw=noise(6, 60),
    refused=(np.full((6, 60), 1e6), np.ones((3, 60)), np.ones((6, 10))),
    signal={"length": 40},
    tokenizer={"window": 8, "width": 10},
    malformed=(
        ("absent", no_file("a.npy"), "found nothing"),
        ("words", file_of_bytes("a.csv", b"ax,ay,az\n"), "found a header alone"),
        ("no line", file_of_bytes("a.csv", b"# nothing\n"), "found no line"),
        ("rate 0", file_of_array("a.npy", IMU, rate_hz=0), "above 0, found 0"),
        ("rate NaN", file_of_array("a.npy", IMU, rate_hz=float("nan")), "found nan"),
        ("time first", IMU.T, r"\[6, time\], found \[2400, 6\]"),
        ("accelerometer only", IMU[:3], r"found \[3, 2400\]"),
        ("too short", IMU[:, :1999], "at least 2000 samples, found 1999"),
        ("raw counts", IMU * 1e5, "raw counts"),
        ("infinite", with_one(np.inf, IMU), "NaN or infinite"),
    ),
)


def _motion(rate_hz: float, seconds: float) -> np.ndarray:
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.stack([np.sin(2 * np.pi * (1 + c) * time_s) for c in range(6)])


@pytest.mark.parametrize("rate_hz", [50, 98.3, 200, 1000])
def test_imu_of_any_rate_becomes_400_hz(tmp_path, rate_hz):
    np.save(tmp_path / "a.npy", _motion(rate_hz, 6))
    series = imu.MODALITY.read(tmp_path / "a.npy", rate_hz=rate_hz)
    assert series.shape[1] == pytest.approx(2400, abs=10)
    middle = slice(200, 2200)  # the filter rings at the ends
    np.testing.assert_allclose(series[:, middle], _motion(400, 6)[:, middle], atol=0.03)


def test_a_csv_has_one_sample_per_line(tmp_path):
    motion = _motion(400, 5)
    np.savetxt(tmp_path / "a.csv", motion.T, delimiter=",")
    np.testing.assert_allclose(imu.MODALITY.read(tmp_path / "a.csv"), motion, atol=1e-6)


def test_the_middle_five_seconds_are_kept():
    raw = np.tile(np.arange(2400, dtype=np.float32), (6, 1))
    np.testing.assert_array_equal(imu.ImuSignal().store(raw)[0], np.arange(200, 2200))

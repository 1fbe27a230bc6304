"""IMU: accelerometer and gyroscope, 5 s at 400 Hz.

Raw: [6, time] at 400 Hz, acceleration in m/s² on x, y, z, then angular rate in rad/s. Stored:
its middle 5 s [6, 2000]. Augmentation is our own choice.

Axes: B batch.
Source: ImageBind (arXiv 2305.05665) §3.2 and appendix B (Ego4D).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vitlens_core.errors import InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings
from vitlens_core.readers.arrays import Table, read_array, read_table
from vitlens_core.readers.formats import ARRAYS, TABLE, identify
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.series import middle, resampled

RATE_HZ = 400.0
CHANNELS = 6
G_M_S2 = 9.80665  # for recordings in g
# No sensor measures as much in m/s² or rad/s; larger numbers are raw counts.
_LARGEST = 1e4


def at_400_hz(series: np.ndarray, rate_hz: float) -> np.ndarray:
    """Resample a series [6, time] to the rate that `store` takes."""
    return resampled(raw_numbers(series, "an IMU series", CHANNELS, "time"), rate_hz, RATE_HZ)


class ImuSignal(SignalConfig):
    """The middle of a recording, all channels."""

    raw_shape: ClassVar[tuple[int, ...]] = (CHANNELS, -1)

    length: int = Field(2000, ge=1, description="samples at 400 Hz")

    def example(self) -> np.ndarray:
        """Return five seconds of swinging: each channel is a sine of its own rate."""
        time_s = np.arange(round(5 * RATE_HZ)) / RATE_HZ
        return np.sin(np.arange(1, CHANNELS + 1)[:, None] * time_s).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Cut [6, time] at 400 Hz to its middle, float32 [6, length]. Raises InputError."""
        series = raw_numbers(raw, "an IMU series", CHANNELS, "time")
        if np.abs(series).max() > _LARGEST:
            raise InputError(
                f"expected m/s² and rad/s, found {np.abs(series).max():.3g}; if these are the "
                "sensor's raw counts, multiply them by its scale"
            )
        return middle(series, self.length, "an IMU series at 400 Hz")


class ImuTokenizer(TokenizerConfig[ImuSignal]):
    """Windows of all channels."""

    window: int = Field(8, ge=1, description="samples of a token")
    width: int = Field(512, ge=1, description="width of a token")

    def build(self, signal: ImuSignal) -> tokenizers.SeriesTokenizer:
        return tokenizers.SeriesTokenizer(
            width=self.width,
            in_channels=CHANNELS,
            length=signal.length,
            window=self.window,
            stride=self.window,
        )

    def prepare(self, signals: torch.Tensor, signal: ImuSignal) -> torch.Tensor:
        """Check stored series [B, 6, length] and return them as float32."""
        return batch_of_numbers(signals, "IMU series", CHANNELS, signal.length)

    def augment(
        self, signals: torch.Tensor, signal: ImuSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Scale each sensor axis of [B, 6, length] and add noise of 2 % of its deviation."""
        series = self.prepare(signals, signal)
        gain = generator.uniform(0.9, 1.1, len(series), CHANNELS, 1)
        spread = series.std(dim=-1, keepdim=True)
        return series * gain + 0.02 * spread * generator.randn(*series.shape)


class Imu(LensedModality[ImuSignal]):
    """IMU: accelerometer and gyroscope, 5 s at 400 Hz."""

    name = "imu"
    metric_prefix = "imu"
    templates = (
        "{}",
        "a person doing {}.",
        "the movement of {}.",
        "a motion recording of {}.",
        "somebody is busy with {}.",
    )
    signal_file = "imu.npy"
    takes = ARRAYS
    Signal = ImuSignal
    Tokenizer = ImuTokenizer
    lens = LensSettings(depth=2)

    def read(self, path: str | Path, *, rate_hz: float = RATE_HZ) -> np.ndarray:
        """Read an array file, channels first, or a table of a line per sample: [6, time] at 400 Hz.

        A table without names has 6 columns; with names, they tell which column is which.

        Args:
            rate_hz: the rate of the file.

        Raises:
            InputError: the file cannot be read, has other channels, or the rate is not positive.
        """
        path, content = identify(path, self.takes, "an IMU series")
        if content is not TABLE:
            return at_400_hz(read_array(path), rate_hz)
        return at_400_hz(_channels(path, read_table(path)), rate_hz)


_AXIS = re.compile(r"(acc?|accel\w*|g|gyro?\w*|angular\w*|linear\w*)[ _.]?(x|y|z)", re.IGNORECASE)


def _channels(path: Path, table: Table) -> np.ndarray:
    """Return the six channels of a table in our order, [6, time]."""
    if table.names is None:
        return table.values.T
    columns: dict[str, int] = {}
    for number, name in enumerate(table.names):
        # Units in brackets, as in `gyro_x (rad/s)`, are no part of the name.
        plain = re.sub(r"[(\[].*", "", name).strip()
        match = _AXIS.fullmatch(plain) or re.fullmatch(r"(a|g|w)(x|y|z)", plain, re.IGNORECASE)
        if match:
            kind = "acc" if match[1].lower()[0] in "al" and match[1].lower()[:2] != "an" else "gyro"
            columns.setdefault(f"{kind}{match[2].lower()}", number)
    wanted = [kind + axis for kind in ("acc", "gyro") for axis in "xyz"]
    if missing := [name for name in wanted if name not in columns]:
        raise InputError(
            f"{path}: its columns are named {', '.join(table.names)}; expected ax, ay, az, gx, gy, "
            f"gz or the like, found none for {', '.join(missing)}"
        )
    return table.values[:, [columns[name] for name in wanted]].T


MODALITY = Imu()

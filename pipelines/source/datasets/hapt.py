"""HAPT: a phone on the waist, twelve activities and changes of posture.

Reads     labels.txt, activity_labels.txt and the two lists of subjects; later rows of RawData.
Promises  acceleration in m/s² and angular rate in rad/s at 400 Hz; a person is in one split.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.splits import Split
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities.base import Modality
from vitlens_core.modalities.imu import G_M_S2, at_400_hz
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import existing

RATE_HZ = 50.0
_LICENCE = "CC BY 4.0 (UCI); the README in the archive forbids commercial use"
_CREATOR = "Reyes-Ortiz, Oneto, Samà, Parra, Anguita"


class Stretch(NamedTuple):
    """One row of labels.txt: rows `first` to `last` of a recording, inclusive, counted from 1."""

    experiment: int
    user: int
    activity: int
    first: int
    last: int


class Hapt(SourceSettings):
    """UCI "Smartphone-Based Recognition of Human Activities and Postural Transitions" 2.1.

    Layout (unpack "HAPT Data Set.zip"; `root` is the folder that holds):

        activity_labels.txt               1 WALKING … 12 LIE_TO_STAND
        RawData/labels.txt                experiment user activity first last: 1,214 rows
        RawData/acc_expXX_userYY.txt      x y z in g, 50 Hz
        RawData/gyro_expXX_userYY.txt     x y z in rad/s, 50 Hz
        Train/subject_id_train.txt        a user per published window: 21 people
        Test/subject_id_test.txt          9 people

    Licence: CC BY 4.0 on UCI's page (doi 10.24432/C54G7M); the README inside forbids commercial
    use. Source: Reyes-Ortiz et al., "Transition-Aware Human Activity Recognition Using
    Smartphones", Neurocomputing 2015.

    Protocol: the published split by person. Published figures use filtered windows of 2.56 s; here
    a labelled stretch is cut into windows of `window_s`. A shorter stretch (changes of posture
    mostly last 2 to 7 s) gives one window around its middle, with the surrounding samples. There
    are no images, only labels.
    """

    modalities: ClassVar[tuple[str, ...]] = ("imu",)

    kind: Literal["hapt"] = "hapt"
    window_s: float = Field(5.0, gt=0, description="length of a window")
    stride_s: float = Field(2.5, ge=0.02, description="between windows of one stretch")

    def pairs(self) -> Iterator[Pair]:
        """Windows in the order of labels.txt. Raises ConfigError."""
        folder = self.folder()
        words = _activities(folder / "activity_labels.txt")
        sides = _sides(folder)
        stretches = _stretches(folder / "RawData" / "labels.txt", words)
        _agree({stretch.user for stretch in stretches}, set(sides))
        samples = max(1, round(self.window_s * RATE_HZ))
        for stretch in stretches:
            recording = f"exp{stretch.experiment:02d}_user{stretch.user:02d}.txt"
            for index, first in enumerate(self._window_starts(stretch, samples)):
                yield Pair(
                    key=f"exp{stretch.experiment:02d}-{stretch.first:05d}-{index:02d}",
                    signal=f"RawData/acc_{recording}",
                    reader_options={
                        "gyroscope": f"RawData/gyro_{recording}",
                        "first": first,
                        "samples": samples,
                    },
                    label=words[stretch.activity],
                    split=sides[stretch.user],
                    group=f"user {stretch.user}",
                    name=f"{words[stretch.activity]}, user {stretch.user}",
                    licence=_LICENCE,
                    creator=_CREATOR,
                )

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """[6, time] at 400 Hz, acceleration first. Raises InputError."""
        first, samples = pair.reader_options["first"], pair.reader_options["samples"]
        acceleration = _rows(self.place(pair.signal), first, samples) * G_M_S2
        rotation = _rows(self.place(pair.reader_options["gyroscope"]), first, samples)
        return at_400_hz(np.concatenate([acceleration, rotation], axis=1).T, RATE_HZ)

    def _window_starts(self, stretch: Stretch, samples: int) -> list[int]:
        """First rows, counted from 1, of a stretch's windows."""
        if spare := max(0, samples - (stretch.last - stretch.first + 1)):
            return [max(1, stretch.first - spare // 2)]
        stride = round(self.stride_s * RATE_HZ)
        return list(range(stretch.first, stretch.last - samples + 2, stride))


def _activities(path: Path) -> dict[int, str]:
    words: dict[int, str] = {}
    for line, fields in _lines(path):
        if len(fields) != 2 or not fields[0].isdigit() or int(fields[0]) in words:
            raise ConfigError(
                f"{path}, line {line}: expected a new number and a name, found {' '.join(fields)!r}"
            )
        words[int(fields[0])] = fields[1].replace("_", " ").lower()
    return words


def _sides(folder: Path) -> dict[int, Split]:
    train, test = (folder / side / f"subject_id_{side.lower()}.txt" for side in ("Train", "Test"))
    learners = {row[0] for _, row in _integers(train, 1)}
    sides: dict[int, Split] = dict.fromkeys(learners, "train")
    for line, (user,) in _integers(test, 1):
        if user in learners:
            raise ConfigError(f"{test}, line {line}: user {user} is in {train} too")
        sides[user] = "test"
    return sides


def _stretches(path: Path, words: dict[int, str]) -> list[Stretch]:
    stretches: list[Stretch] = []
    users: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for line, row in _integers(path, len(Stretch._fields)):
        stretch = Stretch(*row)
        where = f"{path}, line {line}:"
        if stretch.activity not in words:
            raise ConfigError(
                f"{where} activity {stretch.activity} is none of activity_labels.txt "
                f"({', '.join(map(str, words))})"
            )
        if not 1 <= stretch.first <= stretch.last:
            raise ConfigError(
                f"{where} expected 1 ≤ first ≤ last sample, found {stretch.first}..{stretch.last}"
            )
        if users.setdefault(stretch.experiment, stretch.user) != stretch.user:
            raise ConfigError(
                f"{where} experiment {stretch.experiment} is of user "
                f"{users[stretch.experiment]} above, of user {stretch.user} here"
            )
        if (place := (stretch.experiment, stretch.first)) in seen:
            raise ConfigError(
                f"{where} experiment {stretch.experiment} already has a row from sample "
                f"{stretch.first}"
            )
        seen.add(place)
        stretches.append(stretch)
    return stretches


def _agree(recorded: set[int], listed: set[int]) -> None:
    """The people of labels.txt and of the two lists must be the same."""
    if missing := recorded - listed:
        raise ConfigError(
            f"RawData/labels.txt has users that neither Train/subject_id_train.txt nor "
            f"Test/subject_id_test.txt names: {sorted(missing)}"
        )
    if idle := listed - recorded:
        raise ConfigError(
            f"the lists of subjects name users without a row in RawData/labels.txt: {sorted(idle)}"
        )


def _integers(path: Path, columns: int) -> Iterator[tuple[int, list[int]]]:
    for line, fields in _lines(path):
        if len(fields) != columns or not all(field.isdigit() for field in fields):
            raise ConfigError(
                f"{path}, line {line}: expected {columns} whole numbers, found {' '.join(fields)!r}"
            )
        yield line, [int(field) for field in fields]


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return numbered lines, split at blanks, without empty lines."""
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}; name the folder that holds RawData")
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    numbered = [(number, line.split()) for number, line in lines if line.strip()]
    if not numbered:
        raise ConfigError(f"{path} is empty")
    return numbered


def _rows(path: Path, first: int, count: int) -> np.ndarray:
    """Rows first..first + count − 1 of a file of three columns, counted from 1: [count, 3]."""
    existing(path, "a recording of three columns")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about no rows, which is refused below
            rows = np.loadtxt(path, skiprows=first - 1, max_rows=count, ndmin=2)
    except ValueError as error:
        raise unreadable(path, "three columns of numbers", error) from error
    if rows.shape != (count, 3):
        raise InputError(
            f"expected rows {first}..{first + count - 1} of three columns in {path}, found "
            f"{rows.shape[0]} rows of {rows.shape[1]} columns"
        )
    return rows

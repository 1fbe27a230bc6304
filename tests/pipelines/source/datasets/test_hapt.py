"""HAPT: labelled stretches cut into windows, the published split, g and rows counted from 1."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.base import Pair
from pipelines.source.datasets.hapt import Hapt, Stretch
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import imu

ACTIVITIES = """\
1 WALKING
2 WALKING_UPSTAIRS
3 WALKING_DOWNSTAIRS
4 SITTING
5 STANDING
6 LAYING
7 STAND_TO_SIT
8 SIT_TO_STAND
9 SIT_TO_LIE
10 LIE_TO_SIT
11 STAND_TO_LIE
12 LIE_TO_STAND
"""
LABELS = "1 1 5 250 1232\n1 1 7 1233 1392\n2 1 1 10 400\n3 2 12 1 100\n"
ROWS = 1500


def write(folder: Path) -> Path:
    """Three recordings of two people; row i of a recording holds i, in thousandths."""
    for name in ("RawData", "Train", "Test"):
        (folder / name).mkdir(parents=True)
    padded = "".join(f"{line:<24}\n" for line in ACTIVITIES.splitlines())
    (folder / "activity_labels.txt").write_text(padded)
    (folder / "RawData" / "labels.txt").write_text(LABELS)
    (folder / "Train" / "subject_id_train.txt").write_text("1\n1\n1\n")
    (folder / "Test" / "subject_id_test.txt").write_text("2\n2\n")
    row = np.arange(1, ROWS + 1) / 1000
    for recording in ("exp01_user01", "exp02_user01", "exp03_user02"):
        raw = folder / "RawData"
        np.savetxt(raw / f"acc_{recording}.txt", np.stack([row, 0 * row, 0 * row + 1], 1))
        np.savetxt(raw / f"gyro_{recording}.txt", np.stack([-row, 0 * row, 0 * row + 2], 1))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hapt"))


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "hapt"))


def _pairs(folder: Path) -> list[Pair]:
    return list(Hapt(root=str(folder)).pairs())


def test_a_pair_states_everything(written: Path) -> None:
    pair = _pairs(written)[1]
    assert pair == Pair(
        key="exp01-00250-01",
        signal="RawData/acc_exp01_user01.txt",
        reader_options={
            "gyroscope": "RawData/gyro_exp01_user01.txt",
            "first": 375,
            "samples": 250,
        },
        label="standing",
        split="train",
        group="user 1",
        name="standing, user 1",
        licence=pair.licence,
        creator=pair.creator,
    )
    assert "CC BY 4.0" in str(pair.licence)


def test_long_stretches_give_windows_and_short_ones_give_one(written: Path) -> None:
    pairs = _pairs(written)
    assert Counter((pair.label, pair.split) for pair in pairs) == {
        ("standing", "train"): 6,
        ("stand to sit", "train"): 1,
        ("walking", "train"): 2,
        ("lie to stand", "test"): 1,
    }
    assert len({pair.key for pair in pairs}) == len(pairs)
    # 1233..1392 are 160 rows: 45 of the 90 that lack come before them.
    assert pairs[6].reader_options["first"] == 1188
    assert pairs[-1].reader_options["first"] == 1  # nothing lies before a recording


@given(
    first=st.integers(1, 3000),
    length=st.integers(1, 3000),
    window_s=st.floats(0.1, 20),
    stride_s=st.floats(0.02, 20),
)
def test_windows_stay_inside_or_hold_the_whole_stretch(
    first: int, length: int, window_s: float, stride_s: float
) -> None:
    source = Hapt(root="unused", window_s=window_s, stride_s=stride_s)
    stretch = Stretch(1, 1, 1, first, first + length - 1)
    samples = max(1, round(window_s * 50))
    starts = source._window_starts(stretch, samples)
    assert starts == sorted(set(starts))
    if length >= samples:
        assert starts[0] == first
        assert starts[-1] + samples - 1 <= stretch.last
    else:
        (start,) = starts
        assert 1 <= start <= first
        assert start + samples - 1 >= stretch.last


def test_a_window_holds_its_rows_in_si_units(written: Path) -> None:
    source = Hapt(root=str(written))
    pair = _pairs(written)[1]
    raw = source.read(pair, imu.MODALITY)
    assert raw.shape == (6, 2000)
    middle = slice(400, 1600)  # away from the ends, where resampling rings
    # 400 Hz sample 8k is row 375 + k.
    row = (375 + np.arange(2000) / 8) / 1000
    np.testing.assert_allclose(raw[0, middle], imu.G_M_S2 * row[middle], atol=0.01)
    np.testing.assert_allclose(raw[2, middle], imu.G_M_S2, atol=0.01)
    np.testing.assert_allclose(raw[3, middle], -row[middle], atol=0.001)
    np.testing.assert_allclose(raw[5, middle], 2, atol=0.002)
    stored = imu.ImuSignal().store(raw)
    assert stored.shape == (6, 2000)
    assert stored.dtype == np.float32


def test_rows_beyond_the_recording_are_refused(own: Path) -> None:
    labels = own / "RawData" / "labels.txt"
    labels.write_text(LABELS + "3 2 1 1400 1700\n")
    source = Hapt(root=str(own))
    with pytest.raises(InputError, match=r"rows 1400..1649 of three columns .* found 101 rows"):
        source.read(
            next(p for p in source.pairs() if p.reader_options["first"] == 1400), imu.MODALITY
        )
    labels.write_text(LABELS + "3 2 1 1600 1900\n")
    with pytest.raises(InputError, match="found 0 rows"):
        source.read(
            next(p for p in source.pairs() if p.reader_options["first"] == 1600), imu.MODALITY
        )


@pytest.mark.parametrize("content", ["1 2\n" * 1500, "1 2 three\n" * 1500, ""])
def test_a_damaged_recording_is_refused(own: Path, content: str) -> None:
    source = Hapt(root=str(own))
    pair = next(iter(source.pairs()))
    (own / pair.reader_options["gyroscope"]).write_text(content)
    with pytest.raises(InputError, match=r"gyro_exp01_user01\.txt"):
        source.read(pair, imu.MODALITY)


def _write_labels(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "RawData" / "labels.txt").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "RawData" / "labels.txt").unlink(), r"no file .*labels\.txt"),
        (_write_labels(""), r"labels\.txt is empty"),
        (_write_labels("1 1 5 250\n"), r"line 1: expected 5 whole numbers, found '1 1 5 250'"),
        (_write_labels(LABELS + "1 1 x 2 3\n"), r"line 5: expected 5 whole numbers"),
        (_write_labels(LABELS + "1 1 13 2 3\n"), r"line 5: activity 13 is none of"),
        (_write_labels(LABELS + "1 1 1 9 3\n"), r"line 5: expected 1 ≤ first ≤ last .* 9\.\.3"),
        (_write_labels(LABELS + "1 1 1 0 3\n"), r"line 5: expected 1 ≤ first"),
        (_write_labels(LABELS + "1 2 1 2 3\n"), r"experiment 1 is of user 1 above, of user 2"),
        (
            _write_labels(LABELS + "1 1 5 250 1232\n"),
            r"line 5: .* already has a row from sample 250",
        ),
        (_write_labels(LABELS + "9 7 5 1 9\n"), r"neither .* nor .* names: \[7\]"),
        (
            lambda f: (f / "Train" / "subject_id_train.txt").write_text("1\n8\n"),
            r"without a row in RawData/labels\.txt: \[8\]",
        ),
        (
            lambda f: (f / "Test" / "subject_id_test.txt").write_text("2\n1\n"),
            r"subject_id_test\.txt, line 2: user 1 is in .*subject_id_train\.txt too",
        ),
        (
            lambda f: (f / "Test" / "subject_id_test.txt").write_text("two\n"),
            r"line 1: expected 1 whole numbers, found 'two'",
        ),
        (
            lambda f: (f / "activity_labels.txt").write_text(ACTIVITIES + "1 RUNNING\n"),
            r"line 13: expected a new number and a name, found '1 RUNNING'",
        ),
    ],
)
def test_lists_that_contradict_each_other_are_refused(
    own: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(own)
    with pytest.raises(ConfigError, match=message):
        _pairs(own)


def test_nothing_is_generated() -> None:
    with pytest.raises(ConfigError, match="no generated files for hapt"):
        Hapt(root="generated").generate(Path("unused"))

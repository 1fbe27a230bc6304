"""seglearn's watch recordings: a pinned package, a pickle that may only hold arrays, windows."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipelines.source.base import Pair
from pipelines.source.datasets.seglearn_watch import RECORDINGS, WHEEL, SeglearnWatch, _recordings
from pipelines.store.files import file_entry
from vitlens_core.errors import ConfigError, InputError, IntegrityError, TransientError
from vitlens_core.modalities import imu


def content() -> dict[str, Any]:
    """Three series of 900, 250 and 100 samples; sample i holds i, in thousandths."""
    random = np.random.default_rng(0)
    series = []
    for samples in (900, 250, 100):
        one = random.standard_normal((6, samples)).T  # as published: not contiguous
        one[:, 0] = one[:, 3] = np.arange(samples) / 1000
        series.append(one)
    return {
        "X": series,
        "y": np.array([1, 0, 6]),
        "y_labels": ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"],
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "subject": np.array([7, 7, 3]),
        "side": np.array([1.0, 0.0, 1.0]),
    }


def npy(value: Any) -> bytes:
    """A .npy of one object, pickled as the package's: protocol 2, by numpy 1's names."""
    header, whole = io.BytesIO(), np.empty((), dtype=object)
    whole[()] = value
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(whole))
    pickled = pickle.dumps(whole, protocol=2)
    return header.getvalue() + pickled.replace(b"numpy._core.", b"numpy.core.")


def write(folder: Path, value: Any) -> Path:
    path = folder / RECORDINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(npy(value))
    return folder


def _pairs(folder: Path) -> list[Pair]:
    return list(SeglearnWatch(root=str(folder)).pairs())


def test_every_series_is_cut_into_windows(tmp_path: Path) -> None:
    pairs = _pairs(write(tmp_path, content()))
    assert [pair.key for pair in pairs] == [
        *(f"series-000-{start:05d}" for start in (0, 125, 250, 375, 500, 625)),
        "series-001-00000",
    ]  # the third is shorter than a window
    assert pairs[1] == Pair(
        key="series-000-00125",
        signal=RECORDINGS,
        reader_options={"series": 0, "start": 125, "samples": 250},
        label="abduction",
        group="subject 7",
        name="abduction, subject 7, right arm",
        licence="BSD-3-Clause",
        creator="David M. Burns",
    )
    assert (pairs[-1].label, pairs[-1].name) == ("pendulum", "pendulum, subject 7, left arm")


def test_a_window_holds_its_samples_in_si_units(tmp_path: Path) -> None:
    source = SeglearnWatch(root=str(write(tmp_path, content())))
    raw = source.read(list(source.pairs())[1], imu.MODALITY)
    assert raw.shape == (6, 2000)
    middle = slice(400, 1600)  # away from the ends, where resampling rings
    ramp = (125 + np.arange(2000) / 8) / 1000
    np.testing.assert_allclose(raw[0, middle], imu.G_M_S2 * ramp[middle], atol=0.01)
    np.testing.assert_allclose(raw[3, middle], ramp[middle], atol=0.001)
    assert imu.ImuSignal().store(raw).shape == (6, 2000)


def test_a_pair_of_other_recordings_is_refused(tmp_path: Path) -> None:
    source = SeglearnWatch(root=str(write(tmp_path, content())))
    pair = Pair("k", RECORDINGS, {"series": 2, "start": 0, "samples": 250})
    with pytest.raises(InputError, match=r"samples 0\.\.249 of series 2, found 100"):
        source.read(pair, imu.MODALITY)


class _Harm:
    """What a hostile pickle would run."""

    def __init__(self, call: Callable[..., Any], *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.given


def test_a_pickle_that_would_run_something_is_refused_unrun(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for harm in (_Harm(os.mkdir, str(touched)), _Harm(eval, f"__import__('os').mkdir({touched})")):
        write(tmp_path, content() | {"X": harm})
        _recordings.cache_clear()
        with pytest.raises(ConfigError, match="only arrays are opened"):
            _pairs(tmp_path)
        assert not touched.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X_labels": ["wx", "wy", "wz", "ax", "ay", "az"]}, "expected channels"),
        ({"y_labels": ["PEN", "RUN"]}, "RUN"),
        ({"X": [np.zeros((300, 5))] * 3}, r"expected series \[time, 6\], found \(300, 5\)"),
        ({"X": [np.zeros(300)] * 3}, r"found \(300,\) in series 0"),
        ({"y": np.array([1, 0])}, "expected as many series as labels"),
        ({"y": np.array([1, 0, 7])}, "IndexError"),
    ],
)
def test_another_data_set_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write(tmp_path, content() | changed)
    with pytest.raises(ConfigError, match=rf"not seglearn's watch data set: .*{message}"):
        _pairs(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK" + b, lambda b: npy([1])]
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, content()) / RECORDINGS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match="fetch it by hand"):
        _pairs(tmp_path)


def test_an_array_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, content()) / RECORDINGS
    np.save(path, np.zeros(3))
    with pytest.raises(ConfigError, match="expected one object, found an array"):
        _pairs(tmp_path)


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*watch_dataset\.npy; fetch it by hand"):
        _pairs(tmp_path)


class Registry:
    """Stands in for pip: puts a wheel where it is told to, or fails."""

    def __init__(self, wheel: bytes | None, error: str = "") -> None:
        self.wheel, self.error, self.asked = wheel, error, 0

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.asked += 1
        if self.wheel is None:
            return subprocess.CompletedProcess(command, 1, "", self.error)
        assert command[-1] == "seglearn==1.2.5"
        assert "--no-deps" in command
        Path(command[command.index("--dest") + 1], WHEEL).write_bytes(self.wheel)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _wheel(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("seglearn/__init__.py", "raise RuntimeError('imported')")
        archive.writestr(RECORDINGS, npy(content()))
    return path.read_bytes()


def test_the_package_is_fetched_once(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(_wheel(tmp_path / WHEEL))
    monkeypatch.setattr(subprocess, "run", registry)

    class OfThisWheel(SeglearnWatch):
        sha256: ClassVar[str] = file_entry(tmp_path / WHEEL).sha256

    first, second = list(OfThisWheel().pairs()), list(OfThisWheel().pairs())
    assert len(first) == 7
    assert first == second
    assert registry.asked == 1
    (made,) = (home / "packages").iterdir()  # no scratch is left
    files = [path for path in made.rglob("*") if path.is_file()]
    assert files == [made / RECORDINGS]  # data only, no code
    assert not SeglearnWatch().generated


def test_another_wheel_than_the_pinned_one_is_refused(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Registry(_wheel(tmp_path / WHEEL)))
    with pytest.raises(IntegrityError, match="expected ec6b952c85c9"):
        SeglearnWatch().folder()
    assert list((home / "packages").iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "error", "message"),
    [
        ("No matching distribution found", TransientError, "No matching distribution.* by hand"),
        ("/usr/bin/python: No module named pip", ConfigError, "pip, which is not installed"),
    ],
)
def test_a_package_that_cannot_be_fetched_says_how_to_by_hand(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    stderr: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(subprocess, "run", Registry(None, stderr))
    with pytest.raises(error, match=message):
        SeglearnWatch().folder()
    assert list((home / "packages").iterdir()) == []


def test_a_slow_registry_may_be_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(command: list[str], **given: Any) -> None:
        raise subprocess.TimeoutExpired(command, given["timeout"])

    monkeypatch.setattr(subprocess, "run", too_slow)
    with pytest.raises(TransientError, match="not fetched within 300 s; try again"):
        SeglearnWatch().folder()

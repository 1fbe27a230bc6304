"""Ego4D's IMU: windows around sentences on the wearer, from CSVs with their known faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.source.base import Pair
from pipelines.source.datasets.ego4d_imu import CHANNELS, Ego4dImu, said_of_wearer
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import imu

COOK = "64b355f3-ef49-4990-8621-9e9eef68b495"
WALK = "0a3097fc-baed-4d11-a4c9-30f07eb91af6"
UNFELT = "ffffffff-0000-4000-8000-000000000000"  # has sentences, but no IMU


def _said(second: float, text: str) -> dict[str, Any]:
    uid = "5ebae1a4-8b34-4ee9-9e2d-6a0f6d6e8c0f"
    return {
        "timestamp_sec": second,
        "timestamp_frame": round(30 * second),
        "narration_text": text,
        "annotation_uid": uid,
    }


def _narrated() -> dict[str, Any]:
    cook = [
        _said(1.0, "#C C cuts the onion."),
        _said(6.25, "#O the man Y walks in"),
        _said(6.25, "#C C turns around"),
        _said(6.25, "#C C holds a #unsure"),
        _said(20.0, "#C C drops the knife"),
    ]
    return {
        COOK: {
            "narration_pass_1": {"narrations": cook, "summaries": []},
            "narration_pass_2": {"narrations": [_said(3.0, "#C C chops")], "summaries": []},
            "status": "complete",
        },
        WALK: {"narration_pass_1": {"narrations": [_said(-0.04, "#C C walks")]}},
        UNFELT: {"narration_pass_1": {"narrations": [_said(3.0, "#C C sits")]}},
    }


def table(length_s: float = 12.0, seed: int = 0) -> pd.DataFrame:
    """201 Hz with jitter; accl_x counts the seconds, gyro_z counts them backwards."""
    random = np.random.default_rng(seed)
    time_ms = np.arange(0, length_s * 1000, 1000 / 201) + random.uniform(-0.5, 0.5)
    columns = dict.fromkeys(CHANNELS, np.ones_like(time_ms))
    columns |= {"accl_x": time_ms / 1000, "gyro_z": -time_ms / 1000}
    order = ["gyro_x", "gyro_y", "gyro_z", "accl_x", "accl_y", "accl_z"]
    return pd.DataFrame(
        {
            "component_idx": 0,
            "component_timestamp_ms": time_ms + 133,
            "canonical_timestamp_ms": time_ms,
        }
        | {name: columns[name] for name in order}
    )


def write(folder: Path) -> Path:
    (folder / "v2" / "annotations").mkdir(parents=True)
    (folder / "v2" / "imu").mkdir()
    (folder / "v2" / "annotations" / "narration.json").write_text(json.dumps(_narrated()))
    videos = [
        {"video_uid": COOK, "scenarios": ["Cooking"], "has_imu": True},
        {"video_uid": WALK, "scenarios": ["Walking", "Talking"], "has_imu": True},
    ]
    (folder / "ego4d.json").write_text(json.dumps({"version": "v2", "videos": videos}))
    (folder / "v2" / "imu" / "manifest.csv").write_text("uid\n")  # the downloader writes one
    table().to_csv(folder / "v2" / "imu" / f"{COOK}.csv", index=False)
    table().to_csv(folder / "v2" / "imu" / f"{WALK}.csv", index=False)
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(tmp_path / "ego4d")


def _csv(folder: Path, uid: str = COOK) -> Path:
    return folder / "v2" / "imu" / f"{uid}.csv"


def test_a_moment_is_a_pair_with_what_is_said_of_the_wearer(written: Path) -> None:
    pairs = list(Ego4dImu(root=str(written)).pairs())
    assert [(pair.key, pair.texts, pair.reader_options["start_s"]) for pair in pairs] == [
        (f"{WALK}-00000", ("walks",), 0.0),
        (f"{COOK}-00000", ("cuts the onion",), 0.0),
        (f"{COOK}-00001", ("turns around", "holds a something"), 3.75),
        (f"{COOK}-00002", ("drops the knife",), 17.5),
    ]
    assert pairs[2] == Pair(
        key=f"{COOK}-00001",
        signal=f"v2/imu/{COOK}.csv",
        reader_options={"start_s": 3.75},
        texts=("turns around", "holds a something"),
        label="cooking",
        group=COOK,
        name="turns around",
        licence="Ego4D licence agreement",
    )
    assert pairs[0].label is None  # two scenarios are no class


def test_sentences_under_videos_are_found_too(written: Path) -> None:
    source = Ego4dImu(root=str(written))
    before = list(source.pairs())
    path = written / "v2" / "annotations" / "narration.json"
    path.write_text(json.dumps({"version": "2", "videos": _narrated()}))
    assert list(source.pairs()) == before


def test_scenarios_and_frames_are_optional(written: Path) -> None:
    (written / "ego4d.json").unlink()
    source = Ego4dImu(root=str(written), frames="frames")
    pairs = list(source.pairs())
    assert {pair.label for pair in pairs} == {None}
    assert pairs[2].images == (f"frames/{COOK}/000006.jpg",)
    path = written / pairs[2].images[0]
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(path)
    (image,) = source.images(pairs[2])
    assert image.shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("#C C picks a cloth", "picks a cloth"),
        ("#c c picks a cloth.", "picks a cloth"),
        ("# C C picks  a cloth ", "picks a cloth"),
        ("#CC picks a cloth", "picks a cloth"),
        ("#C cuts a cake", "cuts a cake"),
        ("C cuts a cake", "cuts a cake"),
        ("#C C looks at #Unsure", "looks at something"),
        ("#O man X cuts a cake", ""),
        ("#unsure", ""),
        ("#C C", ""),
        ("cuts a cake", ""),
        ("", ""),
    ],
)
def test_tags_are_taken_off_and_others_are_left_out(sentence: str, said: str) -> None:
    assert said_of_wearer(sentence) == said


def test_a_window_follows_the_clock_of_the_video(written: Path) -> None:
    source = Ego4dImu(root=str(written))
    pair = list(source.pairs())[2]
    raw = source.read(pair, imu.MODALITY)
    assert raw.shape == (6, 2000)
    seconds = 3.75 + np.arange(2000) / 400
    middle = slice(200, 1800)  # away from the ends, where resampling rings
    np.testing.assert_allclose(raw[0, middle], seconds[middle], atol=0.02)  # accl_x
    np.testing.assert_allclose(raw[5, middle], -seconds[middle], atol=0.02)  # gyro_z
    np.testing.assert_allclose(raw[1:5, middle], 1, atol=0.01)
    assert imu.ImuSignal().store(raw).shape == (6, 2000)


def test_rows_in_disorder_or_without_a_time_change_nothing(tmp_path: Path) -> None:
    tidy, untidy = write(tmp_path / "tidy"), write(tmp_path / "untidy")
    lost = table(1.0).assign(canonical_timestamp_ms="NULL", accl_x=99)
    shuffled = pd.concat([lost, table().sample(frac=1, random_state=1)])
    shuffled.to_csv(_csv(untidy), index=False)
    first, second = (
        source.read(list(source.pairs())[2], imu.MODALITY)
        for source in (Ego4dImu(root=str(tidy)), Ego4dImu(root=str(untidy)))
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda t: t[(t.accl_x < 5) | (t.accl_x > 5.4)], r"from 3\.75 to 8\.75 s .* 0\.4\d s"),
        (lambda t: t[t.accl_x < 8], r"found 0\.7\d s without one"),
        (lambda t: t[t.accl_x > 10], r"found 5\.00 s without one"),
        (lambda t: t[:0], r"without one"),
        (lambda t: t.assign(accl_y=t.accl_y.where(t.accl_x < 5)), "empty cells between 3.75"),
        (lambda t: t.drop(columns="gyro_y"), "cannot be read as a CSV with canonical_timestamp"),
        (lambda t: t.assign(gyro_y="fast"), "cannot be read as a CSV with"),
    ],
)
def test_windows_with_a_fault_are_refused(
    written: Path, fault: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    fault(table()).to_csv(_csv(written), index=False)
    source = Ego4dImu(root=str(written))
    with pytest.raises(InputError, match=message):
        source.read(list(source.pairs())[2], imu.MODALITY)


def test_a_sentence_after_the_recording_is_refused(written: Path) -> None:
    source = Ego4dImu(root=str(written))
    with pytest.raises(InputError, match=r"from 17\.50 to 22\.50 s"):
        source.read(list(source.pairs())[3], imu.MODALITY)


def _narrations(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        content = _narrated()
        change(content)
        (folder / "v2" / "annotations" / "narration.json").write_text(json.dumps(content))

    return spoil


def _metadata(videos: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "ego4d.json").write_text(json.dumps({"videos": videos}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: [p.unlink() for p in (f / "v2" / "imu").glob("*")], r"no video of .* has"),
        (lambda f: (f / "v2" / "imu").rename(f / "elsewhere"), r"no folder .*imu; fetch it with"),
        (
            lambda f: (f / "v2" / "annotations" / "narration.json").unlink(),
            r"no file .*narration\.json; fetch it with",
        ),
        (
            lambda f: (f / "v2" / "annotations" / "narration.json").write_text('{"a": '),
            r"narration\.json is not JSON",
        ),
        (
            lambda f: (f / "v2" / "annotations" / "narration.json").write_text("[]"),
            r"narration\.json: expected an object, found list",
        ),
        (_narrations(lambda c: c.update({COOK: []})), rf"video {COOK}: expected an object"),
        (
            _narrations(lambda c: c[COOK].update(narration_pass_1={"narrations": {}})),
            r'expected "narration_pass_1" with a list',
        ),
        (
            _narrations(
                lambda c: c[COOK]["narration_pass_1"]["narrations"][1].pop("narration_text")
            ),
            r"narration 1: expected a number .* found 6\.25 and None",
        ),
        (
            _narrations(
                lambda c: c[COOK]["narration_pass_1"]["narrations"][4].update(timestamp_sec="20")
            ),
            r"narration 4: expected a number .* found '20'",
        ),
        (_metadata({}), r'expected a list "videos", found dict'),
        (_metadata([{"video_uid": COOK}]), r'video 0: expected "video_uid" and "scenarios"'),
        (_metadata([{"video_uid": COOK, "scenarios": []}] * 2), rf"video 1: {COOK} is .* twice"),
    ],
)
def test_lists_that_are_wrong_are_refused(
    written: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(written)
    with pytest.raises(ConfigError, match=message):
        list(Ego4dImu(root=str(written)).pairs())

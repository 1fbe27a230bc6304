"""Benchmarks of data sets that `pipelines.source.datasets` reads: sides, classes, labels, notes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.benchmarks.base import Mounted, of_source
from pipelines.benchmarks.datasets import benchmarks
from pipelines.benchmarks.datasets.audiocaps import count_note
from pipelines.benchmarks.datasets.nyu_depth import OTHER_KINDS
from pipelines.source.datasets.hapt import Hapt
from pipelines.source.datasets.nyu_depth import CLASSES, OTHERS
from tests.pipelines.source.datasets.small_sounds import write_sound, write_text
from vitlens_core.errors import ConfigError

pytestmark = pytest.mark.slow


def mounted(name: str, root: Path | str) -> Mounted:
    return benchmarks()[name].mount(str(root))


# --- sound ------------------------------------------------------------------------------------


def write_vggsound(root: Path) -> None:
    rows = (
        "--0PQM4-hqg,30,waterfall burbling,train",
        "---g-f_I2yQ,1,people marching,test",
        "--56QUhyDQM,185,playing tennis,test",
    )
    write_text(root / "vggsound.csv", *rows)
    for name in ("--0PQM4-hqg_000030", "---g-f_I2yQ_000001"):
        write_sound(root / "audio" / f"{name}.wav")


def test_vggsound_chooses_among_the_classes_of_what_is_there(tmp_path):
    write_vggsound(tmp_path)
    found = mounted("vggsound", tmp_path)
    assert [e.labels for e in found.test] == [("people marching",)]
    assert [e.labels for e in found.training] == [("waterfall burbling",)]
    assert found.notes == ("1 listed recordings are not there and were left out",)
    assert found.test[0].read()["audio"].shape == (4800,)


def write_audiocaps(root: Path, clips: int) -> None:
    rows = ["audiocap_id,youtube_id,start_time,caption"]
    for i in range(clips):
        rows += [f"{10 * i + j},clip{i:07d},{i},caption {i} {j}" for j in range(5)]
        write_sound(root / "audio" / "test" / f"clip{i:07d}_{i}.wav")
    write_text(root / "test.csv", *rows)


def test_audiocaps_says_how_many_clips_its_figures_are_of(tmp_path):
    write_audiocaps(tmp_path, 2)
    found = mounted("audiocaps", tmp_path)
    assert [len(e.texts) for e in found.test] == [5, 5]
    assert found.notes == ("2 clips: neither of the published 813 and 963",)
    assert found.classes == ()
    assert count_note(813) == "813 clips: one of the published 813 and 963"


def test_clotho_reads_its_evaluation_side_alone(tmp_path):
    captions = ",".join(f"caption_{i}" for i in range(1, 6))
    row = "Santa Motor.wav,one,two,three,four,five"
    write_text(tmp_path / "clotho_captions_evaluation.csv", f"file_name,{captions}", row)
    write_sound(tmp_path / "evaluation" / "Santa Motor.wav")
    found = mounted("clotho", tmp_path)
    assert [e.texts for e in found.test] == [("one", "two", "three", "four", "five")]
    assert found.training == []


CLASS_LIST = ("index,mid,display_name", "0,/m/1,Speech", '1,/m/2,"Dog, bark"', "2,/m/3,Rain")


@pytest.fixture
def audioset(tmp_path: Path) -> Path:
    write_text(tmp_path / "class_labels_indices.csv", *CLASS_LIST)
    entries = [
        {"wav": "audio/a.wav", "labels": "/m/1,/m/2"},
        {"wav": "audio/b.wav", "labels": "/m/3"},
        {"wav": "audio/gone.wav", "labels": "/m/3"},
    ]
    (tmp_path / "eval_data.json").write_text(json.dumps({"data": entries}))
    for name in "ab":
        write_sound(tmp_path / "audio" / f"{name}.wav")
    return tmp_path


def test_audioset_keeps_all_labels_of_a_clip(audioset):
    found = mounted("audioset", audioset)
    assert [e.labels for e in found.test] == [("speech", "dog, bark"), ("rain",)]
    assert found.classes == ("speech", "dog, bark", "rain")
    assert found.notes == ("1 listed recordings are not there and were left out",)
    assert found.test[1].read()["audio"].shape == (4800,)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"wav": "audio/a.wav", "labels": "/m/9"}], r"labels \['/m/9'\] are not among"),
        ([{"wav": "../a.wav", "labels": "/m/1"}], "a path inside"),
        ([{"wav": "audio/a.wav"}], 'texts "wav" and "labels"'),
        ([{"wav": "audio/a.wav", "labels": "/m/1"}] * 2, "a second time"),
        ([{"wav": "audio/gone.wav", "labels": "/m/1"}], "none of its 1 clips is there"),
    ],
)
def test_a_wrong_list_of_audioset_is_refused(audioset, entries, message):
    (audioset / "eval_data.json").write_text(json.dumps({"data": entries}))
    with pytest.raises(ConfigError, match=message):
        mounted("audioset", audioset)


# --- generated files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes"),
    [("llvip", 2), ("touch_and_go", 20), ("imagenet_eeg_val", 40), ("imagenet_eeg_test", 40)],
)
def test_generated_files_mount_and_say_so(name, classes, tmp_path, monkeypatch):
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    found = mounted(name, "generated")
    assert found.generated
    assert len(found.classes) == classes
    assert {e.labels[0] for e in found.test} <= set(found.classes)
    assert found.training
    assert not {e.group for e in found.test} & {e.group for e in found.training}
    [raw] = found.test[0].read().values()
    assert raw.size


# --- rooms, movement --------------------------------------------------------------------------


def test_every_kind_of_room_counts_as_one_of_nyu_s_ten_classes():
    stated = benchmarks()["nyu_depth"]
    assert stated.merged is not None
    assert len(stated.merged) == len(CLASSES) + len(OTHER_KINDS) == 27
    assert set(stated.merged.values()) == {*CLASSES, OTHERS}
    assert {kind for kind, label in stated.merged.items() if label == OTHERS} == set(OTHER_KINDS)


def test_a_side_without_recordings_is_refused(tmp_path):
    write_text(tmp_path / "vggsound.csv", "--0PQM4-hqg,30,waterfall burbling,train")
    write_sound(tmp_path / "audio" / "--0PQM4-hqg_000030.wav")
    with pytest.raises(ConfigError, match="no recording for test"):
        mounted("vggsound", tmp_path)


def test_what_listing_refuses_is_said_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match="audio needs another"):
        of_source(Hapt(root=str(tmp_path)), "audio")
    with pytest.raises(ConfigError, match=r"no file .*activity_labels"):
        mounted("hapt", tmp_path)


def test_a_scenario_is_what_ego4d_is_classified_by(tmp_path):
    uid = "a1"
    told = {"narrations": [{"timestamp_sec": 3.0, "narration_text": "#C C walks"}]}
    (tmp_path / "v2" / "annotations").mkdir(parents=True)
    (tmp_path / "v2" / "imu").mkdir()
    names = [uid, "b2"]
    (tmp_path / "v2" / "annotations" / "narration.json").write_text(
        json.dumps({name: {"narration_pass_1": told} for name in names})
    )
    for name in names:
        (tmp_path / "v2" / "imu" / f"{name}.csv").write_text("x")
    with pytest.raises(ConfigError, match="exactly one scenario"):
        mounted("ego4d_imu", tmp_path)
    videos = [{"video_uid": name, "scenarios": ["Walking_a_dog"]} for name in names]
    (tmp_path / "ego4d.json").write_text(json.dumps({"videos": videos}))
    found = mounted("ego4d_imu", tmp_path)
    assert found.classes == ("walking a dog",)
    assert len(found.test) == len(found.training) == 1

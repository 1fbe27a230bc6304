import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.source.base import Pair
from pipelines.source.datasets.audioset import AudioSet
from tests.pipelines.source.datasets.small_sounds import (
    stored,
    write_picture,
    write_sound,
    write_text,
)
from vitlens_core.errors import ConfigError

CLASSES = ("index,mid,display_name", '0,/m/09x0r,"Speech"', '1,/m/068hy,"Domestic animals, pets"')
BOTH = {"wav": "audio/eval/YvfY_TJq7n_U.flac", "labels": "/m/09x0r,/m/068hy,/m/09x0r"}


def write_list(path: Path, *entries: Any) -> None:
    path.write_text(json.dumps({"data": entries}), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "class_labels_indices.csv", *CLASSES)
    absolute = tmp_path / "audio" / "bal" / "--PJHxphWEs.wav"
    write_list(tmp_path / "balanced_train_data.json", {"wav": str(absolute), "labels": "/m/09x0r"})
    write_list(tmp_path / "eval_data.json", BOTH)
    write_sound(absolute, rate_hz=48_000)
    write_picture(tmp_path / "images" / "YvfY_TJq7n_U.jpg")
    return tmp_path


def test_one_label_is_the_label_and_several_are_the_text(root):
    assert list(AudioSet(root=str(root)).pairs()) == [
        Pair(
            key="--PJHxphWEs",
            signal="audio/bal/--PJHxphWEs.wav",
            label="speech",
            split="train",
            name="speech",
        ),
        Pair(
            key="YvfY_TJq7n_U",
            signal="audio/eval/YvfY_TJq7n_U.flac",
            images=("images/YvfY_TJq7n_U.jpg",),
            texts=("speech and domestic animals, pets",),
            split="test",
            name="speech, domestic animals, pets",
        ),
    ]


def test_a_list_may_be_left_out(root):
    (root / "balanced_train_data.json").unlink()
    source = AudioSet(root=str(root), train_list=None)
    assert [pair.split for pair in source.pairs()] == ["test"]


def test_a_clip_is_stored(root):
    source = AudioSet(root=str(root))
    assert stored(source, next(source.pairs())).shape == (2, 20, 16)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (BOTH, "'YvfY_TJq7n_U' a second time"),
        ({"wav": "other/--PJHxphWEs.wav", "labels": "/m/09x0r"}, "'--PJHxphWEs' a second time"),
        ({"wav": "a.wav", "labels": "/m/09x0r,/m/0"}, r"\['/m/0'\] are not among the 2"),
        ({"wav": "a.wav", "labels": ""}, r"\[''\] are not among"),
        ({"wav": "a.wav"}, 'expected texts "wav" and "labels"'),
        ({"wav": "a.wav", "labels": ["/m/09x0r"]}, 'expected texts "wav" and "labels"'),
        ("a.wav", 'expected texts "wav" and "labels"'),
        ({"wav": "/elsewhere/a.wav", "labels": "/m/09x0r"}, "a path inside"),
        ({"wav": "../a.wav", "labels": "/m/09x0r"}, "a path inside"),
        ({"wav": "", "labels": "/m/09x0r"}, "a path inside"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_place(root, entry, message):
    write_list(root / "eval_data.json", BOTH, entry)
    with pytest.raises(ConfigError, match=message) as refused:
        list(AudioSet(root=str(root)).pairs())
    assert "eval_data.json, entry 1" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ("[]", 'expected {"data"'), ('{"data": {}}', 'expected {"data"')],
)
def test_a_list_of_another_form_is_refused(root, content, message):
    (root / "eval_data.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        list(AudioSet(root=str(root)).pairs())


def test_a_missing_list_is_named(root):
    (root / "eval_data.json").unlink()
    with pytest.raises(ConfigError, match=r"no file .*eval_data\.json"):
        list(AudioSet(root=str(root)).pairs())


def test_a_class_stands_once(root):
    write_text(root / "class_labels_indices.csv", *CLASSES, "2,/m/09x0r,Talk")
    with pytest.raises(ConfigError, match=r"line 4: '/m/09x0r' a second time"):
        list(AudioSet(root=str(root)).pairs())

from pathlib import Path

import numpy as np
import pytest

from pipelines.source.base import Pair
from pipelines.source.datasets.audiocaps import AudioCaps
from tests.pipelines.source.datasets.small_sounds import (
    stored,
    write_picture,
    write_sound,
    write_text,
)
from vitlens_core.errors import ConfigError

HEADER = "audiocap_id,youtube_id,start_time,caption"
LISTS = {
    "train": ["91139,r1nicOVtvkQ,130,A woman talks nearby as water pours"],
    "val": ["97151,vfY_TJq7n_U,130,Rustling occurs", "97152,vfY_TJq7n_U,130,Ducks quack"],
    "test": [
        '103549,7fmOlUlwoNg,20,"Constant rattling noise, and sharp vibrations"',
        "103548,6BJ455B1aAs,30,A rocket flies by",
        "103541,7fmOlUlwoNg,20,A machine rattles",
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, rows in LISTS.items():
        write_text(tmp_path / f"{split}.csv", HEADER, *rows)
    write_sound(tmp_path / "audio" / "test" / "7fmOlUlwoNg_20.wav", rate_hz=32_000)
    write_picture(tmp_path / "images" / "7fmOlUlwoNg_20.jpg")
    return tmp_path


def test_a_clip_is_one_pair_with_all_its_captions(root):
    pairs = list(AudioCaps(root=str(root)).pairs())
    assert [(pair.key, pair.split, len(pair.texts)) for pair in pairs] == [
        ("r1nicOVtvkQ_130", "train", 1),
        ("vfY_TJq7n_U_130", "val", 2),
        ("7fmOlUlwoNg_20", "test", 2),
        ("6BJ455B1aAs_30", "test", 1),
    ]
    assert pairs[2] == Pair(
        key="7fmOlUlwoNg_20",
        signal="audio/test/7fmOlUlwoNg_20.wav",
        images=("images/7fmOlUlwoNg_20.jpg",),
        texts=("Constant rattling noise, and sharp vibrations", "A machine rattles"),
        split="test",
        group="7fmOlUlwoNg",
        name="Constant rattling noise, and sharp vibrations",
    )
    assert pairs[3].images == ()


def test_only_the_lists_asked_for_are_read(root):
    (root / "train.csv").unlink()
    (root / "val.csv").unlink()
    source = AudioCaps(root=str(root), splits=("test",))
    assert {pair.split for pair in source.pairs()} == {"test"}


def test_clips_may_be_named_otherwise(root):
    source = AudioCaps(root=str(root), clip="waves/Y{youtube_id}.flac")
    assert next(source.pairs()).signal == "waves/Yr1nicOVtvkQ.flac"


def test_a_clip_is_stored_and_its_frame_read(root):
    source = AudioCaps(root=str(root), splits=("test",))
    pair = next(source.pairs())
    assert stored(source, pair).shape == (2, 20, 16)
    (frame,) = source.images(pair)
    assert frame.shape == (4, 6, 3)
    assert frame.dtype == np.uint8


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("91139,aaaaaaaaaaa,0,Once more", "'91139' a second time"),
        ("1,#NAME?,0,A sound", "YouTube id of 11 characters, found '#NAME\\?'"),
        ("1,aaaaaaaaaaa,0.5,A sound", "a start in seconds, a whole number, found '0.5'"),
        ("1,aaaaaaaaaaa,0, ", "expected a caption"),
        ("1,aaaaaaaaaaa,0,A sound, unquoted", "expected 4 cells"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root, row, message):
    write_text(root / "train.csv", HEADER, *LISTS["train"], row)
    with pytest.raises(ConfigError, match=message) as refused:
        list(AudioCaps(root=str(root)).pairs())
    assert "train.csv, line 3" in str(refused.value)


def test_a_clip_on_two_sides_is_refused(root):
    write_text(root / "val.csv", HEADER, "1,r1nicOVtvkQ,0,From the same video")
    with pytest.raises(ConfigError, match=r"val\.csv names r1nicOVtvkQ, which is in train\.csv"):
        list(AudioCaps(root=str(root)).pairs())


def test_a_missing_column_is_named(root):
    write_text(root / "test.csv", "audiocap_id,youtube_id,start_time", "1,aaaaaaaaaaa,0")
    with pytest.raises(ConfigError, match=r"test\.csv: .*caption missing"):
        list(AudioCaps(root=str(root)).pairs())

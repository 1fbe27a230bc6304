from pathlib import Path

import pytest

from pipelines.source.base import Pair
from pipelines.source.datasets.vggsound import VggSound
from tests.pipelines.source.datasets.small_sounds import (
    stored,
    write_picture,
    write_sound,
    write_text,
)
from vitlens_core.errors import ConfigError

ROWS = (
    "---g-f_I2yQ,1,people marching,test",
    '--9O4XZOge4,30,"female speech, woman speaking",train',
    "B5KE79I2f-A,188,wind noise,test",
    "B5KE79I2f-A,220,wind noise,train",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "vggsound.csv", *ROWS)
    write_sound(tmp_path / "audio" / "---g-f_I2yQ_000001.wav")
    write_picture(tmp_path / "images" / "---g-f_I2yQ_000001.jpg")
    return tmp_path


def test_clips_come_in_the_list_s_order(root):
    first, second, *_ = VggSound(root=str(root)).pairs()
    assert first == Pair(
        key="---g-f_I2yQ_000001",
        signal="audio/---g-f_I2yQ_000001.wav",
        images=("images/---g-f_I2yQ_000001.jpg",),
        label="people marching",
        split="test",
        group="---g-f_I2yQ test",
        name="people marching, ---g-f_I2yQ",
    )
    assert second.label == "female speech, woman speaking"
    assert second.images == ()


def test_the_published_sides_count_for_a_video_on_both(root):
    *_, left, right = VggSound(root=str(root)).pairs()
    assert (left.split, right.split) == ("test", "train")
    assert left.group != right.group


def test_clips_may_be_named_otherwise(root):
    source = VggSound(root=str(root), clip="{split}/{youtube_id}_{start}.flac")
    assert next(source.pairs()).signal == "test/---g-f_I2yQ_1.flac"


def test_a_clip_is_stored_and_its_frame_read(root):
    source = VggSound(root=str(root))
    pair = next(source.pairs())
    assert stored(source, pair).shape == (2, 20, 16)
    assert [image.shape for image in source.images(pair)] == [(4, 6, 3)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0], "'---g-f_I2yQ_000001' a second time"),
        ("aaaaaaaaaaa,1,dog barking,val", "then train or test, found 'dog barking', 'val'"),
        ("aaaaaaaaaaa,1, ,test", "expected a label"),
        ("aaaaaaaaaaa,x,dog barking,test", "a start in seconds"),
        ("aaa,1,dog barking,test", "YouTube id of 11 characters"),
        ("aaaaaaaaaaa,1,fly, housefly buzzing,test", "expected 4 cells"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root, row, message):
    write_text(root / "vggsound.csv", *ROWS, row)
    with pytest.raises(ConfigError, match=message) as refused:
        list(VggSound(root=str(root)).pairs())
    assert "vggsound.csv, line 5" in str(refused.value)

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.source.base import Pair
from pipelines.source.datasets.esc50 import Esc50
from tests.pipelines.source.datasets.small_sounds import stored, write_sound, write_text
from vitlens_core.errors import ConfigError

HEADER = "filename,fold,target,category,esc10,src_file,take"
ROWS = (
    "1-100032-A-0.wav,1,0,dog,True,100032,A",
    "1-100210-A-36.wav,1,36,vacuum_cleaner,False,100210,A",
    "1-100210-B-36.wav,1,36,vacuum_cleaner,False,100210,B",
    "5-9032-A-0.wav,5,0,dog,True,9032,A",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "meta" / "esc50.csv", HEADER, *ROWS)
    for row in ROWS:
        write_sound(tmp_path / "audio" / row.split(",")[0], rate_hz=44_100)
    return tmp_path


def test_clips_come_in_the_list_s_order(root):
    pairs = list(Esc50(root=str(root)).pairs())
    assert [pair.key for pair in pairs] == [row.split(",")[0][:-4] for row in ROWS]
    assert pairs[0] == Pair(
        key="1-100032-A-0",
        signal="audio/1-100032-A-0.wav",
        label="dog",
        split="train",
        group="100032",
        name="dog, Freesound 100032",
        licence="CC BY 3.0",
    )
    assert pairs[2] == Pair(
        key="1-100210-B-36",
        signal="audio/1-100210-B-36.wav",
        label="vacuum cleaner",
        split="train",
        group="100210",
        name="vacuum cleaner, Freesound 100210",
        licence="CC BY-NC 3.0",
    )


def test_the_folds_named_are_tested(root):
    assert [p.split for p in Esc50(root=str(root)).pairs()] == ["train", "train", "train", "test"]
    all_folds = Esc50(root=str(root), test_folds=(1, 2, 3, 4, 5))
    assert {p.split for p in all_folds.pairs()} == {"test"}


@pytest.mark.parametrize("folds", [(), (0,), (6,)])
def test_other_folds_are_refused(folds):
    with pytest.raises(ValidationError, match="test_folds"):
        Esc50.model_validate({"root": "x", "test_folds": folds})


def test_a_clip_is_stored_as_two_log_mel_clips(root):
    source = Esc50(root=str(root))
    assert stored(source, next(source.pairs())).shape == (2, 20, 16)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0], "'1-100032-A-0.wav' a second time"),
        ("6-1-A-0.wav,6,0,dog,True,1,A", "fold from 1 to 5, found 6"),
        ("x-1-A-0.wav,x,0,dog,True,1,A", "a whole number, found 'x'"),
        ("2-1-A-1.wav,2,1,dog,True,1,A", "'dog' has target 0 above, 1 here"),
        ("2-9032-B-0.wav,2,0,dog,True,9032,B", "'9032' has fold 5 above, 2 here"),
        ("2-1-A-0.wav,2,0,dog,yes,1,A", "esc10 True or False, found 'yes'"),
        ("2-1-A-0.wav,2,0,dog", "expected 7 cells"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root, row, message):
    write_text(root / "meta" / "esc50.csv", HEADER, *ROWS, row)
    with pytest.raises(ConfigError, match=message) as refused:
        list(Esc50(root=str(root)).pairs())
    assert "esc50.csv, line 6" in str(refused.value)


def test_a_folder_without_the_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*esc50\.csv"):
        list(Esc50(root=str(tmp_path)).pairs())

from pathlib import Path

import pytest

from pipelines.source.base import Pair
from pipelines.source.datasets.clotho import Clotho
from tests.pipelines.source.datasets.small_sounds import stored, write_sound, write_text
from vitlens_core.errors import ConfigError

HEADER = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5"
CLIPS = {
    "development": ("Distorted AM Radio noise.wav", "105bpm.wav"),
    "validation": ("Radio Fuzz (old).wav",),
    "evaluation": ("Santa Motor.wav",),
}


def row(name: str) -> str:
    return f'{name},"A, quoted",B,C,D,E.'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, names in CLIPS.items():
        write_text(tmp_path / f"clotho_captions_{part}.csv", HEADER, *map(row, names))
        for name in names:
            write_sound(tmp_path / part / name, rate_hz=44_100)
    metadata = (
        "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
        'Santa Motor.wav,"a;b",1,x,"[0, 9]",Jürgen,http://creativecommons.org/licenses/by/3.0/\n'
    )
    (tmp_path / "clotho_metadata_evaluation.csv").write_text(metadata, encoding="latin-1")
    return tmp_path


def test_recordings_come_by_part_with_five_captions(root):
    pairs = list(Clotho(root=str(root)).pairs())
    assert [(pair.name, pair.split) for pair in pairs] == [
        ("Distorted AM Radio noise", "train"),
        ("105bpm", "train"),
        ("Radio Fuzz (old)", "val"),
        ("Santa Motor", "test"),
    ]
    assert pairs[1] == Pair(
        key="105bpm",
        signal="development/105bpm.wav",
        texts=("A, quoted", "B", "C", "D", "E."),
        split="train",
        name="105bpm",
    )
    assert pairs[0].key.startswith("Distorted-AM-Radio-noise-")


def test_licence_and_creator_come_from_the_metadata_where_there(root):
    first, *_, last = Clotho(root=str(root)).pairs()
    assert (first.licence, first.creator) == (None, None)
    assert last.licence == "http://creativecommons.org/licenses/by/3.0/"
    assert last.creator == "Jürgen"


def test_only_the_parts_asked_for_are_read(root):
    (root / "clotho_captions_development.csv").unlink()
    pairs = list(Clotho(root=str(root), splits=("test",)).pairs())
    assert [pair.signal for pair in pairs] == ["evaluation/Santa Motor.wav"]


def test_a_recording_is_stored(root):
    source = Clotho(root=str(root), splits=("val",))
    assert stored(source, next(source.pairs())).shape == (2, 20, 16)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row("105bpm.wav"), "'105bpm.wav' a second time, after .*development.csv, line 3"),
        (row(""), "a file name and five captions"),
        ("x.wav,a,b,c,d,", "a file name and five captions"),
        ("x.wav,a,b,c,d", "expected 6 cells"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root, line, message):
    write_text(root / "clotho_captions_validation.csv", HEADER, row("y.wav"), line)
    with pytest.raises(ConfigError, match=message) as refused:
        list(Clotho(root=str(root)).pairs())
    assert "clotho_captions_validation.csv, line 3" in str(refused.value)


def test_a_missing_part_is_named(root):
    (root / "clotho_captions_evaluation.csv").unlink()
    with pytest.raises(ConfigError, match=r"no file .*clotho_captions_evaluation\.csv"):
        list(Clotho(root=str(root)).pairs())

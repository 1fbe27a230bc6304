from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipelines.source.clips import (
    ClipTemplate,
    MidFrames,
    checked_youtube_id,
    key_of,
    read_rows,
    take_note,
    whole_number,
)
from tests.pipelines.source.datasets.small_sounds import write_picture
from vitlens_core.errors import ConfigError


class Named(BaseModel):
    clip: ClipTemplate


@pytest.mark.parametrize(
    "template", ["{youtube_id}.wav", "a/{split}/{youtube_id}_{start:06d}.flac"]
)
def test_a_template_that_names_each_clip_is_kept(template):
    assert Named(clip=template).clip == template


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{title}.wav", "knows {split}, {youtube_id} and {start} only"),
        ("{}.wav", "knows"),
        ("{youtube_id", "knows"),
        ("{split}/{start}.wav", "holds {youtube_id}"),
        ("/audio/{youtube_id}.wav", "relative to root"),
    ],
)
def test_a_template_that_does_not_is_refused(template, message):
    with pytest.raises(ValidationError, match=message):
        Named(clip=template)


def test_rows_say_where_they_stand_in_the_file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('\ufeffname,note\na,"two\nlines"\n\nb,\n', encoding="utf-8")
    assert list(read_rows(path, ["name"])) == [
        (f"{path}, line 3", {"name": "a", "note": "two\nlines"}),
        (f"{path}, line 5", {"name": "b", "note": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"name,text\na,b\n", "found name, text; note missing"),
        (b"name,note\n", "has no row"),
        (b"name,note\na,b,c\n", "line 2: expected 2 cells"),
        (b"name,note\n\n", "has no row"),
        (b'name,note\na,"b\n', "after line 2: expected CSV"),
        (b"name,note\na,\xff\n", "expected CSV in UTF-8"),
    ],
)
def test_a_broken_list_is_refused_by_file_and_line(tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refused:
        list(read_rows(path, ["name", "note"]))
    assert str(path) in str(refused.value)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*absent\.csv"):
        list(read_rows(tmp_path / "absent.csv", ["name"]))


def test_a_name_is_noted_once():
    seen: dict[str, str] = {}
    take_note(seen, "a", "line 2")
    with pytest.raises(ConfigError, match="line 5: 'a' a second time, after line 2"):
        take_note(seen, "a", "line 5")


@pytest.mark.parametrize("text", ["#NAME?", "short", "twelve-chars", "abc def ghi", ""])
def test_what_is_no_youtube_id_is_refused(text):
    with pytest.raises(ConfigError, match="line 3: expected a YouTube id"):
        checked_youtube_id(text, "line 3")


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "²"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ConfigError, match="line 3: expected a start"):
        whole_number(text, "line 3", "a start")


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_keys_are_plain_and_tell_names_apart(names):
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(char.isascii() and (char.isalnum() or char in "-_") for k in keys for char in k)


def test_a_plain_name_is_its_own_key():
    assert key_of("-0BIyqJj9ZU_000030") == "-0BIyqJj9ZU_000030"


def test_a_clip_has_the_frame_of_its_stem_if_there_is_one(tmp_path: Path):
    write_picture(tmp_path / "images" / "a_10.jpg")
    frames = MidFrames(tmp_path)
    assert frames.of("audio/test/a_10.wav") == ("images/a_10.jpg",)
    assert frames.of("audio/test/a_20.wav") == ()

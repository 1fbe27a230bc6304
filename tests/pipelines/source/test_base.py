"""What the sources share: keys, and made-up data sets that are whole or not there."""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.base import GENERATED, Pair, SourceSettings
from pipelines.store.keys import is_key, plain_key

ALLOWED = string.ascii_letters + string.digits + "-_"
NAMES = st.text(st.sampled_from(ALLOWED) | st.characters(), max_size=8)


@given(NAMES)
def test_a_key_is_letters_digits_hyphens_and_underscores(name: str) -> None:
    assert is_key(name) == (name != "" and set(name) <= set(ALLOWED))


@given(NAMES)
def test_a_plain_key_is_a_key_and_changes_none(name: str) -> None:
    assert is_key(plain_key(name)) == (name != "")
    assert (plain_key(name) == name) == (is_key(name) or not name)


@pytest.mark.parametrize(("name", "key"), [("a/b c.wav", "a-b-c-wav"), ("dog_1-2", "dog_1-2")])
def test_a_run_of_other_characters_becomes_one_hyphen(name: str, key: str) -> None:
    assert plain_key(name) == key


@given(st.sets(NAMES.filter(lambda name: not name.isascii()), min_size=2))
def test_names_in_any_script_get_distinct_keys(names: set[str]) -> None:
    assert len({plain_key(name) for name in names}) == len(names)


class Counted(SourceSettings):
    """One recording; counts how often it is made up."""

    kind: Literal["counted"] = "counted"
    made: ClassVar[list[Path]] = []

    def pairs(self) -> Iterator[Pair]:
        yield Pair("one", "one.txt", label="one")

    def generate(self, folder: Path) -> None:
        (folder / "one.txt").write_text("1")
        self.made.append(folder)


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    monkeypatch.setattr(Counted, "made", [])
    return Counted(root=GENERATED)


def test_a_made_up_data_set_is_written_once(generated: Counted, tmp_path: Path) -> None:
    for _ in range(2):
        assert (generated.folder() / "one.txt").read_text() == "1"
    assert len(generated.made) == 1
    assert [path.name for path in (tmp_path / "generated").iterdir()] == ["counted"]


def test_two_workers_may_make_it_up_at_once(
    generated: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Counted.generate

    def overtaken(self: Counted, folder: Path) -> None:
        monkeypatch.setattr(Counted, "generate", write)
        self.folder()
        write(self, folder)

    monkeypatch.setattr(Counted, "generate", overtaken)
    folder = generated.folder()
    assert len(generated.made) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["counted"]

"""A backup that somebody forged or damaged: nothing is written outside of the home, or at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipelines.store.home import Home
from vitlens_core.errors import InputError, IntegrityError
from workflows.backups.contents import STATED, Backup
from workflows.backups.making import back_up
from workflows.backups.places import Places
from workflows.backups.restoring import restore


def entry(name: str, data: bytes = b"x") -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"name": name, "size_bytes": len(data), "sha256": digest}


CASES: dict[str, object] = {
    "a file above": {"databases": {}, "files": [entry("../../owned")]},
    "a file from the root": {"databases": {}, "files": [entry("/tmp/owned")]},
    "a file with a NUL": {"databases": {}, "files": [entry("a\0b")]},
    "a file of no name": {"databases": {}, "files": [entry("")]},
    "a database above": {"databases": {"../../owned.db": entry("0.sqlite")}, "files": []},
    "a dump above": {"databases": {"mlflow.db": entry("../../secret")}, "files": []},
    "a missing file": {"databases": {}, "files": [entry("model/x")]},
    "another sum": {"databases": {"mlflow.db": entry("0.sqlite", b"y")}, "files": []},
    "a file of the home that is no key": {
        "databases": {},
        "files": [],
        "home": [entry("run.lock")],
    },
    "a key above": {"databases": {}, "files": [], "home": [entry("keys/../../owned")]},
    "a key below": {"databases": {}, "files": [], "home": [entry("keys/deep/owned")]},
    "a list": [],
    "no JSON": "{",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", CASES)
def test_a_forged_backup_is_refused(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "deep" / "home")
    home.root.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "a" / "backup"
    (folder / "files").mkdir(parents=True)
    (folder / "0.sqlite").write_bytes(b"x")
    case = CASES[name]
    (folder / STATED).write_text(case if isinstance(case, str) else json.dumps(case))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(IntegrityError):
        restore(Places(home), folder)
    assert sorted(tmp_path.rglob("*")) == before


# Parts of a backup, or of a home, that a link may stand for.
LINKS = ("files", "files/model", "0.sqlite", "home/keys", "home/keys/signing.key")
LINKS_OF_HOME = ("mlartifacts/model", "mlflow.db", "keys", "keys/signing.key")


@pytest.fixture
def whole(home: Path) -> Home:
    """A home with a file of each kind."""
    for name in ("mlartifacts/model", "keys/signing.key"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(name)
    return Home(home)


def linked(path: Path, elsewhere: Path) -> None:
    """Move a file or folder away, and put a link to it in its place."""
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_a_backup_is_not_followed(whole: Home, tmp_path: Path, name: str) -> None:
    folder, _ = back_up(Places(whole), tmp_path / "kept")
    linked(folder / name, tmp_path / "elsewhere")
    (whole.root / "mlartifacts" / "model").write_text("of today")
    with pytest.raises(IntegrityError, match="a link leads out"):
        restore(Places(whole), folder)
    assert (whole.root / "mlartifacts" / "model").read_text() == "of today"


@pytest.mark.parametrize("name", LINKS_OF_HOME)
def test_a_link_out_of_the_home_is_not_followed(whole: Home, tmp_path: Path, name: str) -> None:
    """By neither command; a restore finds it before it changes anything."""
    folder, stated = back_up(Places(whole), tmp_path / "kept")
    for path in ("mlartifacts/model", "keys/signing.key"):
        (whole.root / path).write_text("of today")
    linked(whole.root / name, tmp_path / "elsewhere")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="a link leads out"):
        restore(Places(whole), folder)
    with pytest.raises(InputError, match="a link leads out"):
        back_up(Places(whole), tmp_path / "kept", keep=1)
    after = contents(tmp_path)
    assert {path: data for path, data in after.items() if path in before} == before
    assert Backup.model_validate_json((folder / STATED).read_bytes()) == stated


def test_the_models_folder_may_itself_be_a_link(whole: Home, tmp_path: Path) -> None:
    """As to a larger disk: it is where the user says that the files are."""
    linked(whole.root / "mlartifacts", tmp_path / "larger")
    folder, _ = back_up(Places(whole), tmp_path / "kept")
    (tmp_path / "larger" / "model").unlink()
    restore(Places(whole), folder)
    assert (tmp_path / "larger" / "model").read_text() == "mlartifacts/model"


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder but those of locks."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if not path.name.startswith("run.")}

"""A backup that somebody forged or damaged: nothing is written outside of the home, or at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.store.home import Home
from vitlens_core.errors import IntegrityError
from workflows.backup import STATED, Places
from workflows.restore import restore


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

"""`make measure`: figures of a checkout whose structure is known."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.measure import FIGURES, as_markdown, measure, measure_revision

FILES = {
    "pipelines/__init__.py": "",
    "pipelines/flow.py": """\
from pipelines.store import files
from pipelines.store.files import read
""",
    "pipelines/store/__init__.py": "",
    "pipelines/store/files.py": """\
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines import flow


def read(path: Any, *names) -> None:  # why
    import numpy
    from pipelines.store import pieces


class Reader:
    def close(self) -> None: ...
""",
    "pipelines/store/pieces.py": "from .files import read\n",
    "tests/test_files.py": """\
from pipelines.store import files
from tests import made_up


def test(monkeypatch):
    monkeypatch.setattr(files.read, "x", 1)
    monkeypatch.setattr("pipelines.store.files.read", 1)
    monkeypatch.setattr("os.fsync", 1)
    monkeypatch.setattr(made_up, "x", 1)
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_figure_is_that_of_the_files(checkout: Path) -> None:
    found = measure(checkout)
    details = found.pop("details")
    assert found == {
        "modules": 5,
        "lines": 16,
        "file_lines_max": 13,
        "functions": 2,
        "function_lines_median": 1,
        "function_lines_p90": 1,
        "function_lines_max": 3,
        "rooms": 3,
        "room_arrows": 1,
        "room_circles": 0,
        "rooms_in_circles": 0,
        "module_arrows": 3,
        "module_circles": 1,
        "modules_in_circles": 2,
        "own_imports_in_functions": 1,
        "other_imports_in_functions": 1,
        "lines_with_any": 1,
        "annotated_percent": 50.0,
        "comment_percent": 6.2,
        "patches_in_tests": 2,
    }
    assert found.keys() == FIGURES.keys()
    assert details["function_lines_max"] == "pipelines/store/files.py:7 read"
    assert details["module_circles"] == [["pipelines.store.files", "pipelines.store.pieces"]]
    assert details["modules_by_folder"] == {"pipelines": 2, "pipelines/store": 3}
    assert details["patches_in_tests"] == ["tests/test_files.py:6", "tests/test_files.py:7"]


def test_a_revision_is_measured_as_it_was(checkout: Path) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "before")):
        subprocess.run(["git", "-C", checkout, *command], check=True)
    before = measure(checkout)
    (checkout / "pipelines/flow.py").unlink()

    assert measure_revision(checkout, "HEAD") == before
    columns = {"HEAD": before, "now": measure(checkout)}
    assert "| modules | 5 | 4 |" in as_markdown(columns)
    assert json.loads(json.dumps(columns)) == columns


def test_a_folder_without_the_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no module of vitlens_core"):
        measure(tmp_path)

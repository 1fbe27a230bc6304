"""tracking: the revision that a run is tagged with, wherever the module lies; and who acts."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.registry.tracking import acting, code_revision, user

ROOT = Path(__file__).parents[3]


def test_the_code_revision_is_the_commit_of_the_checkout() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    revision = code_revision()
    assert revision is not None
    assert revision.removesuffix("-dirty") == commit


def test_the_image_states_the_revision_of_its_code(tmp_path: Path) -> None:
    """There the packages lie outside of git."""
    for package in ("vitlens_core", "pipelines"):
        (tmp_path / package).symlink_to(ROOT / package)
    show = "from pipelines.registry.tracking import code_revision; print(code_revision())"
    found = [
        subprocess.run(
            [sys.executable, "-c", show],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "VITLENS_CODE_REVISION": stated},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for stated in ("abc123", "")
    ]
    assert found == ["abc123", "None"]


NAMES = {
    "a name and an account": ({"VITLENS_USER": "ada", "MLFLOW_TRACKING_USERNAME": "admin"}, "ada"),
    "an account": ({"MLFLOW_TRACKING_USERNAME": "bob", "LOGNAME": "login"}, "bob"),
    "an empty name": ({"VITLENS_USER": "", "MLFLOW_TRACKING_USERNAME": "bob"}, "bob"),
    "a login": ({"VITLENS_USER": "", "MLFLOW_TRACKING_USERNAME": "", "LOGNAME": "login"}, "login"),
}


@pytest.mark.parametrize(("variables", "expected"), NAMES.values(), ids=NAMES)
def test_a_name_comes_before_an_account_and_that_before_the_login(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("VITLENS_USER", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert user() == expected


@pytest.mark.parametrize("error", [KeyError, OSError])  # of Python 3.11 and of 3.13
def test_a_user_without_a_name_is_a_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def nameless() -> str:
        raise error

    for name in ("VITLENS_USER", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert user() == f"user {os.getuid()}"


@pytest.mark.parametrize("before", [None, "ada"])
def test_who_acts_is_so_in_the_block_alone_and_in_its_processes(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("VITLENS_USER", raising=False)
    if before:
        monkeypatch.setenv("VITLENS_USER", before)
    show = [sys.executable, "-c", "import os; print(os.environ['VITLENS_USER'])"]
    with acting("bob"), suppress(RuntimeError):
        assert user() == "bob"
        assert subprocess.check_output(show, text=True).strip() == "bob"
        raise RuntimeError
    assert os.environ.get("VITLENS_USER") == before

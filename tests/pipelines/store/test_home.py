"""A home: where it lies, and one run at a time in it."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.store.home import Home
from vitlens_core.errors import ConfigError

_HOLDER = """
import sys
from pathlib import Path
from pipelines.store.home import Home
with Home(Path(sys.argv[1])).lock("a run of thermal, profile tiny"):
    print("taken", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _another_run(home: Path) -> Generator[subprocess.Popen]:
    command = [sys.executable, "-c", _HOLDER, str(home)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "taken\n"
        try:
            yield process
        finally:
            process.stdin.close()


def test_a_second_run_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    with (
        _another_run(tmp_path) as other,
        pytest.raises(ConfigError, match=f"a run of thermal, profile tiny .process {other.pid} on"),
        Home(tmp_path).lock("a run of depth"),
    ):
        pass


def test_a_second_run_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    told = []
    with _another_run(tmp_path) as other:

        def waiting(message: str) -> None:
            told.append(message)
            assert other.stdin
            other.stdin.write("\n")
            other.stdin.flush()

        with Home(tmp_path).lock("a run of depth", waiting):
            assert Home(tmp_path).running().startswith("a run of depth (process")
    assert len(told) == 1
    assert f"process {other.pid} " in told[0]


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    with _another_run(tmp_path) as other:
        other.kill()
        other.wait()
        with Home(tmp_path).lock("a run of depth"):
            pass


def test_one_process_takes_its_own_lock_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock("a command"), home.lock("its run"):
        assert home.running().startswith("a command")


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_path_that_databases_misread_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / name))
    with pytest.raises(ConfigError, match="must not contain"):
        Home.from_environment()


@pytest.mark.parametrize("name", ["a b", "100%", "ü#&;='+@[x]"])
def test_other_characters_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / name))
    assert Home.from_environment().root == tmp_path / name

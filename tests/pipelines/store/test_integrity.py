"""Damaged artifacts are named and passed over; what a live process writes is never swept."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel
from upath import UPath

from pipelines.store.artifact_store import FinishedStore, Store
from pipelines.store.artifacts import MANIFEST, Artifact
from pipelines.store.files import atomic_file, is_abandoned, private_once, write_atomic
from pipelines.store.locks import alone
from vitlens_core.errors import IntegrityError


class Info(BaseModel):
    a: int


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(UPath(tmp_path / "store"))


def made(store: Store, name: str = "one") -> Artifact:
    build = store.begin("lens", 1, {"name": name}, {})
    if build.existing:
        return build.existing
    return build.commit([write_atomic(build.folder / "info.json", b'{"a": 1}')], {})


# --- finding 16 -----------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in two": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "not UTF-8": lambda data: b"\xff" + data,
    "a list": lambda data: b"[]",
    "deep": lambda data: b"[" * 100_000,
    "another type": lambda data: data.replace(b'"version": 1', b'"version": "x"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_named_and_passed_over(
    store: Store, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole, damaged = made(store), made(store, "two")
    path = damaged.path(MANIFEST)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    found, told = store.scan()
    assert [a.fingerprint for a in found] == [whole.fingerprint]
    assert len(told) == 1
    assert str(path) in told[0]
    assert [a.fingerprint for a in store.artifacts()] == [whole.fingerprint]
    assert str(path) in caplog.text
    # A run finishes it again, and says why.
    assert made(store, "two").manifest == damaged.manifest.model_copy(
        update={"seconds": made(store, "two").manifest.seconds}
    )
    assert "it is finished again" in caplog.text


def test_a_manifest_of_another_artifact_is_not_taken(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = made(store), made(store, "two")
    two.path(MANIFEST).write_bytes(one.path(MANIFEST).read_bytes())
    with caplog.at_level(logging.WARNING):
        assert store.begin("lens", 1, {"name": "two"}, {}).existing is None
    assert "another artifact's" in caplog.text


def test_a_flipped_bit_is_named_at_the_next_reading(store: Store) -> None:
    artifact = made(store)
    assert artifact.read_model("info.json", Info).a == 1
    artifact.path("info.json").write_bytes(b'{"a": 3}')
    for read in (
        lambda: artifact.read_model("info.json", Info),
        lambda: artifact.read_whole("info.json"),
        lambda: artifact.check("info.json"),
    ):
        with pytest.raises(IntegrityError, match=r"info\.json: 8 bytes, .* but its manifest"):
            read()


def test_a_file_that_no_manifest_lists_is_not_read(store: Store) -> None:
    artifact = made(store)
    artifact.path("other.json").write_bytes(b'{"a": 1}')
    with pytest.raises(IntegrityError, match=r"other\.json: .* its manifest states missing"):
        artifact.read_model("other.json", Info)
    with pytest.raises(IntegrityError, match="missing"):
        artifact.check("nothing.json")


# --- finding 17 -----------------------------------------------------------------------------------


def test_a_live_writers_file_is_kept_and_a_dead_ones_is_swept(store: Store) -> None:
    build = store.begin("lens", 1, {"name": "one"}, {})
    with atomic_file(build.folder / "x.tar") as file:
        file.write(b"half")
        (mine,) = build.folder.glob(".x.tar.*.tmp")
        assert not is_abandoned(mine.name)
        of_another_start = mine.name.replace(mine.name.split("-")[2], "1")
        elsewhere = "." + mine.name[1:].replace(mine.name.split(".")[3][:8], "0" * 8)
        for name in (of_another_start, elsewhere):
            (build.folder / name).write_bytes(b"")
        made(store)
        left = {path.name for path in build.folder.glob(".*.tmp")}
        assert left == {mine.name, elsewhere}
    assert (build.folder / "x.tar").read_bytes() == b"half"


HOLD = """
import sys, time
from pathlib import Path
from pipelines.store.locks import alone
with alone(Path(sys.argv[1]), "lens", print):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_second_run_of_a_home_waits_and_says_for_whom(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen([*command, "2"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        told: list[str] = []
        with alone(tmp_path, "shards", told.append):
            pass  # another step is free
        assert not told
        with alone(tmp_path, "lens", told.append):
            assert first.wait(10) == 0
        assert f"waiting for process {first.pid}" in told[0]


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        first.kill()
        first.wait()
        started = time.monotonic()
        with alone(tmp_path, "lens", lambda _: None):
            assert time.monotonic() - started < 60


def test_a_store_that_only_looks_waits_for_nobody(store: Store) -> None:
    assert made(store).fingerprint == made(FinishedStore(store.root)).fingerprint


def test_one_secret_wins_and_only_this_user_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secret"
    before = os.umask(0)
    try:
        assert private_once(path, lambda: "one") == "one"
    finally:
        os.umask(before)
    assert private_once(path, lambda: "two") == "one"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [each.name for each in path.parent.iterdir()] == ["secret"]

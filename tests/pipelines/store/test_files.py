"""Files: whole or not at all, and what a failing disk is told of."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import aiohttp
import botocore.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from pipelines.store.files import (
    atomic_file,
    file_entry,
    made_once,
    opened_place,
    storage_errors,
    write_atomic,
)
from vitlens_core.errors import ConfigError, IntegrityError, StorageError


def test_a_write_leaves_the_whole_file_or_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"former")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "object store"])
def test_a_file_written_piece_by_piece_appears_when_it_is_whole(tmp_path: Path, kind: str) -> None:
    path = UPath(tmp_path / "a.bin" if kind == "folder" else f"memory://{tmp_path}/a.bin")
    with atomic_file(path) as file:
        for _ in range(3):
            file.write(b"piece ")
        assert not path.exists()
    assert path.read_bytes() == b"piece " * 3
    assert file.entry == file_entry(path)
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def _give_up(path: UPath) -> None:
    with atomic_file(path) as file:
        file.write(b"half")
        raise IntegrityError("half")


@pytest.mark.parametrize("kind", ["folder", "object store"])
def test_a_file_given_up_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = UPath(tmp_path / "b.bin" if kind == "folder" else f"memory://{tmp_path}/b.bin")
    with pytest.raises(IntegrityError):
        _give_up(path)
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EACCES, "Permission denied; let this user"),
        (errno.EROFS, "Read-only file system; make it writable"),
        (errno.EIO, "Input/output error; check the store"),
    ],
)
def test_a_failing_disk_is_named_with_what_to_do(number: int, advice: str) -> None:
    for stated in ("/data/a.tar", None):
        with pytest.raises(StorageError) as raised, storage_errors(Path("/data/a.tar")):
            raise OSError(number, os.strerror(number), stated)
        assert str(raised.value).startswith(f"/data/a.tar: {advice}")
        assert "run the same command again to go on" in str(raised.value)
    travelled = pickle.loads(pickle.dumps(raised.value))
    assert (type(travelled), str(travelled)) == (StorageError, str(raised.value))


def _whole(scratch: Path) -> Path:
    (scratch / "passing").write_text("scratch")
    (scratch / "whole").mkdir()
    (scratch / "whole" / "data").write_text("mine")
    return scratch / "whole"


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://store:9000"),
        botocore.exceptions.NoCredentialsError(),
        aiohttp.ServerDisconnectedError("store"),
    ],
)
def test_what_a_stores_client_raises_is_a_storage_error(error: Exception) -> None:
    with pytest.raises(StorageError, match="check the store"), storage_errors(UPath("s3://a/b")):
        raise error


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    asked = []

    def make(scratch: Path) -> Path:
        asked.append(scratch)
        assert not (tmp_path / "packages" / "a").exists()
        return _whole(scratch)

    for _ in range(2):
        assert made_once(tmp_path / "packages" / "a", make) == tmp_path / "packages" / "a"
    assert len(asked) == 1
    assert _files(tmp_path) == ["packages/a/data"]


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(scratch: Path) -> Path:
        _whole(scratch)
        raise IntegrityError("half")

    with pytest.raises(IntegrityError, match="half"):
        made_once(tmp_path / "a", fail)
    with pytest.raises(FileNotFoundError):  # nor is a failed move taken for another's success
        made_once(tmp_path / "a", lambda scratch: scratch / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_who_made_a_folder_first_is_left_in_peace(tmp_path: Path) -> None:
    def overtaken(scratch: Path) -> Path:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "data").write_text("theirs")
        return _whole(scratch)

    assert made_once(tmp_path / "a", overtaken) == tmp_path / "a"
    assert (tmp_path / "a" / "data").read_text() == "theirs"
    assert _files(tmp_path) == ["a/data"]


@given(data=st.binary(max_size=5000))
def test_an_entry_is_the_same_written_or_read(data: bytes, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("entry") / "file"
    assert write_atomic(path, data) == file_entry(path)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        pytest.param("foo://bucket/x", "Unsupported filesystem: 'foo'", id="no such protocol"),
        pytest.param("http://[x/y", "Invalid IPv6 URL", id="no address"),
        pytest.param("gs://bucket/x", "gcsfs", id="a package that is not installed"),
    ],
)
def test_an_address_that_nothing_reads_is_refused_by_its_name(named: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        opened_place(named, "VITLENS_STORE")
    assert str(caught.value).startswith(f"VITLENS_STORE={named}: ")
    assert "expected a folder, or an address such as s3://" in str(caught.value)


def test_the_secret_of_an_address_is_not_told() -> None:
    with pytest.raises(ConfigError) as caught:
        opened_place("foo://alice:a-password@host/x", "VITLENS_STORE")
    assert "a-password" not in str(caught.value)

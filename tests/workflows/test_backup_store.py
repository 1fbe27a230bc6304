"""Backups of files in an object store: what is copied, what a restore leaves, what is told."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
import s3fs
from click.testing import CliRunner, Result
from upath import UPath

from pipelines.store.artifact_store import Store
from pipelines.store.home import Home
from tests.chaos import failing_s3
from tests.pipelines.registered import register
from workflows.backups.contents import STATED, Backup
from workflows.backups.last import LAST, last_backup
from workflows.cli import main

NEVER = 10**9
FILES = ("--files", "s3://mlflow")


@pytest.fixture
def s3(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[s3fs.S3FileSystem]:
    """An object store with the buckets of a server; the environment points to it."""
    with failing_s3.serving(every=NEVER) as (url, _):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("VITLENS_HOME", str(home))
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        for bucket in ("mlflow", "vitlens"):
            files.mkdir(bucket)
        yield files
        for bucket in ("mlflow", "vitlens"):
            files.rm(bucket, recursive=True)
        s3fs.S3FileSystem.clear_instance_cache()


def vitlens(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def content(files: s3fs.S3FileSystem) -> dict[str, bytes]:
    files.invalidate_cache()
    return {path: files.cat_file(path) for path in files.find("mlflow")}


def test_a_restore_puts_files_back_and_leaves_those_that_came_since(
    s3: s3fs.S3FileSystem, tmp_path: Path
) -> None:
    s3.pipe({"mlflow/1/a b": b"first", "mlflow/1/models/m+1/data": b"", "mlflow/top": b"top"})
    before = content(s3)
    done = vitlens("backup", str(tmp_path), *FILES)
    assert done.exit_code == 0, done.output
    s3.pipe({"mlflow/1/a b": b"changed since", "mlflow/2/new": b"came since"})
    s3.rm("mlflow/top")
    done = vitlens("restore", done.stdout.strip(), *FILES)
    assert done.exit_code == 0, done.output
    assert content(s3) == before | {"mlflow/2/new": b"came since"}


def test_a_folder_of_a_bucket_is_backed_up_alone(s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    s3.pipe({"mlflow/ours/a": b"a", "mlflow/ours-not/b": b"b", "mlflow/c": b"c"})
    for place, names in {"s3://mlflow/ours/": {"a"}, "s3://mlflow/empty": set()}.items():
        done = vitlens("backup", str(tmp_path), "--files", place)
        assert done.exit_code == 0, done.output
        found = Path(done.stdout.strip(), "files").rglob("*")
        assert {path.name for path in found if path.is_file()} == names
    s3.rm("mlflow/ours/a")
    backup = sorted(path for path in tmp_path.iterdir() if path.name[0] == "2")[0]
    assert vitlens("restore", str(backup), "--files", "s3://mlflow/ours").exit_code == 0
    assert content(s3)["mlflow/ours/a"] == b"a"


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("s3://no-such-bucket", 3),
        ("s3://no-such-bucket/models", 3),
        ("no/folder", 2),
        ("file:///no/such", 2),
    ],
)
def test_files_that_are_not_there_end_a_backup(
    s3: s3fs.S3FileSystem, tmp_path: Path, place: str, code: int
) -> None:
    """Else it would pass for one without models."""
    done = vitlens("backup", str(tmp_path / "kept"), "--files", place)
    assert done.exit_code == code
    assert place.partition("/models")[0].removeprefix("file://") in done.output
    assert "Error:" not in done.output  # of ours, not of fsspec
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [".lock"]


@pytest.mark.slow
def test_markers_of_folders_are_no_files(s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    """Consoles make them: an empty object whose key ends with a slash."""
    s3.pipe({"mlflow/ours/a/x": b"x", "mlflow/ours/empty": b""})
    for key in ("ours/", "ours/a/", "ours/a/none/", "more/"):
        s3.call_s3("put_object", Bucket="mlflow", Key=key, Body=b"")
    for place, names in {
        "mlflow": ["ours/a/x", "ours/empty"],
        "mlflow/ours": ["a/x", "empty"],
    }.items():
        done = vitlens("backup", str(tmp_path), "--files", f"s3://{place}")
        assert done.exit_code == 0, done.output
        stated = Backup.model_validate_json(Path(done.stdout.strip(), STATED).read_bytes())
        assert [file.name for file in stated.files] == names
        assert vitlens("restore", done.stdout.strip(), "--files", f"s3://{place}").exit_code == 0
    s3.call_s3("put_object", Bucket="mlflow", Key="ours/a/", Body=b"x")  # a file of that name
    done = vitlens("backup", str(tmp_path), *FILES)
    assert done.exit_code == 3
    assert "ours/a/" in done.output


@pytest.mark.parametrize("form", ["models", "./models/", "file://{}/models", "local://{}/models"])
def test_a_local_folder_is_the_same_in_every_form(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(home))
    given = ("--files", form.format(tmp_path))
    folder = tmp_path / "models"
    for name in ("top", "1/models/m+1/data", "1/a b"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    done = vitlens("backup", str(tmp_path / "kept"), *given)
    assert done.exit_code == 0, done.output
    stated = Backup.model_validate_json(Path(done.stdout.strip(), STATED).read_bytes())
    assert {file.name for file in stated.files} == {"top", "1/models/m+1/data", "1/a b"}
    shutil.rmtree(folder)
    done = vitlens("restore", done.stdout.strip(), *given)
    assert done.exit_code == 0, done.output
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix(): path.read_text() for path in found} == {
        file.name: file.name for file in stated.files
    }


@pytest.mark.slow
def test_a_store_that_does_not_answer_ends_a_backup_and_a_restore(
    s3: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe("mlflow/a", b"a")
    backup = vitlens("backup", str(tmp_path), *FILES).stdout.strip()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    for command in (("backup", str(tmp_path)), ("restore", backup)):
        done = vitlens(*command, *FILES)
        assert done.exit_code == 3
        assert "s3://mlflow" in done.output
        assert "run the same command again" in done.output
    assert [path for path in tmp_path.iterdir() if path.is_dir() and path.name[0] == "2"] == [
        Path(backup)
    ]


def test_a_key_that_is_no_path_of_a_file_is_named(s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    """Such a file would lie outside of the backup."""
    for key in ("a/../../../owned", "a//b"):
        s3.call_s3("put_object", Bucket="mlflow", Key=key, Body=b"x")
        done = vitlens("backup", str(tmp_path / "deep" / "kept"), *FILES)
        assert done.exit_code == 3
        assert key in done.output
        s3.call_s3("delete_object", Bucket="mlflow", Key=key)
    assert not list(tmp_path.rglob("owned"))


def test_the_note_of_the_last_backup_lies_in_the_store_where_no_artifact_is_looked_for(
    s3: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITLENS_STORE", "s3://vitlens/artifacts")
    store = Home.from_environment().store
    assert last_backup(store) is None
    for _ in range(2):
        assert vitlens("backup", str(tmp_path), *FILES).exit_code == 0
        assert last_backup(store) is not None
    assert store.folders() == []
    assert store.scan() == ([], [])


def test_a_store_that_takes_no_note_leaves_the_backup_finished(
    s3: s3fs.S3FileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("VITLENS_STORE", "s3://no-such-bucket/artifacts")
    done = vitlens("backup", str(tmp_path), *FILES)
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.strip(), "backup.json").exists()
    assert "the backup is finished" in caplog.text


@pytest.mark.slow
def test_the_note_is_neither_deleted_nor_reported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `gc` and `verify` look over a store of a home."""
    monkeypatch.setenv("VITLENS_HOME", str(home))
    monkeypatch.delenv("VITLENS_STORE", raising=False)
    register(home)
    before = vitlens("verify")
    assert vitlens("backup", str(tmp_path)).exit_code == 0
    note = Store(UPath(home / "artifacts")).root / LAST
    assert note.exists()
    assert vitlens("verify").output == before.output
    freed = vitlens("gc", "--delete", "--older-than", "0")
    assert freed.exit_code == 0, freed.output
    assert LAST not in freed.output
    assert note.exists()

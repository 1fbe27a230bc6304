# ruff: noqa: E501  one case a line
"""What lists files or settings: tables, tars, annotations, overrides, archives, names.

Each ends as right or refused with a sentence of ours; nothing is written, and no other error shows.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pipelines.config import load_run_config
from pipelines.objects.annotations import labels, metadata, object_paths
from pipelines.source.datasets.manifest import Manifest
from pipelines.source.datasets.webdataset_tars import WebdatasetTars
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError, VitlensError
from workflows.spec import load_workflow

READ, REFUSED = "read", "refused"


def end(read: Callable[[], object]) -> str:
    """`read`, or `refused` with a sentence; any other error is none of the ends that are allowed."""
    try:
        read()
    except VitlensError as error:
        return REFUSED if 10 < len(str(error)) < 20_000 else f"no sentence: {error}"[:200]
    return READ


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set beside a secret."""
    (tmp_path / "secret.npy").write_bytes(b"secret")
    made = tmp_path / "data"
    made.mkdir()
    (made / "a.npy").write_bytes(b"x")
    return made


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


# --- tables of recordings -------------------------------------------------------------------------

HEAD = "signal,label\n"
TABLES: dict[str, tuple[str, bytes]] = {
    "no row": (REFUSED, HEAD.encode()),
    "no header": (REFUSED, b""),
    "a header of nothing": (REFUSED, b"\n\n\n"),
    "zeros": (REFUSED, bytes(1000)),
    "no UTF-8": (REFUSED, HEAD.encode() + b"\xff\xfe,chair\n"),
    "UTF-16": (REFUSED, (HEAD + "a.npy,chair\n").encode("utf-16")),
    "quotes without end": (REFUSED, (HEAD + '"a.npy,chair\n' * 50).encode()),
    "a cell of a million": (REFUSED, (HEAD + "a" * 1_000_000 + ",chair\n").encode()),
    "columns without end": (REFUSED, b"signal" + b",label" * 100_000 + b"\n"),
    "a column twice": (REFUSED, b"signal,label,label\na.npy,a,b\n"),
    "a column of ours": (REFUSED, b"signal,label,__class__\na.npy,a,b\n"),
    "above": (REFUSED, (HEAD + "../secret.npy,chair\n").encode()),
    "above later": (REFUSED, (HEAD + "a/../../secret.npy,chair\n").encode()),
    "from the root": (REFUSED, (HEAD + "/etc/passwd,chair\n").encode()),
    "an address": (READ, (HEAD + "http://127.0.0.1:9/a.npy,chair\n").encode()),
    "a NUL": (REFUSED, (HEAD + "a\0.npy,chair\n").encode()),
    "a key of a path": (REFUSED, b"signal,label,key\na.npy,a,../../x\n"),
    "a key of a thousand": (REFUSED, b"signal,label,key\na.npy,a," + b"k" * 1000 + b"\n"),
    "a key of another script": (REFUSED, "signal,label,key\na.npy,a,стул\n".encode()),
    "a key twice": (REFUSED, b"signal,label,key\na.npy,a,k\na.npy,b,k\n"),
    "a split of no kind": (REFUSED, b"signal,label,split\na.npy,a,holdout\n"),
    "an option of no kind": (READ, b"signal,label,reader_options.__class__\na.npy,a,1\n"),
    "deep JSON as an option": (READ, b"signal,label,reader_options.x\na.npy,a," + b"[" * 90_000 + b"\n"),
    "a number of a million digits": (REFUSED, b"signal,label,reader_options.x\na.npy,a," + b"9" * 1_000_000 + b"\n"),
    "a formula": (READ, (HEAD + "a.npy,=1+1\n").encode()),
    "a steering label": (READ, (HEAD + "a.npy,\x1b[2J\n").encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables(folder: Path, name: str) -> None:
    expected, content = TABLES[name]
    (folder / "manifest.csv").write_bytes(content)
    before = files(folder.parent)
    assert end(lambda: list(Manifest(root=str(folder)).pairs())) == expected
    assert files(folder.parent) == before


PARQUETS: dict[str, tuple[str, Callable[[], pyarrow.Table] | bytes]] = {
    "noise": (REFUSED, b"PAR1" + bytes(range(256)) + b"PAR1"),
    "cut": (REFUSED, b"PAR1" + bytes(8)),
    "a text": (REFUSED, b"signal,label\n"),
    "numbers for names": (READ, lambda: pyarrow.table({"signal": [1.5], "label": ["a"]})),
    "bytes for names": (REFUSED, lambda: pyarrow.table({"signal": [b"\xff"], "label": ["a"]})),
    "nothing for names": (REFUSED, lambda: pyarrow.table({"signal": [None], "label": ["a"]})),
    "objects for labels": (REFUSED, lambda: pyarrow.table({"signal": ["a.npy"], "label": [{"a": 1}]})),
    "lists in lists": (REFUSED, lambda: pyarrow.table({"signal": ["a.npy"], "image": [[["b.png"]]]})),
    "above in a list": (REFUSED, lambda: pyarrow.table({"signal": ["a.npy"], "image": [["../secret.npy"]]})),
    "a million times one value": (REFUSED, lambda: pyarrow.table({"signal": ["a" * 2000] * 300_000, "label": ["b"] * 300_000})),
    "no row": (REFUSED, lambda: pyarrow.table({"signal": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], pyarrow.string())})),
}  # fmt: skip


@pytest.mark.parametrize("name", PARQUETS)
def test_parquets(folder: Path, name: str) -> None:
    expected, content = PARQUETS[name]
    path = folder / "manifest.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pyarrow.parquet.write_table(content(), path)
    before = files(folder.parent)
    listed = Manifest(root=str(folder), table="manifest.parquet")
    assert end(lambda: list(listed.pairs())) == expected
    assert files(folder.parent) == before


NAMES_OF_TABLES = (
    "../secret.npy",
    "/etc/passwd",
    "",
    ".",
    "a\0b.csv",
    "x" * 5000,
    "a.npy",
    "pipe.csv",
)


@pytest.mark.parametrize("table", NAMES_OF_TABLES)
def test_names_of_tables(folder: Path, table: str) -> None:
    os.mkfifo(folder / "pipe.csv")
    assert end(lambda: list(Manifest(root=str(folder), table=table).pairs())) == REFUSED


# --- tars of recordings ---------------------------------------------------------------------------


def tar(*members: tuple[str, bytes, dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content, more in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in more.items():
                setattr(info, field, value)
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


def one(name: str, **more: Any) -> bytes:
    return tar((f"{name}.wav", b"RIFF", more), (f"{name}.cls", b"chair", {}))


_LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}
TARS: dict[str, tuple[str, bytes]] = {
    "nothing": (REFUSED, b""),
    "zeros": (READ, bytes(10_240)),
    "noise": (REFUSED, bytes(range(256)) * 40),
    "a text": (REFUSED, b"no tar"),
    "cut in a header": (REFUSED, one("a")[:300]),
    "cut in a file": (REFUSED, tar(("a.wav", bytes(5000), {}))[:2000]),
    "a wrong sum": (REFUSED, b"X" + one("a")[1:]),
    "a size of billions": (REFUSED, one("a").replace(b"00000000004", b"77777777777", 1)),
    "a size below nothing": (REFUSED, one("a").replace(b"00000000004\0", b"\xff" * 12, 1)),
    "a link": (READ, tar(("a.wav", b"", _LINK))),
    "a device": (READ, tar(("a.wav", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}))),
    "above": (READ, one("../../owned")),
    "from the root": (READ, one("/etc/owned")),
    "no name": (READ, tar(("", b"x", {}))),
    "a long name": (READ, one("a" * 3000)),
    "one name twice": (REFUSED, tar(("a.wav", b"1", {}), ("a.wav", b"2", {}), ("a.cls", b"x", {}))),
    "details of no object": (READ, tar(("a.wav", b"1", {}), ("a.json", b"[1]", {}), ("a.cls", b"x", {}))),
    "deep details": (READ, tar(("a.wav", b"1", {}), ("a.json", b"[" * 90_000, {}), ("a.cls", b"x", {}))),
    "a caption of no UTF-8": (READ, tar(("a.wav", b"1", {}), ("a.txt", b"\xff\xfe", {}))),
    "a class of a number beyond": (REFUSED, tar(("a.wav", b"1", {}), ("a.cls", b"9" * 500, {}))),
    "compressed": (REFUSED, gzip.compress(one("a"))),
}  # fmt: skip


@pytest.mark.parametrize("name", TARS)
def test_tars(folder: Path, name: str) -> None:
    expected, content = TARS[name]
    (folder / "a.tar").write_bytes(content)
    before = files(folder.parent)
    tars = WebdatasetTars(root=str(folder), train=("*.tar",))
    assert end(lambda: [vars(pair) for pair in tars.pairs()]) == expected
    assert files(folder.parent) == before


# --- annotations of objects -----------------------------------------------------------------------

ANNOTATIONS: dict[str, bytes] = {
    "nothing": b"",
    "no gzip": b"{}",
    "cut": gzip.compress(json.dumps({f"{n}": "x" for n in range(5000)}).encode())[:200],
    "a list": gzip.compress(b"[]"),
    "a number": gzip.compress(b"1"),
    "no end": gzip.compress(b'{"a": ['),
    "deep": gzip.compress(b'{"a": ' + b"[" * 200_000),
    "no UTF-8": gzip.compress(b'{"\xff": 1}'),
    "a wrong sum": gzip.compress(b"{}")[:-8] + bytes(8),
    "two documents": gzip.compress(b"{} {}"),
    "a number of many digits": gzip.compress(b'{"a": ' + b"9" * 6000),
    "a control character": gzip.compress(b'{"a\n": 1}'),
}


READERS: tuple[Callable[[Path], object], ...] = (
    labels,
    lambda path: list(object_paths(path)),
    lambda path: metadata(path, ["a"]),
)


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("read", READERS)
def test_annotations(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(ANNOTATIONS[name])
    with pytest.raises((ConfigError, InputError)):
        read(path)


# --- settings of a run ----------------------------------------------------------------------------

OVERRIDES = (
    "", "=", "a", ".=1", "a..b=1", "renders", "renders=", "renders=1", "renders=[1]", "lens=x",
    "gates=null", "nothing.at.all=1", "renders.size_px=-1", "renders.size_px=1e99",
    "renders.size_px=.nan", "renders.size_px=!!python/object/apply:os.system ['true']",
    "renders.size_px=!!python/name:os.system", "renders.size_px=&a [*a]", "renders.size_px={a: b",
    "renders.size_px=" + "[" * 20_000, "modality=text", "objects.count=" + "9" * 5000,
    "objects.mirror=[]", "objects.classes={a: 1}", "__class__.x=1", "renders.__init__=1",
    "objects.seed=2026-01-01", "\0=1", "source.kind=evil",
    "source={kind: manifest, root: 5}", "tracking.loggers=[os.system]", "store=/etc",
    "a: &x [1,1]=2", "lens.train.learning_rate=.inf",
)  # fmt: skip


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides(override: str) -> None:
    workflow = load_workflow("point_cloud")
    with pytest.raises(ConfigError) as refused:
        load_run_config("point_cloud", workflow.base, {}, [override])
    assert len(str(refused.value)) < 20_000


# --- names ----------------------------------------------------------------------------------------

NAMES = (
    "", "..", "../x", "a/../../x", "/x", "//x", "a\0", "x" * 2000, "link/x", "link", "a/link/../../x",
    "./../x", "deep/link/x", "...\0",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_a_folder(folder: Path, name: str) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / "deep").mkdir()
    (folder / "deep" / "link").symlink_to("../../")
    with pytest.raises(InputError):
        resolve_inside(folder, name)


INNER_NAMES = ("a", "a b", "ü", "a..b", "..a", "a/./b", "-rf", "a\nb", "~", "$HOME", "*")


@pytest.mark.parametrize("name", INNER_NAMES)
def test_names_that_stay_in_it(folder: Path, name: str) -> None:
    assert resolve_inside(folder, name).is_relative_to(folder)

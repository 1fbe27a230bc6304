# ruff: noqa: E501  one case a line
"""Archives, tags, addresses and folders of models as a stranger could make them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vitlens_core
from pipelines.registry import archive, models, promotion
from pipelines.store.home import Home
from tests.chaos.hostile.meshes import READ, REFUSED
from tests.pipelines.registered import NAME, register
from vitlens_core.errors import ConfigError, IntegrityError, VitlensError

EVALUATION = "0" * 64


def contents(**fields: Any) -> bytes:
    stated = {
        "format": archive.FORMAT, "name": NAME, "version": 1, "files": [],
        "tags": {"vitlens.evaluation": EVALUATION}, "run_tags": {}, "params": {}, "figures": {},
        "gates": "passed",
    }  # fmt: skip
    return json.dumps({**stated, **fields}).encode()


def listed(*names: str, size: int = 1) -> bytes:
    return contents(files=[{"name": n, "size_bytes": size, "sha256": "0" * 64} for n in names])


def tar(*members: tuple[str, bytes] | tuple[str, bytes, dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, data, *more in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in (more[0] if more else {}).items():
                setattr(info, field, value)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def alone(data: bytes) -> bytes:
    return tar((archive.CONTENTS, data))


def named(name: str) -> bytes:
    return tar((archive.CONTENTS, listed(name)), (name.replace("\0", ""), b"x"))


def digests_of(data: bytes) -> bytes:
    """An archive whose model is the list of its own digests alone."""
    digest = hashlib.sha256(data).hexdigest()
    stated = {"name": "model/digests.json", "size_bytes": len(data), "sha256": digest}
    return tar((archive.CONTENTS, contents(files=[stated])), ("model/digests.json", data))


ARCHIVES: dict[str, bytes] = {
    "nothing": b"",
    "noise": bytes(range(256)) * 40,
    "zeros": bytes(20_480),
    "no contents": tar(("model/x", b"x")),
    "empty contents": alone(b""),
    "contents of no JSON": alone(b"{"),
    "deep contents": alone(b"[" * 200_000),
    "contents of a list": alone(b"[]"),
    "another format": alone(contents(format="vitlens-model-99")),
    "another field": alone(contents(evil=1)),
    "a name of a path": alone(contents(name="vitlens-../../x")),
    "a name with a quote": alone(contents(name="vitlens-x' or '1' = '1")),
    "a name of another": alone(contents(name="champion")),
    "no evaluation": alone(contents(tags={})),
    "an evaluation above": alone(contents(tags={"vitlens.evaluation": "../../../../x"})),
    "an evaluation with a quote": alone(contents(tags={"vitlens.evaluation": "' or '1' = '1"})),
    "an evaluation of words": alone(contents(tags={"vitlens.evaluation": "x" * 64})),
    "a file above": named("../owned"),
    "a file above later": named("model/../../owned"),
    "a file from the root": named("/tmp/owned"),
    "a file elsewhere": named("other/x"),
    "a file with a NUL": named("model/a\0b"),
    "a file with a backslash": named("model\\..\\owned"),
    "a folder in the report": named("report/a/b"),
    "the folder itself": named("model"),
    "a long name": named("model/" + "x" * 300),
    "a file that is not listed": tar((archive.CONTENTS, contents()), ("model/x", b"x")),
    "a listed file that is missing": alone(listed("model/x")),
    "another size": tar((archive.CONTENTS, listed("model/x", size=9)), ("model/x", b"x")),
    "a size below nothing": tar((archive.CONTENTS, listed("model/x", size=-1)), ("model/x", b"x")),
    "another sum": tar((archive.CONTENTS, listed("model/x")), ("model/x", b"x")),
    "a link": tar((archive.CONTENTS, listed("model/x", size=0)), ("model/x", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})),
    "a hard link": tar((archive.CONTENTS, listed("model/x", size=0)), ("model/x", b"", {"type": tarfile.LNKTYPE, "linkname": archive.CONTENTS})),
    "a device": tar((archive.CONTENTS, listed("model/x", size=0)), ("model/x", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5})),
    "a pipe": tar((archive.CONTENTS, listed("model/x", size=0)), ("model/x", b"", {"type": tarfile.FIFOTYPE})),
    "contents as a link": tar((archive.CONTENTS, b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})),
    "cut": tar((archive.CONTENTS, listed("model/x")), ("model/x", bytes(5000)))[:1500],
    "digests of a list": digests_of(b"[]"),
    "digests of numbers": digests_of(b'{"digests.json": 1}'),
    "deep digests": digests_of(b"[" * 200_000),
    "no model": tar((archive.CONTENTS, contents())),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(home: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(ARCHIVES[name])
    before = sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(home))
    with pytest.raises((ConfigError, IntegrityError)):
        archive.import_(home, path)
    assert sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(home)) == before
    assert not (home / "reports").exists()
    assert models.versions(home, "point_cloud") == []


ADDRESSES = (
        "", "models:/", "models:/x", "models:/x@", "models:/x/", "models:/x/-1", "models:/x/latest",
        "models:/../x/1", "models:/x' or '1'='1/1", 'models:/x"/1', "models:/x`y/1",
        "models:/x\\/1", "models:/x\0/1", "models:/x/" + "9" * 5000, "models:/x@" + "y" * 5000,
        "models:/%/1", "models:/x@champion@champion", "runs:/0/model", "file:///etc/passwd",
        "s3://bucket/x", "models:/\n/1", "models:/x/1/../../etc",
)  # fmt: skip


@pytest.mark.parametrize("source", ADDRESSES)
def test_addresses(home: Path, source: str) -> None:
    with pytest.raises(VitlensError) as refused:
        models.download(source, home)
    assert 10 < len(str(refused.value)) < 12_000


# Key and value of a tag, and how asking for its version must end.
TAGS: tuple[tuple[str, str, str], ...] = (
    ("vitlens.evaluation", "../../../x", REFUSED),
    ("vitlens.evaluation", "' or '1' = '1", READ),
    ("vitlens.digest", "x", REFUSED),
    ("vitlens.digest", "sha256:" + "0" * 64, REFUSED),
    ("vitlens.signature", "x:y:z", READ),
    ("vitlens.signature", "ed25519:" + "A" * 4000, READ),
    ("vitlens.gates.signature", "ed25519::", REFUSED),
    ("vitlens.gates.signature", "\x1b[2J", REFUSED),
    ("vitlens.gates.settings", "x/y/z", REFUSED),
    ("vitlens.gates.settings", "settings/999999999999999999999", REFUSED),
    ("vitlens.gates.results", "[" * 4000, REFUSED),
    ("vitlens.classes.0000", "\x1b]0;owned\x07\n<script>", READ),
    ("vitlens.tier.demo", "passed", READ),
    ("mlflow.note.content", "<script>alert(1)</script>", READ),
)


def test_tags(home: Path) -> None:
    """Each is set on one version: it is listed, and loaded and promoted, or refused in a sentence."""
    model, client = register(home), models.connect(home)
    honest = client.get_model_version(NAME, "1").tags
    ends = {}
    for key, value, _ in TAGS:
        client.set_model_version_tag(NAME, "1", key, value)
        assert [v.version for v in models.versions(home, "point_cloud")] == [1]
        asked: tuple[Callable[[], object], ...] = (
            lambda: models.download(model.uri, home),
            lambda: promotion.promote(home, NAME, 1),
            lambda: Home(home).report_folder(models.versions(home, "point_cloud")[0].evaluation),
        )
        ends[key, value] = READ
        for ask in asked:
            try:
                found = ask()
            except VitlensError as error:
                assert str(error)  # noqa: PT017  compared below
                ends[key, value] = REFUSED
            else:
                assert not isinstance(found, Path) or found.is_relative_to(home)
        if key in honest:
            client.set_model_version_tag(NAME, "1", key, honest[key])
        else:
            client.delete_model_version_tag(NAME, "1", key)
    assert models.download(model.uri, home)
    assert ends == {(key, value): end for key, value, end in TAGS}


FOLDERS: dict[str, tuple[str, bytes]] = {
    "a lens of noise": ("lens.safetensors", bytes(range(256))),
    "a lens of nothing": ("lens.safetensors", b""),
    "a lens that states billions": ("lens.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
    "a lens of deep JSON": ("lens.safetensors", (100_000).to_bytes(8, "little") + b"[" * 100_000),
    "a lens of a pickle": ("lens.safetensors", b"\x80\x04cposix\nsystem\n."),
    "a hub's lens of deep JSON": ("config.json", b"[" * 200_000),
    "a hub's lens of a list": ("config.json", b"[]"),
    "a hub's lens of no JSON": ("config.json", b"{"),
    "a hub's lens of no UTF-8": ("config.json", b"\xff\xfe"),
    "code": ("modeling.py", b"raise SystemExit"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_models(tmp_path: Path, name: str) -> None:
    file, data = FOLDERS[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(VitlensError) as refused:
        vitlens_core.load(tmp_path / file if file.endswith("tensors") else tmp_path)
    assert len(str(refused.value)) < 20_000

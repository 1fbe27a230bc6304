"""An index that somebody damaged or forged: it is named, and no part of it is taken."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from upath import UPath

from pipelines.index.catalogue import Catalogue
from pipelines.index.items import KINDS, graph_file
from pipelines.store.artifacts import MANIFEST, Artifact, load
from pipelines.store.files import file_entry
from vitlens_core.errors import IntegrityError

FILES = ("index.json", "items.jsonl", *(graph_file(kind, 0) for kind in KINDS))


@pytest.fixture
def copy(index_artifact: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(str(index_artifact.folder), tmp_path / "index"))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flipped,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copy: Path, name: str, damage: str) -> None:
    DAMAGES[damage](copy / name)
    with pytest.raises((IntegrityError, FileNotFoundError), match=name):
        Catalogue(load(UPath(copy)))


def restated(copy: Path, name: str) -> None:
    """Let the manifest state a file as it is now, as whoever forges an index would."""
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"] = [
        file_entry(copy / name).model_dump() if each["name"] == name else each
        for each in manifest["files"]
    ]
    (copy / MANIFEST).write_text(json.dumps(manifest))


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


PICTURES = {
    "a page": b"<script>alert(1)</script>",
    "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "a PNG": picture("PNG"),
    "a RIFF of sound": b"RIFF\x10\0\0\0WAVE" + bytes(12),
    "a WebP that states more than there is": b"RIFF\xff\xff\0\0WEBP" + bytes(12),
    "a WebP with a page after it": picture("WEBP") + b"<script>alert(1)</script>",
    "nothing": b"",
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_webp_is_not_shown(copy: Path, name: str) -> None:
    shown = Catalogue(load(UPath(copy))).item(0).thumbnail
    assert shown is not None
    tar, start, _ = shown
    data = bytearray((copy / tar).read_bytes())
    data[start : start + len(PICTURES[name])] = PICTURES[name]
    (copy / tar).write_bytes(data)
    restated(copy, tar)
    lines = [json.loads(line) for line in (copy / "items.jsonl").read_text().splitlines()]
    lines[0]["thumbnail"] = [tar, start, len(PICTURES[name])]
    (copy / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    restated(copy, "items.jsonl")
    catalogue = Catalogue(load(UPath(copy)))
    with pytest.raises(IntegrityError, match="no WebP"):
        catalogue.thumbnail(0)
    assert catalogue.thumbnail(1)


def test_a_thumbnail_beyond_the_end_of_its_tar_is_refused(copy: Path) -> None:
    lines = [json.loads(line) for line in (copy / "items.jsonl").read_text().splitlines()]
    lines[0]["thumbnail"][1] = 2**40
    (copy / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    restated(copy, "items.jsonl")
    with pytest.raises(IntegrityError, match="no WebP"):
        Catalogue(load(UPath(copy))).thumbnail(0)

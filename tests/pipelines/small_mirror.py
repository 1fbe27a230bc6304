"""A mirror in Objaverse's layout: a few of the shipped objects, and two that are broken."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.objects.mirror import EMBEDDED, LAYOUT_FOLDER, LVIS_ANNOTATIONS, OBJECT_PATHS

CLASSES = ("box", "chair", "table")
PER_CLASS = 4
HTML = b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>"
BROKEN = ("is-html", "not-there")


def write(root: Path) -> Path:
    """Copy the smallest objects of three classes and add two broken ones to class `box`.

    `is-html` is fetched but cannot be rendered, `not-there` is annotated but has no file.
    Returns `root`.
    """
    source, layout = EMBEDDED / LAYOUT_FOLDER, root / LAYOUT_FOLDER
    paths = _read(source / OBJECT_PATHS)
    classes = _smallest(source, paths)
    folder = layout / "glbs" / "000-000"
    folder.mkdir(parents=True)
    for uid in (uid for uids in classes.values() for uid in uids):
        shutil.copy(source / paths[uid], folder / f"{uid}.glb")
    (folder / "is-html.glb").write_bytes(HTML)
    classes["box"] += BROKEN
    uids = [uid for members in classes.values() for uid in members]
    known = {k: v for path in source.glob("metadata/*") for k, v in _read(path).items()}
    known |= {uid: {"name": f"a broken box, {uid}"} for uid in BROKEN}
    write_json(layout / OBJECT_PATHS, {uid: f"glbs/000-000/{uid}.glb" for uid in uids})
    write_json(layout / LVIS_ANNOTATIONS, classes)
    write_json(layout / "metadata" / "000-000.json.gz", {uid: known[uid] for uid in uids})
    return root


def _smallest(source: Path, paths: dict[str, str]) -> dict[str, list[str]]:
    labels = _read(source / LVIS_ANNOTATIONS)

    def size(uid: str) -> tuple[int, str]:
        return (source / paths[uid]).stat().st_size, uid

    return {
        label: sorted((uid for uid in labels[label] if uid in paths), key=size)[:PER_CLASS]
        for label in CLASSES
    }


def _read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def write_json(path: Path, content: object) -> None:
    """A gzip-compressed JSON file, the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))

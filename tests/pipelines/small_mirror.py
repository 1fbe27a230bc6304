"""A mirror in Objaverse's layout: a few shipped objects, and some that are broken."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.mirror import EMBEDDED, LAYOUT_FOLDER, LVIS_ANNOTATIONS, OBJECT_PATHS

CLASSES = ("box", "chair", "table")
PER_CLASS = 4
HTML = b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>"
BROKEN = {"broken-html": HTML, "broken-empty": b"", "broken-cut": None, "broken-absent": None}


def write(root: Path) -> Path:
    """Copy the smallest objects of three classes and add the broken ones to class `box`.

    Returns `root`. `broken-html` and `broken-cut` can be fetched but not rendered; the size of
    `broken-empty` is not the annotated one; `broken-absent` is annotated only.
    """
    source, layout = EMBEDDED / LAYOUT_FOLDER, root / LAYOUT_FOLDER
    if not source.exists():
        source = EMBEDDED
    paths = _read(source / OBJECT_PATHS)
    classes = _smallest(source, paths)
    (layout / "glbs" / "000-000").mkdir(parents=True)
    for uid in (uid for uids in classes.values() for uid in uids):
        shutil.copy(source / paths[uid], layout / "glbs" / "000-000" / f"{uid}.glb")
    _add_broken(layout, classes)
    uids = [uid for members in classes.values() for uid in members]
    _write(layout / OBJECT_PATHS, {uid: f"glbs/000-000/{uid}.glb" for uid in uids})
    _write(layout / LVIS_ANNOTATIONS, classes)
    known = {k: v for p in source.glob("metadata/*") for k, v in _read(p).items()}
    sizes = {"broken-empty": 100, "broken-absent": 100}
    invented = {uid: {"name": uid, "archives": {"glb": {"size": sizes.get(uid)}}} for uid in BROKEN}
    _write(layout / "metadata" / "000-000.json.gz", {u: (known | invented)[u] for u in uids})
    return root


def _smallest(source: Path, paths: dict[str, str]) -> dict[str, list[str]]:
    labels = _read(source / LVIS_ANNOTATIONS)
    present = {label: [uid for uid in labels[label] if uid in paths] for label in CLASSES}
    return {
        label: sorted(uids, key=lambda uid: ((source / paths[uid]).stat().st_size, uid))[:PER_CLASS]
        for label, uids in present.items()
    }


def _add_broken(layout: Path, classes: dict[str, list[str]]) -> None:
    folder = layout / "glbs" / "000-000"
    whole = (folder / f"{classes['box'][0]}.glb").read_bytes()
    contents = BROKEN | {"broken-cut": whole[: len(whole) // 2]}
    for uid, content in contents.items():
        if content is not None:
            (folder / f"{uid}.glb").write_bytes(content)
    classes["box"] = [*classes["box"], *BROKEN]


def _read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))

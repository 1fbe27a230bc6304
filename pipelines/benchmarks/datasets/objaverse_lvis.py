"""Objaverse-LVIS: some 46,000 objects in LVIS's 1,156 categories.

Expects OpenShape's files:

    split/lvis.json                     [{"uid", "category", "group", "data_path"}, …]
    Objaverse/<group>/<uid>.npy         a pickled dictionary in an array of no axes: {"xyz":
                                        [N, 3] y up, "rgb": [N, 3] in 0..1, …}; group 000-000

The list may also lie in meta_data/split/, where the source `openshape` has it: one tree serves
both. `data_path` is a path on its authors' machine: only the part from `Objaverse/` on is used.

Protocol: 10,000 points, y and z swapped, centred, unit sphere, rgb kept; all objects of the list,
among all its categories. A lens trained on Objaverse has seen these objects, though not their
category, unless LVIS was left out of its training: ViT-Lens-G reached 50.1 % without LVIS.

Licence: ODC-BY for the collection; each object under its own Creative Commons licence.
Source: Deitke et al. (arXiv 2212.08051); OpenShape (arXiv 2305.10764).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.benchmarks.base import Benchmark, Example, Mounted, folder_of, read_json
from pipelines.benchmarks.clouds import OPENSHAPE, OPENSHAPE_POINTS, cloud, drawn
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers.pickled import read_npy

CATEGORIES = 1156
_FIELDS = ("uid", "category", "group", "data_path")
_DATA = "Objaverse"


def mount(root: str) -> Mounted:
    """The list's objects. Raises ConfigError."""
    folder = folder_of(root)
    path = _list_in(folder)
    seen: set[str] = set()
    test = []
    for index, entry in enumerate(_entries(path)):
        where = f"{path}, entry {index}"
        texts = {n: text for n in _FIELDS if isinstance(text := entry.get(n), str) and text}
        if len(texts) < len(_FIELDS):
            raise ConfigError(f"{where}: expected texts {', '.join(_FIELDS)}; found {entry!r}")
        if texts["uid"] in seen:
            raise ConfigError(f"{where}: {texts['uid']} a second time")
        seen.add(texts["uid"])
        file = resolve_inside(folder, _place(texts["data_path"], where))
        if not file.is_file():
            raise ConfigError(f"{where}: no file {file}")
        label = texts["category"].replace("_", " ")
        read = partial(_read, file, index)
        test.append(Example(texts["uid"], read, (file,), (label,)))
    classes = tuple(sorted({label for example in test for label in example.labels}))
    partial_list = f"{len(classes)} categories; the whole list has {CATEGORIES}"
    notes = () if len(classes) == CATEGORIES else (partial_list,)
    return Mounted(test, classes=classes, notes=notes)


def _list_in(folder: Path) -> Path:
    """Return the list's place: where the archives are unpacked, or as the source has them."""
    of_source = folder / "meta_data" / "split" / "lvis.json"
    return of_source if of_source.is_file() else folder / "split" / "lvis.json"


def _entries(path: Path) -> list[dict[str, object]]:
    entries = read_json(path, holds="split/")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: expected a list of objects, found {type(entries).__name__}")
    if strange := [entry for entry in entries if not isinstance(entry, dict)]:
        raise ConfigError(f"{path}: expected objects with {', '.join(_FIELDS)}; found {strange[0]}")
    return entries


def _place(data_path: str, where: str) -> PurePosixPath:
    """The file below the mounted folder: `/their/disk/Objaverse/g/u.npy` → `Objaverse/g/u.npy`."""
    parts = PurePosixPath(data_path).parts
    start = len(parts) - 3
    if start < 0 or parts[start] != _DATA or ".." in parts:
        raise ConfigError(
            f"{where}: expected a data_path …/{_DATA}/<group>/<uid>.npy, found {data_path!r}"
        )
    return PurePosixPath(*parts[start:])


def _read(path: Path, seed: int) -> dict[str, np.ndarray]:
    array = read_npy(path)
    item = array.item() if array.shape == () else None
    if not isinstance(item, dict) or not {"xyz", "rgb"} <= item.keys():
        raise InputError(f"{path}: expected a dictionary with xyz and rgb, found {array.dtype}")
    coloured = cloud(item["xyz"], item["rgb"], str(path))
    return {"point_cloud": drawn(coloured, OPENSHAPE_POINTS, seed)}


BENCHMARKS = (
    Benchmark(
        name="objaverse_lvis",
        title="Objaverse-LVIS",
        modality="point_cloud",
        task="classification",
        mount=mount,
        protocol=f"{OPENSHAPE}, rgb kept",
        licence="ODC-BY; objects under their own Creative Commons licences",
        published={
            "top1": {
                "ViT-Lens-G": 0.520,
                "ViT-Lens-G (without LVIS)": 0.501,
                "OpenShape": 0.468,
                "Uni3D-g": 0.553,
                "OmniBind": 0.540,
            }
        },
        expected={"points_seen": OPENSHAPE_POINTS, "colour": True},
    ),
)

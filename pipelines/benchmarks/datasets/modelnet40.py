"""ModelNet40: 2,468 test objects of 40 classes, under two protocols that are not interchangeable.

`modelnet40_openshape` expects OpenShape's files (its `meta_data`):

    modelnet40/test_split.json      [{"name", "category", …}, …]
    modelnet40/test_pc.npy          pickled objects [2468]: {"xyz": [10000, 3] y up,
                                    "rgb": [10000, 3] in 0..255, 100 throughout: .4 grey}

Protocol: 10,000 points, y and z swapped, centred, unit sphere, .4 grey.

`modelnet40_ulip` expects ULIP's (and Point-BERT's), either the file of points already drawn or
the sampled surfaces it was made from:

    modelnet40_test_8192pts_fps.dat     pickle: [[N × [8192, 3 or 6]], [N labels 0..39]]
    modelnet40_test.txt, <class>/<class>_0001.txt     lines x,y,z,nx,ny,nz, 10,000 of them
                                        (modelnet40_normal_resampled)

Protocol: 8192 points in farthest-point order, xyz only, y up, centred, unit sphere.

Licence: research only; the copyright is the models' authors' (modelnet.cs.princeton.edu).
Source: Wu et al., CVPR 2015; OpenShape (arXiv 2305.10764); ULIP (arXiv 2212.05171).
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pipelines.benchmarks.base import Benchmark, Example, Mounted, folder_of, read_json
from pipelines.benchmarks.clouds import OPENSHAPE, OPENSHAPE_POINTS, array_of, cloud, drawn
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import existing
from vitlens_core.readers.pickled import read_npy, read_pickle

_NAMES = (
    "airplane bathtub bed bench bookshelf bottle bowl car chair cone cup curtain desk door dresser "
    "flower_pot glass_box guitar keyboard lamp laptop mantel monitor night_stand person piano "
    "plant radio range_hood sink sofa stairs stool table tent toilet tv_stand vase wardrobe xbox"
)
CLASSES = tuple(name.replace("_", " ") for name in _NAMES.split())
ULIP_POINTS = 8192
_LICENCE = "research only; models are their authors'"


def mount_openshape(root: str) -> Mounted:
    """The list's objects; the clouds are opened when the first is read. Raises ConfigError."""
    folder = folder_of(root) / "modelnet40"
    path, clouds = folder / "test_split.json", folder / "test_pc.npy"
    if not clouds.is_file():
        raise ConfigError(f"no file {clouds}; mount the folder that holds modelnet40/")
    test = [
        Example(
            key=f"{index:04d}",
            read=partial(_read_openshape, clouds, index, len(entries)),
            files=(clouds,),
            labels=(_class(entry.get("category"), f"{path}, entry {index}"),),
        )
        for entries in [_entries(path)]
        for index, entry in enumerate(entries)
    ]
    return Mounted(test, classes=CLASSES)


def mount_ulip(root: str) -> Mounted:
    """Clouds of the .dat if it is there, else of the text files. Raises ConfigError."""
    folder = folder_of(root)
    packed = folder / f"modelnet40_test_{ULIP_POINTS}pts_fps.dat"
    test = _packed(packed) if packed.is_file() else _texts(folder)
    return Mounted(test, classes=CLASSES)


def _entries(path: Path) -> list[dict[str, object]]:
    entries = read_json(path, holds="modelnet40/")
    if not isinstance(entries, list) or not entries or not all(map(_is_mapping, entries)):
        raise ConfigError(f'{path}: expected [{{"name", "category"}}, …]')
    return entries


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _class(name: object, where: str) -> str:
    words = str(name).replace("_", " ")
    if words not in CLASSES:
        raise ConfigError(f"{where}: {name!r} is none of ModelNet40's 40 classes")
    return words


@lru_cache(maxsize=1)  # one file holds every cloud
def _clouds(path: Path, changed_ns: int) -> np.ndarray:
    return read_npy(path)


def _read_openshape(path: Path, index: int, count: int) -> dict[str, np.ndarray]:
    clouds, where = _clouds(path, path.stat().st_mtime_ns), f"{path}, object {index}"
    if clouds.shape != (count,):
        raise InputError(f"{path}: expected {count} objects, as listed; found {clouds.shape}")
    item = clouds[index]
    if not isinstance(item, dict) or not {"xyz", "rgb"} <= item.keys():
        raise InputError(f"{where}: expected a dictionary with xyz and rgb")
    coloured = cloud(item["xyz"], item["rgb"], where, largest_rgb=255)
    return {"point_cloud": drawn(coloured, OPENSHAPE_POINTS, seed=index)}


def _packed(path: Path) -> list[Example]:
    """Of the .dat, which must be opened to be listed."""
    try:
        points, labels = _points_and_labels(path)
    except InputError as error:
        raise ConfigError(str(error)) from error
    return [
        Example(
            key=f"{index:04d}",
            read=partial(_ulip_cloud, points[index], f"{path}, object {index}"),
            files=(path,),
            labels=(CLASSES[label],),
        )
        for index, label in enumerate(labels)
    ]


def _points_and_labels(path: Path) -> tuple[list[np.ndarray], list[int]]:
    content = read_pickle(path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise InputError(f"{path}: expected a list of points and a list of labels")
    points, labels = content
    if not all(isinstance(items, list | tuple | np.ndarray) for items in (points, labels)):
        raise InputError(f"{path}: expected a list of points and a list of labels")
    if len(points) != len(labels) or not len(points):
        raise InputError(f"{path}: found {len(points)} clouds and {len(labels)} labels")
    try:
        numbers = [int(np.asarray(label).item()) for label in labels]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a whole number as each label: {error}") from error
    if not all(0 <= number < len(CLASSES) for number in numbers):
        raise InputError(f"{path}: expected labels 0..39, found {min(numbers)}..{max(numbers)}")
    return list(points), numbers


def _ulip_cloud(points: object, where: str) -> dict[str, np.ndarray]:
    array = array_of(points, "points", where)
    if array.ndim != 2 or array.shape[1] not in (3, 6):
        raise InputError(f"{where}: expected [N, 3] or [N, 6], found {list(array.shape)}")
    if len(array) < ULIP_POINTS:
        raise InputError(f"{where}: expected {ULIP_POINTS} points or more, found {len(array)}")
    return {"point_cloud": cloud(array[:, :3], None, where)}


def _texts(folder: Path) -> list[Example]:
    path = folder / "modelnet40_test.txt"
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds neither modelnet40_test_{ULIP_POINTS}pts_fps.dat nor {path.name}; "
            "mount modelnet40_normal_resampled"
        )
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"{path}: expected names of objects, each once; found {len(names)}")
    examples = []
    for line, name in enumerate(names, start=1):
        kind = name.rpartition("_")[0]
        label = _class(kind, f"{path}, line {line}")
        file = resolve_inside(folder, f"{kind}/{name}.txt")
        if not file.is_file():
            raise ConfigError(f"{path}, line {line}: no file {file}")
        examples.append(Example(name, partial(_read_text, file), (file,), (label,)))
    return examples


def _read_text(path: Path) -> dict[str, np.ndarray]:
    existing(path, "points of an object")
    try:
        points = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32)
    except ValueError as error:
        raise unreadable(path, "lines x,y,z,nx,ny,nz", error) from error
    return _ulip_cloud(points, str(path))


BENCHMARKS = (
    Benchmark(
        name="modelnet40_openshape",
        title="ModelNet40",
        modality="point_cloud",
        task="classification",
        mount=mount_openshape,
        protocol=f"{OPENSHAPE}, .4 grey",
        licence=_LICENCE,
        published={
            "top1": {"ViT-Lens-G": 0.876, "OpenShape": 0.844, "Uni3D-g": 0.882, "OmniBind": 0.866}
        },
        expected={"points_seen": OPENSHAPE_POINTS, "colour": True},
    ),
    Benchmark(
        name="modelnet40_ulip",
        title="ModelNet40",
        modality="point_cloud",
        task="classification",
        mount=mount_ulip,
        protocol="ULIP protocol: 8192 farthest points, xyz only, y up, centred, unit sphere",
        licence=_LICENCE,
        published={
            "top1": {
                "ViT-Lens-L (ULIP-2 Objaverse)": 0.806,
                "ViT-Lens-L (ShapeNet)": 0.706,
                "ViT-Lens-B (ULIP-2 Objaverse)": 0.748,
                "ViT-Lens-B (ShapeNet)": 0.654,
            }
        },
        expected={"points_seen": ULIP_POINTS, "colour": False},
    ),
)

"""ScanObjectNN: objects scanned in rooms, 15 classes.

`scanobjectnn_openshape` expects OpenShape's file:

    scanobjectnn/xyz_label.npy      a pickled dictionary in an array of no axes: {"xyz": [B, N, 3]
                                    (or B arrays [N, 3]), "label": [B] 0..14, "rgb": optional,
                                    as xyz, in 0..1}

Protocol: 10,000 points drawn (with repetition where there are fewer), y and z swapped, centred,
unit sphere, .4 grey where there is no rgb.

`scanobjectnn_h5` expects its authors' own:

    h5_files/main_split_nobg/test_objectdataset.h5      data [B, 2048, 3], label [B]: OBJ_ONLY

Protocol: the 2048 points as they are, repeated to 10,000, then as above. Its figures may be read
beside the published ones, not as the same: those are of the file above.

Classes stand in the authors' order, which the labels count in.

Licence: its terms of use, for research; ask for the files (hkust-vgd.github.io/scanobjectnn).
Source: Uy et al., ICCV 2019; OpenShape (arXiv 2305.10764).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.base import Benchmark, Example, Mounted, folder_of
from pipelines.benchmarks.clouds import OPENSHAPE, OPENSHAPE_POINTS, array_of, cloud, drawn
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import existing
from vitlens_core.readers.pickled import read_npy

CLASSES = (
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
)
_LARGEST_BYTES = 2**30  # the published file has 70 MB
_LICENCE = "terms of use, research only"


def mount_openshape(root: str) -> Mounted:
    """Objects of xyz_label.npy, in its order. Raises ConfigError."""
    return _mounted(folder_of(root) / "scanobjectnn" / "xyz_label.npy", _of_npy)


def mount_h5(root: str) -> Mounted:
    """Objects of the authors' file, in its order. Raises ConfigError."""
    path = folder_of(root) / "h5_files" / "main_split_nobg" / "test_objectdataset.h5"
    return _mounted(path, _of_h5)


def _mounted(path: Path, read: Any) -> Mounted:
    try:
        existing(path, "ScanObjectNN's objects")
        content = read(path, path.stat().st_mtime_ns)
        labels = _labels(content, path)
    except InputError as error:
        raise ConfigError(str(error)) from error
    test = [
        Example(f"{index:04d}", partial(_read, path, read, index), (path,), (CLASSES[label],))
        for index, label in enumerate(labels)
    ]
    return Mounted(test, classes=CLASSES)


@lru_cache(maxsize=1)  # one file holds every object
def _of_npy(path: Path, changed_ns: int) -> Mapping[str, object]:
    array = read_npy(path)
    content = array.item() if array.shape == () else None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a dictionary with xyz and label, found {array.dtype}")
    return content


@lru_cache(maxsize=1)
def _of_h5(path: Path, changed_ns: int) -> Mapping[str, object]:
    h5py = optional("h5py", extra="datasets")
    try:
        with h5py.File(path, "r") as file:
            return {"xyz": _own(file, "data"), "label": _own(file, "label")}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, "an HDF5 file with data and label", error) from error


def _own(file: Any, name: str) -> np.ndarray:
    """Read a data set that lies in the file itself (`ValueError`: in another file)."""
    h5py = optional("h5py", extra="datasets")
    link = file.get(name, getlink=True)
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if found is None or found.external or found.is_virtual:
        raise ValueError(f"{name} lies in another file; expected it in this one")
    if found.nbytes > _LARGEST_BYTES:
        raise ValueError(f"{name} has {found.nbytes:,} bytes; expected up to {_LARGEST_BYTES:,}")
    return found[()]


def _labels(content: Mapping[str, object], path: Path) -> list[int]:
    """The objects' labels; as many as there are clouds and colours."""
    if missing := {"xyz", "label"} - content.keys():
        raise InputError(f"{path}: {' and '.join(sorted(missing))} missing, found {list(content)}")
    labels = array_of(content["label"], "labels", str(path))
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise InputError(f"{path}: expected whole numbers [B] as labels, found {labels.shape}")
    for name in content.keys() & {"xyz", "rgb"}:
        items = content[name]
        count = len(items) if isinstance(items, list | tuple | np.ndarray) else 0
        if count != len(labels):
            raise InputError(f"{path}: expected {len(labels)} {name}, one a label; found {count}")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise InputError(f"{path}: expected labels 0..14, found {labels.min()}..{labels.max()}")
    return [int(label) for label in labels]


def _read(path: Path, read: Any, index: int) -> dict[str, np.ndarray]:
    content = read(path, path.stat().st_mtime_ns)
    rgb = content["rgb"][index] if "rgb" in content else None
    coloured = cloud(content["xyz"][index], rgb, f"{path}, object {index}")
    return {"point_cloud": drawn(coloured, OPENSHAPE_POINTS, seed=index)}


_EXPECTED = {"points_seen": OPENSHAPE_POINTS, "colour": True}

BENCHMARKS = (
    Benchmark(
        name="scanobjectnn_openshape",
        title="ScanObjectNN",
        modality="point_cloud",
        task="classification",
        mount=mount_openshape,
        protocol=f"{OPENSHAPE}, .4 grey where there is no rgb",
        licence=_LICENCE,
        published={
            "top1": {"ViT-Lens-G": 0.601, "OpenShape": 0.522, "Uni3D-g": 0.653, "OmniBind": 0.647}
        },
        expected=_EXPECTED,
    ),
    Benchmark(
        name="scanobjectnn_h5",
        title="ScanObjectNN",
        modality="point_cloud",
        task="classification",
        mount=mount_h5,
        protocol=f"OBJ_ONLY of the authors' HDF5, 2048 points repeated; {OPENSHAPE}, .4 grey",
        licence=_LICENCE,
        expected=_EXPECTED,
        caveat="published figures are of OpenShape's file, not of this one",
    ),
)

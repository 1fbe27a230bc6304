"""Files of the 3D benchmarks exactly as they are published, with few objects."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def object_array(items: Sequence[Any]) -> np.ndarray:
    """An array of objects, one axis, whatever the items are."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def openshape_modelnet(
    root: Path, categories: Sequence[str] = ("airplane", "night_stand"), count: int = 10_000
) -> Path:
    """modelnet40/{test_split.json,test_pc.npy}; colours are 100 of 255."""
    folder = root / "modelnet40"
    folder.mkdir(parents=True, exist_ok=True)
    split = [
        {"name": f"{name}_{index:04d}", "category": name} for index, name in enumerate(categories)
    ]
    (folder / "test_split.json").write_text(json.dumps(split))
    clouds = [
        {"xyz": points(count, seed), "rgb": np.full((count, 3), 100.0)}
        for seed in range(len(categories))
    ]
    np.save(folder / "test_pc.npy", object_array(clouds), allow_pickle=True)
    return root


def ulip_dat(root: Path, labels: Sequence[int] = (0, 23), count: int = 8192) -> Path:
    """modelnet40_test_8192pts_fps.dat: a pickled pair of lists."""
    clouds = [np.hstack([points(count, seed)] * 2) for seed in range(len(labels))]
    content = [clouds, [np.array([label], dtype=np.int32) for label in labels]]
    (root / "modelnet40_test_8192pts_fps.dat").write_bytes(pickle.dumps(content))
    return root


def ulip_texts(root: Path, names: Sequence[str] = ("airplane_0627", "night_stand_0201")) -> Path:
    """modelnet40_normal_resampled: a list, and a file of x,y,z,nx,ny,nz per object."""
    (root / "modelnet40_test.txt").write_text("".join(f"{name}\n" for name in names))
    for seed, name in enumerate(names):
        folder = root / name.rpartition("_")[0]
        folder.mkdir(exist_ok=True)
        rows = np.hstack([points(8300, seed)] * 2)
        np.savetxt(folder / f"{name}.txt", rows, delimiter=",", fmt="%.6f")
    return root


def scanobjectnn(root: Path, content: dict[str, Any] | None = None) -> Path:
    """scanobjectnn/xyz_label.npy: a dictionary in an array of no axes."""
    folder = root / "scanobjectnn"
    folder.mkdir(exist_ok=True)
    if content is None:
        xyz = np.stack([points(10_500, seed) for seed in range(3)])
        content = {"xyz": xyz, "label": np.array([0, 4, 14])}
    np.save(folder / "xyz_label.npy", np.array(content, dtype=object), allow_pickle=True)
    return root


def scanobjectnn_h5(root: Path, **arrays: np.ndarray) -> Path:
    """h5_files/main_split_nobg/test_objectdataset.h5."""
    folder = root / "h5_files" / "main_split_nobg"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = arrays or {
        "data": np.stack([points(2048, seed) for seed in range(2)]),
        "label": np.array([6, 13], dtype=np.int64),
    }
    with h5py.File(folder / "test_objectdataset.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return root


def lvis(root: Path, categories: Sequence[str] = ("Banana", "coffee_table")) -> Path:
    """split/lvis.json and one .npy per object, its data_path that of another machine."""
    (root / "split").mkdir(exist_ok=True)
    entries = []
    for seed, category in enumerate(categories):
        uid, group = f"{seed:032x}", f"000-{seed:03d}"
        folder = root / "Objaverse" / group
        folder.mkdir(parents=True, exist_ok=True)
        rgb = np.random.default_rng(seed).random((10_000, 3))
        item = {"xyz": points(10_000, seed), "rgb": rgb, "image_feat": np.zeros((12, 4))}
        np.save(folder / f"{uid}.npy", np.array(item, dtype=object), allow_pickle=True)
        place = f"/mnt/data/processed/Objaverse/{group}/{uid}.npy"
        entries.append({"uid": uid, "category": category, "group": group, "data_path": place})
    (root / "split" / "lvis.json").write_text(json.dumps(entries))
    return root

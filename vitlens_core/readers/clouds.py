"""Point clouds: arrays, PLY vertices, and surfaces of GLB objects.

Reads     .npy, .npz [N, 3] or [N, 6]; .ply; .glb.
Promises  xyz, then rgb in 0..1 if the file has colours. Coordinates of arrays and PLY stay as
          stored; those of a GLB are stage metres with y up.
Axes: N points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.readers.arrays import read_array
from vitlens_core.readers.files import existing, optional, unreadable
from vitlens_core.rendering import load_glb, normalise, sample_surface

ENDINGS = frozenset({".npy", ".npz", ".ply", ".glb"})
_XYZ = ("x", "y", "z")
_RGB = ("red", "green", "blue")


def read_cloud(path: str | Path, points: int, seed: int) -> np.ndarray:
    """Read the points of a file, or sample those of a GLB's surface: float [N, 3] or [N, 6].

    Args:
        points, seed: number of points sampled on a GLB's surface, and the seed of the draw.

    Raises:
        InputError: the file is missing or damaged, has no vertices, or its GLB has no surface to
            sample.
    """
    path = existing(path, ENDINGS, "a point cloud")
    match path.suffix.lower():
        case ".ply":
            return _read_ply(path)
        case ".glb":
            return _sample_glb(path, points, seed)
        case _:
            return read_array(path)


def _read_ply(path: Path) -> np.ndarray:
    plyfile = optional("plyfile")
    try:
        vertices = plyfile.PlyData.read(str(path))["vertex"].data
    except (plyfile.PlyParseError, ValueError, KeyError, OSError) as error:
        raise unreadable(path, "a PLY with vertices", error) from error
    names = vertices.dtype.names or ()
    if not set(_XYZ) <= set(names):
        raise InputError(f"expected vertices with x, y, z in {path}, found {', '.join(names)}")
    # float64 holds every type that a PLY can have without loss.
    columns = [vertices[name].astype(np.float64) for name in _XYZ]
    if set(_RGB) <= set(names):
        columns += [_unit_colour(vertices[name]) for name in _RGB]
    return np.stack(columns, axis=1)


def _unit_colour(values: np.ndarray) -> np.ndarray:
    """Scale integers by their type's range to 0..1; floats are in 0..1 already."""
    if values.dtype.kind in "iu":
        return values / np.iinfo(values.dtype).max
    return values.astype(np.float64)


def _sample_glb(path: Path, points: int, seed: int) -> np.ndarray:
    try:
        mesh, _ = normalise(load_glb(path.read_bytes()))
        return sample_surface(mesh, points, seed)
    except BadSampleError as error:
        raise InputError(f"{path} has no surface to sample: {error}") from error

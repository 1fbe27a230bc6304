"""Point clouds: arrays, tables, PLY, and surfaces of meshes, on which points are drawn.

Reads     npy and npz (also the dictionaries that OpenShape publishes), tables, PLY; GLB, glTF, OBJ,
          STL, OFF and PLY with faces.
Promises  xyz, then rgb in 0..1 if the file has colours; a note says so where it has none.
          Coordinates of points stay as stored; those drawn on a surface are stage metres.
Axes: N points.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.notes import note
from vitlens_core.readers import off, ply
from vitlens_core.readers.arrays import read_arrays, read_table
from vitlens_core.readers.colour import find_rgb, unit_rgb
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import CLOUDS, MESHES, NPY, OBJ, OFF, PLY, TABLE, identify
from vitlens_core.readers.meshes import load_mesh
from vitlens_core.readers.pickled import read_npy
from vitlens_core.rendering import Mesh, normalise, sample_surface
from vitlens_core.rendering.glb_writer import mesh_of_points

# Names under which arrays of points and of colours are published, in lower case.
_POINTS = ("xyz", "points", "point", "pos", "position", "positions", "coords", "coord", "vertices")
_COLOURS = ("rgb", "rgbs", "colors", "color", "colours", "colour")
_AXES = ("x", "y", "z")
_GREY = 0.5  # of points that are shown and have no colours


def read_cloud(path: str | Path, points: int, seed: int) -> np.ndarray:
    """Read the points of a file, or draw those of a surface: float [N, 3] or [N, 6].

    Args:
        points, seed: number of points drawn on a surface, and the seed of the draw.

    Raises:
        InputError: the file is missing or damaged, or has neither points nor a surface.
    """
    path, content = identify(path, CLOUDS, "a point cloud")
    if content is PLY:
        return _of_ply(path, points, seed)
    if content is OBJ and (vertices := _vertices_alone(path)) is not None:
        return _of_array(path, vertices)
    if content in MESHES:
        mesh, coloured = off.read(path) if content is OFF else load_mesh(path, content)
        return _drawn(path, mesh, points, seed, coloured=coloured)
    if content is TABLE:
        table = read_table(path)
        if table.names:
            return _of_columns(path, dict(zip(table.names, table.values.T, strict=True)))
        return _of_array(path, table.values)
    return _of_arrays(path, is_npy=content is NPY)


def read_shape(path: str | Path) -> Mesh:
    """Read what a file shows, on the stage: its surface, or else its points.

    Raises:
        InputError: as `read_cloud`.
    """
    path, content = identify(path, CLOUDS, "a point cloud")
    surface: Mesh | None = None
    if content is PLY:
        surface = ply.read(path).mesh
    elif content in MESHES and not (content is OBJ and _vertices_alone(path) is not None):
        surface = off.read(path)[0] if content is OFF else load_mesh(path, content)[0]
    try:
        return normalise(surface or mesh_of_points(_coloured(read_cloud(path, 1, 0))))[0]
    except BadSampleError as error:
        raise InputError(f"{path} cannot be shown: {error}") from error


def _coloured(cloud: np.ndarray) -> np.ndarray:
    """Return points with colours [N, 6], grey where they have none."""
    xyz = np.asarray(cloud, np.float64)
    if not np.isfinite(xyz).all():
        raise BadSampleError("points are not finite (NaN or infinity)")
    rgb = np.clip(xyz[:, 3:6], 0, 1) if xyz.shape[1] == 6 else np.full_like(xyz[:, :3], _GREY)
    return np.concatenate([xyz[:, :3], rgb], axis=1)


def _vertices_alone(path: Path) -> np.ndarray | None:
    """Return the vertices of an OBJ without faces, as scanners write it; None if it has faces."""
    lines = path.read_bytes().splitlines()
    if any(line.startswith(b"f ") for line in lines):
        return None
    try:
        vertices = [list(map(float, line.split()[1:])) for line in lines if line[:2] == b"v "]
        return np.array(vertices) if vertices else None
    except ValueError as error:
        raise unreadable(path, "vertices of an OBJ", error) from error


def _of_ply(path: Path, points: int, seed: int) -> np.ndarray:
    content = ply.read(path)
    if content.mesh is None:
        return _of_columns(path, content.vertices)
    return _drawn(path, content.mesh, points, seed, coloured=content.has_colours)


def _drawn(path: Path, mesh: Mesh, points: int, seed: int, *, coloured: bool) -> np.ndarray:
    try:
        cloud = sample_surface(normalise(mesh)[0], points, seed)
    except BadSampleError as error:
        raise InputError(f"{path} has no surface to sample: {error}") from error
    if coloured:
        return cloud
    note("the surface states no colours: points are grey")
    return cloud[:, :3]


def _of_arrays(path: Path, *, is_npy: bool) -> np.ndarray:
    if is_npy and _is_pickled(path):
        content = read_npy(path)
        arrays = content.item() if content.ndim == 0 else None
        if not isinstance(arrays, dict):
            raise InputError(f"expected a dictionary of points in {path}, found other objects")
        return _of_columns(path, {str(name): np.asarray(v) for name, v in arrays.items()})
    arrays = read_arrays(path)
    if len(arrays) > 1:
        return _of_columns(path, arrays)
    [array] = arrays.values()
    if array.dtype.names:
        return _of_columns(path, {name: array[name] for name in array.dtype.names})
    return _of_array(path, array)


def _is_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        return b"'|O'" in file.read(512).split(b"\n")[0]


def _of_columns(path: Path, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Find points and colours among named arrays: columns x, y, z, or whole arrays [N, 3]."""
    lower = {name.strip().lower(): array for name, array in columns.items()}
    whole = next((name for name in _POINTS if name in lower), None)
    if all(axis in lower for axis in _AXES):
        xyz = np.stack([np.asarray(lower[axis], np.float64) for axis in _AXES], axis=1)
    elif whole:
        xyz = np.asarray(lower[whole])
    else:
        raise InputError(
            f"expected points as x, y, z or as {', '.join(_POINTS[:2])} in {path}, found "
            f"{', '.join(columns) or 'nothing'}"
        )
    if not len(xyz):
        raise InputError(f"expected points, found none in {path}")
    named = next((name for name in _COLOURS if name in lower and lower[name].ndim == 2), None)
    rgb = unit_rgb(lower[named]) if named else find_rgb(_single_columns(lower))
    if rgb is None:
        note(f"no colours among {', '.join(columns)}: points are grey")
        return xyz
    if xyz.ndim != 2 or len(rgb) != len(xyz) or rgb.shape[1] not in (3, 4):
        raise InputError(
            f"expected colours [N, 3] for points {list(xyz.shape)} in {path}, found "
            f"{list(rgb.shape)}"
        )
    return np.concatenate([xyz, rgb[:, :3]], axis=1)


def _single_columns(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if np.ndim(array) == 1}


def _of_array(path: Path, array: np.ndarray) -> np.ndarray:
    """Take xyz, and rgb where there are six or seven columns, whatever type they have."""
    if array.ndim != 2 or array.shape[1] not in (3, 4, 6, 7) or array.dtype.kind not in "iuf":
        return _as_stored(path, array)
    if array.shape[1] == 3:
        note("the array has no colours: points are grey")
        return array
    if array.shape[1] == 4:
        note("the fourth column is no colour and was left out: points are grey")
        return array[:, :3]
    xyz, rgb = array[:, :3], array[:, 3:6]
    if not np.isfinite(array).all():
        return array[:, :6]  # refused with their number, by `store`
    try:
        return np.concatenate([xyz, unit_rgb(rgb)], axis=1)
    except InputError as error:
        raise InputError(
            f"{path}: columns 4 to 6 are no colours: {error}. If they are normals, leave them out"
        ) from error


def _as_stored(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and array.shape[0] in (3, 6) and array.shape[1] > array.shape[0]:
        raise InputError(
            f"expected points in lines, [N, 3] or [N, 6], found {list(array.shape)} in {path}; "
            "transpose it"
        )
    raise InputError(
        f"expected points [N, 3] or [N, 6], found {array.dtype} {list(array.shape)} in {path}"
    )

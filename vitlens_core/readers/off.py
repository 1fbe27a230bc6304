"""OFF: surfaces in text, with the colours of vertices (COFF) or faces.

Axes: P vertices, F triangles.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.colour import unit_rgb
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.meshes import mesh_of_faces
from vitlens_core.rendering import Mesh

# Some files of ModelNet have their counts in the line of the name.
_NAME = re.compile(r"(C?)(N?)OFF\s*(.*)")


def read(path: Path) -> tuple[Mesh, bool]:
    """Read the surface of an OFF, and whether it has colours.

    Raises:
        InputError: the file is damaged, of another kind of OFF, or has no face.
    """
    try:
        return _read(path, path.read_text("utf-8-sig", errors="replace"))
    except (ValueError, IndexError) as error:
        raise unreadable(path, "an OFF", error) from error


def _read(path: Path, text: str) -> tuple[Mesh, bool]:
    lines = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    name = _NAME.fullmatch(lines[0])
    if name is None:
        raise InputError(f"expected OFF or COFF in {path}, found {lines[0]!r:.40}")
    start = 1 if name[3] else 2
    vertices, faces = map(int, (name[3] or lines[1]).split()[:2])
    at = start + vertices
    if len(lines) < at + faces:
        raise InputError(
            f"{path} is cut short: its header states {vertices} vertices and {faces} faces, "
            f"{len(lines) - start} lines are there"
        )
    # Lines of vertices may differ in length only by mistake: numpy refuses such a table.
    numbers = np.array([list(map(float, line.split())) for line in lines[start:at]])
    after = 6 if name[2] else 3  # normals stand before colours
    rgb = (
        unit_rgb(_as_stored(numbers[:, after : after + 3]))
        if numbers.shape[1] >= after + 3
        else None
    )
    polygons, of_faces = [], []
    for line in lines[at : at + faces]:
        words = line.split()
        corners = int(words[0])
        if len(words) <= corners:
            raise ValueError(f"a face of {corners} corners has {len(words) - 1}")
        polygons.append([int(word) for word in words[1 : 1 + corners]])
        of_faces.append([float(word) for word in words[1 + corners : 4 + corners]])
    return _mesh(path, numbers[:, :3], polygons, rgb, of_faces)


def _mesh(
    path: Path,
    xyz: np.ndarray,
    polygons: list[list[int]],
    rgb: np.ndarray | None,
    of_faces: list[list[float]],
) -> tuple[Mesh, bool]:
    fans = [(n, p[0], a, b) for n, p in enumerate(polygons) for a, b in pairwise(p[1:])]
    if not fans:
        raise InputError(f"expected a surface, found no face in {path}")
    triangles = np.array([corners for _, *corners in fans])
    if triangles.min() < 0 or triangles.max() >= len(xyz):
        raise InputError(f"{path}: a face refers to vertex {triangles.max()} of {len(xyz)}")
    if rgb is None and all(len(colour) == 3 for colour in of_faces):
        by_face = unit_rgb(_as_stored(np.array(of_faces)))
        corners = np.arange(3 * len(triangles)).reshape(-1, 3)
        colours = np.repeat(by_face[[number for number, *_ in fans]], 3, axis=0)
        return mesh_of_faces(xyz[triangles].reshape(-1, 3), corners, colours), True
    return mesh_of_faces(xyz, triangles, rgb), rgb is not None


def _as_stored(colours: np.ndarray) -> np.ndarray:
    """Return whole numbers as integers: 1 of 255 is dark, and 1.0 of 1.0 is not."""
    whole = (colours == colours.round()).all() and colours.max(initial=0) > 1
    return colours.astype(np.int64) if whole else colours

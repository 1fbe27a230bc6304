"""PLY: vertices with their named properties, and the surface where there are faces.

Axes: N vertices, F triangles.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.readers.colour import find_rgb
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import PLY
from vitlens_core.readers.meshes import (
    load_by_trimesh,
    mesh_of_faces,
    mesh_of_textured_faces,
)
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.rendering import Mesh, Texture

if TYPE_CHECKING:
    from plyfile import PlyData

_HEADER_BYTES = 1 << 16
# VCGLIB writes faces with more than its header states; trimesh reads their first columns.
_LONGER_LINES = "expected end-of-line"
_INDICES = ("vertex_indices", "vertex_index")
_WEDGES = ("texcoord",)  # u and v of each corner of a face, as MeshLab writes them
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


@dataclass(frozen=True)
class PlyContent:
    """Content of a PLY.

    Attributes:
        vertices: the properties of the vertices by name, [N] each.
        mesh: the surface of its faces; None if it has no face.
        has_colours: whether the surface states colours.
    """

    vertices: dict[str, np.ndarray]
    mesh: Mesh | None = None
    has_colours: bool = False


def read(path: Path) -> PlyContent:
    """Read a PLY in text or binary.

    Raises:
        InputError: the file is damaged, or has no vertex.
    """
    try:
        data = _parsed(path)
    except InputError as error:
        if _LONGER_LINES not in str(error):
            raise
        mesh, has_colours = load_by_trimesh(path, PLY)
        return PlyContent({}, mesh, has_colours)
    vertices = {name: data["vertex"].data[name] for name in data["vertex"].data.dtype.names}
    if not len(data["vertex"].data):
        raise InputError(f"expected a PLY with vertices, found none in {path}")
    if not {"x", "y", "z"} <= {name.lower() for name in vertices}:
        raise InputError(f"expected vertices with x, y, z in {path}, found {', '.join(vertices)}")
    elements = {element.name: element for element in data.elements}
    if "tristrips" in elements and "face" not in elements:
        raise InputError(f"{path} has triangle strips, which are not read; write it with faces")
    faces = elements.get("face")
    if faces is None or not len(faces.data):
        return PlyContent(vertices)
    try:
        return _with_surface(path, vertices, faces.data, list(data.comments))
    except (BadSampleError, IndexError, ValueError) as error:
        raise unreadable(path, "a PLY with faces", error) from error


def _parsed(path: Path) -> PlyData:
    plyfile = optional("plyfile")
    try:
        data = plyfile.PlyData.read(_with_plain_comments(path))
        data["vertex"]
    except (plyfile.PlyParseError, ValueError, KeyError, OSError, EOFError) as error:
        raise unreadable(path, "a PLY with vertices", error) from error
    return data


def _with_plain_comments(path: Path) -> str | io.BytesIO:
    """Return the path, or its content with ASCII comments: plyfile reads no others."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    header, end, _ = head.partition(b"end_header")
    if not end or header.isascii():
        return str(path)
    plain = bytes(byte if byte < 128 else ord("?") for byte in header)
    return io.BytesIO(plain + path.read_bytes()[len(plain) :])


def _with_surface(
    path: Path, vertices: dict[str, np.ndarray], faces: np.ndarray, comments: list[str]
) -> PlyContent:
    names = faces.dtype.names or ()
    indices = next((name for name in _INDICES if name in names), None)
    if indices is None:
        raise BadSampleError(f"faces with {', '.join(names)}; expected vertex_indices")
    polygons = [np.asarray(corners) for corners in faces[indices]]
    triangles, owners, corners = _triangulated(polygons)
    lower = {name.lower(): array for name, array in vertices.items()}
    xyz = np.stack([lower[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if not len(triangles):
        return PlyContent(vertices)
    if triangles.min() < 0 or triangles.max() >= len(xyz):
        raise BadSampleError(f"a face refers to vertex {triangles.max()} of {len(xyz)}")
    texture = _texture(path, comments)
    uv = None if texture is None else _uv_of_corners(lower, faces, triangles, owners, corners)
    # The texture first: MeshLab writes one grey for every vertex beside it.
    if texture is not None and uv is not None:
        mesh = mesh_of_textured_faces(xyz[triangles].reshape(-1, 3), uv, texture)
        return PlyContent(vertices, mesh, True)
    rgb = find_rgb(vertices)
    of_faces = find_rgb({name: faces[name] for name in names if faces[name].dtype != object})
    if of_faces is not None and (rgb is None or (_is_one(rgb) and not _is_one(of_faces))):
        split = np.arange(3 * len(triangles)).reshape(-1, 3)
        by_corner = np.repeat(of_faces[owners], 3, axis=0)
        mesh = mesh_of_faces(xyz[triangles].reshape(-1, 3), split, by_corner)
        return PlyContent(vertices, mesh, True)
    return PlyContent(vertices, mesh_of_faces(xyz, triangles, rgb), rgb is not None)


def _is_one(rgb: np.ndarray) -> bool:
    """Whether all colours [N, 3] are the same."""
    return bool((rgb == rgb[:1]).all())


def _triangulated(polygons: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut polygons into fans: vertices [F, 3], the polygon of each [F], its corners there [F, 3].

    What has fewer than three corners is no face.
    """
    sizes = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
    number = np.maximum(sizes - 2, 0)
    owners = np.repeat(np.arange(len(polygons)), number)
    first = np.concatenate([[0], np.cumsum(number)[:-1]])
    second = np.arange(len(owners)) - first[owners] + 1
    corners = np.stack([np.zeros_like(second), second, second + 1], axis=1)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    flat = np.concatenate([polygon.astype(np.int64) for polygon in polygons])
    return flat[starts[owners][:, None] + corners], owners, corners


def _uv_of_corners(
    vertices: dict[str, np.ndarray],
    faces: np.ndarray,
    triangles: np.ndarray,
    owners: np.ndarray,
    corners: np.ndarray,
) -> np.ndarray | None:
    """Return u and v of every corner of every triangle [3 F, 2], or None."""
    for names in _UV:
        if all(name in vertices for name in names):
            uv = np.stack([vertices[name] for name in names], axis=1)
            return uv[triangles].reshape(-1, 2)
    wedge = next((name for name in _WEDGES if name in (faces.dtype.names or ())), None)
    if wedge is None:
        return None
    lists = [np.asarray(values, np.float64).reshape(-1, 2) for values in faces[wedge]]
    if any(len(lists[owner]) <= place.max() for owner, place in zip(owners, corners, strict=True)):
        return None
    return np.concatenate([lists[o][place] for o, place in zip(owners, corners, strict=True)])


def _texture(path: Path, comments: list[str]) -> Texture | None:
    """Read the picture that a comment `TextureFile name` names, from the PLY's own folder."""
    named = [c.split(maxsplit=1)[1] for c in comments if c.lower().startswith("texturefile ")]
    picture = path.parent / named[0].strip() if named else None
    if picture is None or picture.resolve().parent != path.parent.resolve():
        return None
    if not picture.is_file():
        return None
    rgb = read_rgb(picture)
    opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    return Texture(np.concatenate([rgb, opaque], axis=2))

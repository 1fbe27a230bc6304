"""Surfaces: GLB and glTF through `rendering`; OBJ and STL through trimesh.

Files beside an object (materials, textures, buffers) are read from its own folder alone.
Axes: P vertices, F triangles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.notes import note
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import GLB, GLTF, Format
from vitlens_core.rendering import FilesBeside, Layer, Material, Mesh, Part, Texture, load_glb
from vitlens_core.rendering.colour import srgb_to_linear

_LARGEST_FILE_BYTES = 512 * 2**20  # as for a GLB


def load_mesh(path: Path, content: Format, folder: Path | None = None) -> tuple[Mesh, bool]:
    """Read the surface of a file, and whether it has colours.

    Args:
        folder: holds all files that belong to it; by default the one it lies in.

    Raises:
        InputError: the file cannot be read, or has no surface.
    """
    try:
        if content in (GLB, GLTF):
            return load_glb(path.read_bytes(), files=FilesBeside(path.parent)), True
        return load_by_trimesh(path, content, folder)
    except BadSampleError as error:
        raise InputError(f"{path} has no surface to sample: {error}") from error


def mesh_of_faces(positions: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> Mesh:
    """Make a mesh of vertices [P, 3], triangles [F, 3] and sRGB [P, 3] in 0..1 if there are any."""
    return Mesh((_part(positions, faces, colours, None),))


def mesh_of_textured_faces(corners: np.ndarray, uv: np.ndarray, texture: Texture) -> Mesh:
    """Make a mesh of the corners of its triangles [3 F, 3], with u and v [3 F, 2], v upwards."""
    faces = np.arange(len(corners)).reshape(-1, 3)
    return Mesh((_part(corners, faces, None, uv, _of_layer(Layer(texture))),))


def load_by_trimesh(path: Path, content: Format, folder: Path | None = None) -> tuple[Mesh, bool]:
    """Read a surface through trimesh; arguments and errors as `load_mesh`."""
    trimesh = optional("trimesh")
    if path.stat().st_size > _LARGEST_FILE_BYTES:
        raise InputError(f"expected a mesh of at most 512 MB, found {path}")
    own = _OwnFolder(path.parent, folder or path.parent)
    try:
        with path.open("rb") as file:
            scene = trimesh.load_scene(
                file, file_type=content.endings[0][1:], resolver=own, process=False
            )
        found = [_of_trimesh(one, own.gave_pictures) for one in scene.dump(concatenate=False)]
        parts = [part for part in found if part]
    # trimesh's readers, and those that it calls, raise whatever a damaged file makes them raise.
    except Exception as error:
        raise unreadable(path, f"{content.name} with a surface", error) from error
    if not parts:
        raise InputError(f"expected a surface, found no triangle in {path}")
    return Mesh(tuple(part for part, _ in parts)), any(coloured for _, coloured in parts)


def _of_trimesh(geometry: Any, has_pictures: bool) -> tuple[Part, bool] | None:
    """Convert a geometry of trimesh, and tell whether it has colours; None without triangles.

    Args:
        has_pictures: whether a texture was read for it.
    """
    faces = getattr(geometry, "faces", None)
    if faces is None or not len(faces):
        return None
    visual = geometry.visual
    if visual.kind == "texture":
        material, has_colour = _material(visual.material, has_pictures)
        return _part(geometry.vertices, faces, None, visual.uv, material), has_colour
    if visual.kind == "face":  # a vertex of its own for each corner
        corners = geometry.vertices[faces].reshape(-1, 3)
        colours = np.repeat(visual.face_colors[:, :3], 3, axis=0) / 255
        return _part(corners, np.arange(len(corners)).reshape(-1, 3), colours, None), True
    colours = visual.vertex_colors[:, :3] / 255 if visual.kind == "vertex" else None
    return _part(geometry.vertices, faces, colours, None), colours is not None


def _material(source: Any, has_pictures: bool) -> tuple[Material, bool]:
    """Convert trimesh's material, and tell whether it states a colour."""
    if hasattr(source, "baseColorFactor"):
        return _material_of_dae(source)
    # Without a material trimesh makes up a grey one, with a grey picture.
    states_diffuse = "kd" in getattr(source, "kwargs", {})
    image = source.image if has_pictures else None
    if not states_diffuse and image is None:
        return _of_layer(Layer()), False
    factor = np.ones(3)
    if states_diffuse:
        factor = srgb_to_linear(np.asarray(source.diffuse[:3]) / 255)
    texture = None
    if image is not None:
        texture = Texture(np.asarray(image.convert("RGBA")))
        # Exporters write black beside a texture, which then alone is the colour.
        factor = factor if factor.any() else np.ones(3)
    red, green, blue = factor.tolist()
    return _of_layer(Layer(texture, (red, green, blue, 1.0))), True


def _material_of_dae(source: Any) -> tuple[Material, bool]:
    """Convert what trimesh makes of a COLLADA's effect, whose colours are sRGB."""
    texture, factor = source.baseColorTexture, (1.0, 1.0, 1.0, 1.0)
    if source.baseColorFactor is not None:
        red, green, blue = srgb_to_linear(np.asarray(source.baseColorFactor[:3]) / 255).tolist()
        factor = (red, green, blue, 1.0)
    if texture is None:
        return _of_layer(Layer(factor=factor)), True
    return _of_layer(Layer(Texture(np.asarray(texture.convert("RGBA"))), factor)), True


def _of_layer(layer: Layer) -> Material:
    # Formats without a side: which way their triangles run says nothing.
    return Material(layer, double_sided=True)


def _part(
    positions: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray | None,
    uv: np.ndarray | None,
    material: Material | None = None,
) -> Part:
    positions = np.asarray(positions, np.float64)
    if not np.isfinite(positions).all():
        raise BadSampleError("positions are not finite (NaN or infinity)")
    count = len(positions)
    rgba = np.ones((count, 4), np.float32)
    if colours is not None:
        rgba[:, :3] = srgb_to_linear(np.asarray(colours, np.float64))
    flipped = np.zeros((count, 2), np.float32)
    if uv is not None and len(uv) == count:
        flipped = (np.nan_to_num(uv) * [1, -1] + [0, 1]).astype(np.float32)  # v points up in OBJ
    return Part(
        positions,
        np.zeros((count, 3), np.float32),
        flipped[None],
        rgba,
        np.asarray(faces, np.uint32),
        material or _of_layer(Layer()),
    )


class _OwnFolder:
    """Gives trimesh the files that belong to an object, and no others.

    Attributes:
        gave_pictures: whether a file was given that is no material library.
    """

    def __init__(self, place: Path, folder: Path) -> None:
        """`place` is where the object lies, `folder` holds all that belongs to it."""
        self._place, self._folder = place.resolve(), folder.resolve()
        self.gave_pictures = False

    def get(self, name: str) -> bytes:
        path = self._find(name)
        # trimesh goes on without a file that is not given; the note says so.
        if path is None:
            note(f"{name} is missing in the object's folder and was not read")
        elif path.stat().st_size > _LARGEST_FILE_BYTES:
            note(f"{name} has more than 512 MB and was not read")
        else:
            self.gave_pictures |= path.suffix.lower() != ".mtl"
            return path.read_bytes()
        raise FileNotFoundError(name)

    __getitem__ = get

    def namespaced(self, namespace: str) -> _OwnFolder:
        return self

    def keys(self) -> Mapping[str, Path]:
        return {}

    def _find(self, name: str) -> Path | None:
        """Find a file by its name as exporters write it: with options, of Windows, absolute."""
        plain = name.strip().strip('"').replace("\\", "/")
        # Options of a map, as in `-s 1 1 1 red.png`, stand before the name.
        last = plain.split()[-1] if plain.startswith("-") else plain
        for wanted in (last, last.rpartition("/")[2]):
            path = (self._place / wanted).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                return path
        in_folder = {path.name.lower(): path for path in self._place.iterdir()}
        path = in_folder.get(last.rpartition("/")[2].lower())
        inside = path is not None and path.resolve().is_relative_to(self._folder)
        return path if path is not None and inside and path.is_file() else None

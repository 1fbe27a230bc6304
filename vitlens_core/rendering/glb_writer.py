"""Writes a mesh as a GLB that every viewer reads: no extension is required, nothing is compressed.

Axes: P vertices, F faces, K corners of a face.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from vitlens_core.rendering.colour import srgb_to_linear
from vitlens_core.rendering.mesh import Material, Mesh, Part, Texture
from vitlens_core.rendering.points import sample_surface

# Numbers of the glTF 2.0 specification, which are OpenGL's.
_MODES = {1: 0, 2: 1, 3: 4}  # by corners of a face: points, lines, triangles
_FLOAT, _UINT, _VERTICES, _INDICES = 5126, 5125, 34962, 34963
_REPEAT, _CLAMP, _NEAREST, _LINEAR = 10497, 33071, 9728, 9729
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_MOST_TRIANGLES = 500_000
_MOST_POINTS = 100_000
_MOST_TEXELS = 1024  # of a texture's longer side
_SEED = 0


def encode_glb(mesh: Mesh) -> bytes:
    """Write a mesh to be looked at.

    Its textures are reduced to 1,024 texels, and of many points 100,000 are drawn. A surface of
    more than 500,000 triangles becomes as many points on it.

    Raises:
        BadSampleError: a surface of too many triangles has no area, or hides itself.
    """
    if mesh.triangles > _MOST_TRIANGLES:
        mesh = mesh_of_points(sample_surface(mesh, _MOST_POINTS, _SEED))
    written = _Writer()
    primitives = [written.primitive(part) for part in mesh.parts if len(part.faces)]
    return written.glb(primitives)


def mesh_of_points(cloud: np.ndarray) -> Mesh:
    """Make a mesh of points [N, 6]: xyz, then sRGB in 0..1."""
    count = len(cloud)
    rgba = np.ones((count, 4), np.float32)
    rgba[:, :3] = srgb_to_linear(np.asarray(cloud[:, 3:6], np.float64))
    part = Part(
        np.asarray(cloud[:, :3], np.float64),
        np.zeros((count, 3), np.float32),
        np.zeros((1, count, 2), np.float32),
        rgba,
        np.arange(count, dtype=np.uint32)[:, None],
        Material(unlit=True, double_sided=True),
    )
    return Mesh((part,))


@dataclass
class _Writer:
    """A document that grows part by part, and its one buffer."""

    buffer: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, object]] = field(default_factory=list)
    materials: list[dict[str, object]] = field(default_factory=list)
    images: list[dict[str, object]] = field(default_factory=list)
    samplers: list[dict[str, int]] = field(default_factory=list)
    textures: list[dict[str, int]] = field(default_factory=list)

    def primitive(self, part: Part) -> dict[str, object]:
        faces = part.faces
        if faces.shape[1] == 1 and len(faces) > _MOST_POINTS:
            order = np.random.default_rng(_SEED).permutation(len(faces))
            faces = faces[order[:_MOST_POINTS]]
        # Vertices that no face has would widen what a viewer fits into its window.
        used, indices = np.unique(faces, return_inverse=True)
        positions = part.positions[used].astype(np.float32)
        low, high = positions.min(axis=0).tolist(), positions.max(axis=0).tolist()
        attributes = {"POSITION": self._accessor(positions, _VERTICES, min=low, max=high)}
        normals = part.normals[used]
        if faces.shape[1] == 3 and np.linalg.norm(normals, axis=1).min() > 0.5:
            attributes["NORMAL"] = self._accessor(normals.astype(np.float32), _VERTICES)
        base = part.material.base
        if base.texture is not None:
            uv = part.uv[base.uv][used].astype(np.float32)
            attributes["TEXCOORD_0"] = self._accessor(uv, _VERTICES)
        colours = part.colours[used]
        if (colours != 1).any():
            attributes["COLOR_0"] = self._accessor(colours.astype(np.float32), _VERTICES)
        return {
            "attributes": attributes,
            "indices": self._accessor(indices.astype(np.uint32).reshape(-1), _INDICES),
            "mode": _MODES[faces.shape[1]],
            "material": self._material(part.material, is_surface=faces.shape[1] == 3),
        }

    def glb(self, primitives: list[dict[str, object]]) -> bytes:
        document: dict[str, object] = {
            "asset": {"version": "2.0", "generator": "vitlens"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": primitives}],
            "buffers": [{"byteLength": len(self.buffer)}],
            "bufferViews": self.views,
            "accessors": self.accessors,
            "materials": self.materials,
        }
        if self.textures:
            document |= {"images": self.images, "samplers": self.samplers}
            document["textures"] = self.textures
        if any("extensions" in material for material in self.materials):
            document["extensionsUsed"] = ["KHR_materials_unlit"]
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
        chunks += struct.pack("<II", len(self.buffer), _BINARY_CHUNK) + bytes(self.buffer)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def _material(self, material: Material, *, is_surface: bool) -> int:
        surface: dict[str, object] = {
            "baseColorFactor": list(material.base.factor),
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        }
        if material.base.texture is not None:
            surface["baseColorTexture"] = {"index": self._texture(material.base.texture)}
        made: dict[str, object] = {
            "pbrMetallicRoughness": surface,
            "alphaMode": material.alpha_mode,
            "doubleSided": material.double_sided,
        }
        if material.alpha_mode == "MASK":
            made["alphaCutoff"] = material.alpha_cutoff
        if material.unlit or not is_surface:
            made["extensions"] = {"KHR_materials_unlit": {}}
        self.materials.append(made)
        return len(self.materials) - 1

    def _texture(self, texture: Texture) -> int:
        picture = Image.fromarray(texture.texels)
        picture.thumbnail((_MOST_TEXELS, _MOST_TEXELS))
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=1)
        self.images.append({"bufferView": self._view(file.getvalue()), "mimeType": "image/png"})
        u, v = (_REPEAT if repeats else _CLAMP for repeats in texture.repeat)
        blended = _NEAREST if texture.nearest else _LINEAR
        self.samplers.append({"wrapS": u, "wrapT": v, "magFilter": blended})
        number = len(self.textures)
        self.textures.append({"source": number, "sampler": number})
        return number

    def _accessor(self, values: np.ndarray, target: int, **bounds: list[float]) -> int:
        width = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[values.size // len(values)]
        self.accessors.append(
            {
                "bufferView": self._view(np.ascontiguousarray(values).tobytes(), target),
                "componentType": _UINT if values.dtype == np.uint32 else _FLOAT,
                "count": len(values),
                "type": width,
                **bounds,
            }
        )
        return len(self.accessors) - 1

    def _view(self, content: bytes, target: int | None = None) -> int:
        self.buffer += bytes(-len(self.buffer) % 4)
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(content)}
        self.views.append(view if target is None else view | {"target": target})
        self.buffer += content
        self.buffer += bytes(-len(self.buffer) % 4)
        return len(self.views) - 1

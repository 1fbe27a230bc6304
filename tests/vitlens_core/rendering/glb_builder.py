"""Makes minimal GLB files for tests: small scenes, and one wrong thing at a time.

A `Glb` is a glTF document plus its binary chunk; tests add to it, bend `document` or pass wrong
lengths to `pack`, and get bytes.
"""

import base64
import importlib
import io
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

_COMPONENT = {
    "int8": 5120,
    "uint8": 5121,
    "int16": 5122,
    "uint16": 5123,
    "uint32": 5125,
    "float32": 5126,
}
_TYPE = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
QUAD = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
QUAD_UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
QUAD_FACES = np.array([0, 1, 2, 0, 2, 3], np.uint16)


@dataclass
class Glb:
    """A document under construction."""

    document: dict[str, Any] = field(default_factory=lambda: {"asset": {"version": "2.0"}})
    binary: bytearray = field(default_factory=bytearray)

    def add(self, section: str, **entry: Any) -> int:
        """Append an entry to a top-level array; its index."""
        entries = self.document.setdefault(section, [])
        entries.append({key: value for key, value in entry.items() if value is not None})
        return len(entries) - 1

    def add_view(self, content: bytes, **entry: Any) -> int:
        """Append bytes, aligned to 4, as a buffer view."""
        self.binary.extend(b"\0" * (-len(self.binary) % 4))
        start = len(self.binary)
        self.binary.extend(content)
        return self.add(
            "bufferViews", **{"buffer": 0, "byteOffset": start, "byteLength": len(content), **entry}
        )

    def add_accessor(self, values: np.ndarray, **entry: Any) -> int:
        """Append an array [count] or [count, C]; `entry` overrides what is said about it."""
        columns = 1 if values.ndim == 1 else values.shape[1]
        said = {
            "bufferView": self.add_view(np.ascontiguousarray(values).tobytes()),
            "componentType": _COMPONENT[values.dtype.name],
            "count": len(values),
            "type": _TYPE[columns],
        }
        return self.add("accessors", **{**said, **entry})

    def add_texture(self, image: np.ndarray | bytes, sampler: dict[str, Any] | None = None) -> int:
        """Append an image (array: stored as PNG) and a texture that shows it."""
        content = image if isinstance(image, bytes) else png(image)
        source = self.add("images", bufferView=self.add_view(content), mimeType="image/png")
        sampler_index = None if sampler is None else self.add("samplers", **sampler)
        return self.add("textures", source=source, sampler=sampler_index)

    def add_mesh(
        self,
        positions: np.ndarray = TRIANGLE,
        indices: np.ndarray | None = None,
        material: int | None = None,
        mode: int = 4,
        others: dict[str, np.ndarray] | None = None,
        **attributes: np.ndarray,
    ) -> int:
        """Append a mesh with one primitive; `attributes` (and `others`) by their glTF names."""
        named = {"POSITION": positions, **(others or {}), **attributes}
        primitive: dict[str, Any] = {
            "attributes": {name: self.add_accessor(values) for name, values in named.items()},
            "mode": mode,
        }
        if indices is not None:
            primitive["indices"] = self.add_accessor(indices)
        if material is not None:
            primitive["material"] = material
        return self.add("meshes", primitives=[primitive])

    def show(self, mesh: int, **node: Any) -> "Glb":
        """Put a mesh into the scene."""
        index = self.add("nodes", mesh=mesh, **node)
        scenes = self.document.setdefault("scenes", [{"nodes": []}])
        scenes[0]["nodes"].append(index)
        return self

    def pack(self) -> bytes:
        """The GLB file."""
        buffers = [{"byteLength": len(self.binary)}] if self.binary else []
        document = {"buffers": buffers, **self.document}
        return pack(json.dumps(document).encode(), bytes(self.binary))


def pack(json_chunk: bytes, binary: bytes = b"", version: int = 2) -> bytes:
    """Header and chunks around a JSON text and binary bytes."""
    json_chunk += b" " * (-len(json_chunk) % 4)
    binary += b"\0" * (-len(binary) % 4)
    body = struct.pack("<I4s", len(json_chunk), b"JSON") + json_chunk
    if binary:
        body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return b"glTF" + struct.pack("<II", version, 12 + len(body)) + body


def png(pixels: np.ndarray) -> bytes:
    """Encode [H, W, 3 or 4] uint8."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def floats(values: Any) -> np.ndarray:
    """A float32 array."""
    return np.asarray(values, np.float32)


def gltf(glb: Glb, **uris: str) -> bytes:
    """The .gltf file of a document, with its bytes as a data URI or at `uris["buffer"]`."""
    embedded = base64.b64encode(bytes(glb.binary)).decode()
    uri = uris.get("buffer", f"data:application/octet-stream;base64,{embedded}")
    buffers = [{"byteLength": len(glb.binary), "uri": uri}]
    return json.dumps({**glb.document, "buffers": buffers}).encode()


def triangle() -> Glb:
    """The smallest object: one white triangle."""
    glb = Glb()
    return glb.show(glb.add_mesh())


def quad(
    material: dict[str, Any] | None = None,
    texture: np.ndarray | bytes | None = None,
    sampler: dict[str, Any] | None = None,
    uv: np.ndarray = QUAD_UV,
    **node: Any,
) -> Glb:
    """A square in the xy plane that faces +z, with a material and perhaps a texture.

    The texture becomes the base colour texture; its row 0 is the square's upper edge.
    """
    glb = Glb()
    material = dict(material or {})
    if texture is not None:
        pbr = material.setdefault("pbrMetallicRoughness", {})
        pbr.setdefault("baseColorTexture", {})["index"] = glb.add_texture(texture, sampler)
    index = glb.add("materials", **material)
    return glb.show(glb.add_mesh(QUAD, QUAD_FACES, index, TEXCOORD_0=uv), **node)


def cube(texture: np.ndarray | None = None, **material: Any) -> Glb:
    """A cube of side 2 whose fronts point outward, each face with the whole texture."""
    glb = Glb()
    positions, indices = cube_arrays()
    if texture is not None:
        pbr = {"baseColorTexture": {"index": glb.add_texture(texture)}}
        material = {"pbrMetallicRoughness": pbr, **material}
    index = glb.add("materials", **material)
    return glb.show(glb.add_mesh(positions, indices, index, TEXCOORD_0=np.tile(QUAD_UV, (6, 1))))


def cube_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Corners [24, 3] and indices [36] of a cube of side 2 whose fronts point outward."""
    faces = [
        # Mirrored with its side, so that each runs counter-clockwise seen from outside.
        np.roll(np.column_stack([np.full(4, sign), QUAD[:, 0] * sign, QUAD[:, 1]]), axis, axis=1)
        for axis in range(3)
        for sign in (-1, 1)
    ]
    indices = np.concatenate([QUAD_FACES + 4 * k for k in range(6)]).astype(np.uint16)
    return np.concatenate(faces).astype(np.float32), indices


def sphere_arrays(rings: int = 20, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [P, 3] and indices [F * 3] of a sphere whose fronts point outward."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij"
    )
    directions = (np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around))
    positions = radius * np.stack(directions, axis=-1).reshape(-1, 3)
    row = 2 * rings + 1
    starts = (np.arange(rings)[:, None] * row + np.arange(2 * rings)).reshape(-1, 1)
    faces = starts + np.array([0, row, row + 1, 0, row + 1, 1])
    return positions.astype(np.float32), faces.ravel().astype(np.uint32)


def solid(red: int, green: int, blue: int, alpha: int = 255, side_px: int = 4) -> np.ndarray:
    """A one-coloured image [side, side, 4]."""
    return np.full((side_px, side_px, 4), (red, green, blue, alpha), np.uint8)


def toon(gap: float = 0.03, hull_material: dict[str, Any] | None = None) -> Glb:
    """A red ball in a black hull that is turned inside out."""
    glb = Glb()
    red = glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [1, 0, 0, 1]})
    black = {
        "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]},
        "extensions": {"KHR_materials_unlit": {}},
    }
    hull = glb.add("materials", **(black | (hull_material or {})))
    positions, indices = sphere_arrays()
    glb.show(glb.add_mesh(positions, indices, red))
    inward = indices.reshape(-1, 3)[:, ::-1].ravel()
    glb.show(glb.add_mesh(positions * floats(1 + gap), inward.copy(), hull))
    return glb


def draco_quad() -> Glb:
    """The quad, compressed with Draco."""
    draco = importlib.import_module("DracoPy")  # of the extra `render`
    stream = draco.encode(QUAD, QUAD_FACES.reshape(-1, 3).astype(np.uint32), quantization_bits=14)
    glb = Glb()
    attributes = {"POSITION": glb.add("accessors", componentType=5126, count=4, type="VEC3")}
    extension = {"bufferView": glb.add_view(stream), "attributes": {"POSITION": 0}}
    primitive = {
        "attributes": attributes,
        "extensions": {"KHR_draco_mesh_compression": extension},
    }
    glb.document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return glb.show(glb.add("meshes", primitives=[primitive]))

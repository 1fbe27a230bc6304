"""Writes objects as GLB: meshes that were read from other formats, and glTF with files beside it.

Promises  `load_glb` reads what is written here as what was given; nothing of a glTF is lost.
Axes: P vertices, F triangles.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from vitlens_core import caps
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.container import GlbLimits, split_container
from vitlens_core.rendering.mesh import Material, Mesh, Part, Texture
from vitlens_core.rendering.uris import Files, read_uri

# Numbers of the specification, which are OpenGL's.
_FLOAT, _UINT = 5126, 5125
_REPEAT, _CLAMP, _NEAREST, _LINEAR = 10497, 33071, 9728, 9729
_PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass
class _Binary:
    """The binary chunk while it is filled, and the parts of it that a document names."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, object]] = field(default_factory=list)
    accessors: list[dict[str, object]] = field(default_factory=list)

    def append(self, content: bytes) -> int:
        """Append bytes at the next multiple of 4, and return where they start."""
        self.data.extend(b"\0" * (-len(self.data) % 4))
        start = len(self.data)
        self.data.extend(content)
        return start

    def view(self, content: bytes) -> int:
        start = self.append(content)
        self.views.append({"buffer": 0, "byteOffset": start, "byteLength": len(content)})
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, kind: str) -> int:
        """Add an array [n] or [n, C] of fp32 or uint32."""
        described: dict[str, object] = {
            "bufferView": self.view(array.tobytes()),
            "componentType": _FLOAT if array.dtype == np.float32 else _UINT,
            "count": len(array),
            "type": kind,
        }
        if kind == "VEC3":  # the specification asks for the bounds of positions
            described |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(described)
        return len(self.accessors) - 1


def encode_glb(mesh: Mesh) -> bytes:
    """Write a surface as GLB: base colours, base textures and colours of vertices.

    Raises:
        BadSampleError: it is no surface.
    """
    if mesh.corners != 3:
        raise BadSampleError("no surface: points or lines only")
    low, high = mesh.bounds()
    # Positions are fp32 in the file: far from 0 they would lose their digits.
    centre = low / 2 + high / 2
    binary, pictures = _Binary(), _Pictures()
    primitives = [
        _primitive(part, centre, binary, number) for number, part in enumerate(mesh.parts)
    ]
    materials = [_material(part.material, pictures, binary) for part in mesh.parts]
    document = {
        "asset": {"version": "2.0", "generator": "vitlens"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": centre.tolist()}],
        "meshes": [{"primitives": primitives}],
        "materials": materials,
        **pictures.lists(),
    }
    return _container(document, binary)


def pack_gltf(data: bytes, files: Files) -> bytes:
    """Put the files that a glTF names by relative URI into one GLB.

    Raises:
        BadSampleError: it is damaged, or a file is missing, outside its folder or too large.
    """
    chunk, own = split_container(data, GlbLimits())
    document = _document(chunk)
    binary = _Binary(views=_dicts(document, "bufferViews"))
    kept, moved = [], {}
    for number, buffer in enumerate(_dicts(document, "buffers")):
        uri = buffer.get("uri")
        if uri is None and number == 0 and len(own):
            moved[number] = (0, binary.append(bytes(own)))
        elif isinstance(uri, str) and not _is_embedded(uri):
            moved[number] = (0, binary.append(read_uri(uri, f"buffer {number}", files)))
        else:
            kept.append(buffer)
            moved[number] = (len(kept), 0)  # the first buffer is the binary chunk
    for view in binary.views:
        place, start = moved.get(view.get("buffer", -1), (-1, 0))
        if place < 0:
            raise BadSampleError(f"index out of range: buffer {view.get('buffer')}")
        view["buffer"], view["byteOffset"] = place, view.get("byteOffset", 0) + start
    for number, image in enumerate(_dicts(document, "images")):
        uri = image.get("uri")
        if isinstance(uri, str) and not _is_embedded(uri):
            content = read_uri(str(image.pop("uri")), f"image {number}", files)
            image["mimeType"] = _mime_type(content)
            image["bufferView"] = binary.view(content)
    return _container({**document, "buffers": kept}, binary)


def with_root(glb: bytes, matrix: np.ndarray) -> bytes:
    """Put every scene of a GLB below one node with a matrix [4, 4].

    Raises:
        BadSampleError: it is no GLB.
    """
    if np.array_equal(matrix, np.eye(4)):
        return glb
    chunk, own = split_container(glb, GlbLimits())
    document = _document(chunk)
    nodes = document.setdefault("nodes", [])
    scenes = _dicts(document, "scenes")
    if not isinstance(nodes, list) or not scenes:
        raise BadSampleError("a glTF without scenes; name the nodes that are shown")
    for scene in scenes:
        shown = scene.get("nodes", [])
        nodes.append({"children": shown, "matrix": matrix.T.ravel().tolist()})
        scene["nodes"] = [len(nodes) - 1]
        if not shown:  # a node may not have an empty list of children
            nodes[-1].pop("children")
    return _glb(document, bytes(own))


class _Pictures:
    """Textures of a document; one that several materials share is written once."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._images: list[dict[str, object]] = []
        self._samplers: list[dict[str, object]] = []

    def add(self, texture: Texture, binary: _Binary) -> int:
        known = self._known.get(id(texture.texels))
        if known is not None:
            return known
        encoded = io.BytesIO()
        Image.fromarray(texture.texels).save(encoded, "png", compress_level=1)
        self._images.append(
            {"bufferView": binary.view(encoded.getvalue()), "mimeType": "image/png"}
        )
        wraps = [_REPEAT if repeats else _CLAMP for repeats in texture.repeat]
        filtered = _NEAREST if texture.nearest else _LINEAR
        self._samplers.append({"wrapS": wraps[0], "wrapT": wraps[1], "magFilter": filtered})
        return self._known.setdefault(id(texture.texels), len(self._images) - 1)

    def lists(self) -> dict[str, object]:
        if not self._images:
            return {}
        textures = [{"source": n, "sampler": n} for n in range(len(self._images))]
        return {"images": self._images, "samplers": self._samplers, "textures": textures}


def _primitive(part: Part, centre: np.ndarray, binary: _Binary, material: int) -> dict[str, object]:
    attributes = {"POSITION": binary.accessor((part.positions - centre).astype(np.float32), "VEC3")}
    if part.material.base.texture is not None:
        uv = np.ascontiguousarray(part.uv[part.material.base.uv], np.float32)
        attributes["TEXCOORD_0"] = binary.accessor(uv, "VEC2")
    if not np.all(part.colours == 1):
        colours = np.ascontiguousarray(part.colours, np.float32)
        attributes["COLOR_0"] = binary.accessor(colours, "VEC4")
    indices = np.ascontiguousarray(part.faces.ravel(), np.uint32)
    return {
        "attributes": attributes,
        "indices": binary.accessor(indices, "SCALAR"),
        "material": material,
    }


def _material(material: Material, pictures: _Pictures, binary: _Binary) -> dict[str, object]:
    surface: dict[str, object] = {
        "baseColorFactor": list(material.base.factor),
        "metallicFactor": 0.0,
    }
    if material.base.texture is not None:
        surface["baseColorTexture"] = {"index": pictures.add(material.base.texture, binary)}
    return {
        "pbrMetallicRoughness": surface,
        "doubleSided": material.double_sided,
        "alphaMode": material.alpha_mode,
        **({"alphaCutoff": material.alpha_cutoff} if material.alpha_mode == "MASK" else {}),
    }


def _container(document: dict[str, object], binary: _Binary) -> bytes:
    """Join a document with its binary chunk, which becomes its first buffer."""
    document["bufferViews"] = binary.views
    if binary.accessors:
        document["accessors"] = binary.accessors
    own = [{"byteLength": len(binary.data)}]
    document["buffers"] = [*own, *_dicts(document, "buffers")]
    return _glb(document, bytes(binary.data))


def _glb(document: dict[str, object], binary: bytes) -> bytes:
    chunk = json.dumps(document, separators=(",", ":")).encode()
    chunk += b" " * (-len(chunk) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(chunk), b"JSON") + chunk
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _document(chunk: bytes) -> dict[str, object]:
    try:
        document = caps.parse_json(chunk)
    except ValueError as error:
        raise BadSampleError(f"broken JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadSampleError(f"expected a glTF's object, found {type(document).__name__}")
    return document


def _dicts(document: dict[str, object], name: str) -> list[dict[str, object]]:
    entries = document.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadSampleError(f"{name}: expected a list of objects")
    return entries


def _is_embedded(uri: str) -> bool:
    return uri[:5].lower() == "data:"


def _mime_type(content: bytes) -> str:
    for start, name in _PICTURES.items():
        if content.startswith(start):
            return name
    raise BadSampleError(f"an image that begins with {content[:8]!r}: expected PNG, JPEG or WebP")

"""One coloured cube in every type, layout and container that glTF allows: the same points.

Its colour is a function of its place, so that every sampled point says whether it was read right.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vitlens_core.rendering.glb_builder import Glb, cube_arrays, gltf, pack, quad
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import load_glb, sample_surface
from vitlens_core.rendering.colour import srgb_to_linear

pytestmark = pytest.mark.slow

POSITIONS, TRIANGLES = cube_arrays()
POINTS = 300
_TYPES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "float32": 5126}
_SCALES = {"int8": 127, "uint8": 255, "int16": 32767, "uint16": 65535, "float32": 1}


@dataclass(frozen=True)
class Layout:
    """How the cube is written."""

    position_type: str
    colour_type: str
    channels: int
    is_normalized: bool
    placement: str  # of attributes in buffer views
    index_type: str | None
    mode: int
    is_json: bool


LAYOUTS = st.builds(
    Layout,
    position_type=st.sampled_from(["float32", "int8", "int16", "uint8", "uint16"]),
    colour_type=st.sampled_from(["float32", "uint8", "uint16"]),
    channels=st.sampled_from([3, 4]),
    is_normalized=st.booleans(),
    placement=st.sampled_from(["separate", "interleaved", "strided", "shared", "sparse", "zeros"]),
    index_type=st.sampled_from([None, "uint8", "uint16", "uint32"]),
    mode=st.sampled_from([4, 5, 6]),
    is_json=st.booleans(),
)


def _stored(values: np.ndarray, kind: str) -> np.ndarray:
    """Values −1..1 or 0..1 in units of a type, which the node's scale takes back."""
    return np.round(values * _SCALES[kind]).astype(kind) if kind != "float32" else values


def _rows(array: np.ndarray) -> np.ndarray:
    """Pad elements to 4 bytes, as glTF asks of vertex attributes: [P, bytes]."""
    content = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)
    return np.pad(content, ((0, 0), (0, -content.shape[1] % 4)))


def _accessor(glb: Glb, array: np.ndarray, normalized: bool, **place: Any) -> int:
    return glb.add(
        "accessors",
        componentType=_TYPES[array.dtype.name],
        count=len(array),
        type=f"VEC{array.shape[1]}",
        normalized=normalized,
        **place,
    )


def _sparse(glb: Glb, array: np.ndarray, normalized: bool, on_zeros: bool) -> int:
    """Every second vertex (or, on zeros, every one) is a sparse value."""
    changed = np.arange(0, len(array), 1 if on_zeros else 2, dtype=np.uint16)
    base = array.copy()
    base[changed] = 0
    place: dict[str, Any] = {}
    if not on_zeros:
        rows = _rows(base)
        place["bufferView"] = glb.add_view(rows.tobytes(), byteStride=rows.shape[1])
    place["sparse"] = {
        "count": len(changed),
        "indices": {"bufferView": glb.add_view(changed.tobytes()), "componentType": 5123},
        "values": {"bufferView": glb.add_view(np.ascontiguousarray(array[changed]).tobytes())},
    }
    return _accessor(glb, array, normalized, **place)


def _attributes(
    glb: Glb, layout: Layout, arrays: dict[str, tuple[np.ndarray, bool]]
) -> dict[str, int]:
    """Write vertex attributes in the layout's placement; their accessors by name."""
    if layout.placement in ("sparse", "zeros"):
        return {
            name: _sparse(glb, array, normalized, layout.placement == "zeros")
            for name, (array, normalized) in arrays.items()
        }
    rows = {name: _rows(array) for name, (array, _) in arrays.items()}
    widths = [row.shape[1] for row in rows.values()]
    if layout.placement == "separate":
        places = [
            {"bufferView": glb.add_view(row.tobytes(), byteStride=row.shape[1])}
            for row in rows.values()
        ]
    elif layout.placement == "shared":  # one attribute after the other, in rows of one width
        stride = max(widths)
        blocks = [np.pad(row, ((0, 0), (0, stride - row.shape[1]))) for row in rows.values()]
        view = glb.add_view(np.concatenate(blocks).tobytes(), byteStride=stride)
        starts = np.cumsum([0, *(block.size for block in blocks)]).tolist()
        places = [{"bufferView": view, "byteOffset": start} for start in starts[:-1]]
    else:
        count, gap = len(next(iter(rows.values()))), 8 * (layout.placement == "strided")
        content = np.hstack([*rows.values(), np.full((count, gap), 0xAB, np.uint8)])
        view = glb.add_view(content.tobytes(), byteStride=content.shape[1])
        starts = np.cumsum([0, *widths]).tolist()
        places = [{"bufferView": view, "byteOffset": start} for start in starts[:-1]]
    return {
        name: _accessor(glb, array, normalized, **place)
        for (name, (array, normalized)), place in zip(arrays.items(), places, strict=True)
    }


def _write(layout: Layout) -> bytes:
    is_signed = layout.position_type in ("float32", "int8", "int16")
    scale = _SCALES[layout.position_type]
    values = POSITIONS if is_signed else (POSITIONS + 1) / 2
    positions = _stored(values, layout.position_type)
    linear = np.ones((len(POSITIONS), layout.channels), np.float32)
    linear[:, :3] = (POSITIONS + 1) / 2
    colours = _stored(linear, layout.colour_type)
    is_position_normalized = layout.is_normalized and layout.position_type != "float32"
    arrays = {
        "POSITION": (positions, is_position_normalized),
        "COLOR_0": (colours, layout.colour_type != "float32"),
    }
    glb = Glb()
    primitives = _primitives(glb, layout, arrays)
    node: dict[str, Any] = {} if is_position_normalized else {"scale": [1 / scale] * 3}
    if not is_signed:
        node = {"scale": [2 * k for k in node.get("scale", [1] * 3)], "translation": [-1] * 3}
    glb.show(glb.add("meshes", primitives=primitives), **node)
    return gltf(glb) if layout.is_json else glb.pack()


def _primitives(
    glb: Glb, layout: Layout, arrays: dict[str, tuple[np.ndarray, bool]]
) -> list[dict[str, Any]]:
    """One primitive of triangles, or a strip or fan for each side of the cube."""
    corners = {5: [0, 1, 3, 2], 6: [0, 1, 2, 3]}
    if layout.mode == 4:
        faces = [TRIANGLES]
    else:
        faces = [np.array(corners[layout.mode]) + 4 * side for side in range(6)]
    if layout.index_type is None:
        return [
            {
                "attributes": _attributes(
                    glb, layout, {name: (a[face], n) for name, (a, n) in arrays.items()}
                ),
                "mode": layout.mode,
            }
            for face in faces
        ]
    attributes = _attributes(glb, layout, arrays)
    return [
        {
            "attributes": attributes,
            "indices": glb.add_accessor(face.astype(layout.index_type)),
            "mode": layout.mode,
        }
        for face in faces
    ]


@settings(max_examples=300)
@given(layout=LAYOUTS)
def test_every_layout_gives_the_same_points(layout: Layout) -> None:
    points = sample_surface(load_glb(_write(layout)), POINTS, seed=0)
    xyz, colours = points[:, :3], srgb_to_linear(points[:, 3:])
    # Steps of 8 bits in places and in colours.
    np.testing.assert_allclose(np.abs(xyz).max(axis=1), 1, atol=0.01)
    np.testing.assert_allclose(colours, (xyz + 1) / 2, atol=0.012)
    if layout.mode == 4:  # the same triangles in the same order: the same draws
        plain = Layout("float32", "float32", 3, False, "separate", "uint16", 4, False)
        expected = sample_surface(load_glb(_write(plain)), POINTS, seed=0)
        np.testing.assert_allclose(xyz, expected[:, :3], atol=0.02)


UV_TYPES = ["float32", "uint8", "uint16"]


@pytest.mark.parametrize("dtype", UV_TYPES)
def test_texture_coordinates_of_every_type(dtype: str) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :, 0] = image[:, :32, 2] = 255
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    glb = quad(texture=image, sampler={"wrapS": 33071, "wrapT": 33071}, uv=_stored(uv, dtype))
    accessor = glb.document["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    glb.document["accessors"][accessor]["normalized"] = dtype != "float32"
    points = sample_surface(load_glb(glb.pack()), POINTS, seed=0)
    off = np.abs(points[:, :2]).min(axis=1) > 0.05  # bilinear edges
    np.testing.assert_allclose(points[off, 3], points[off, 1] > 0, atol=1e-5)
    np.testing.assert_allclose(points[off, 5], points[off, 0] < 0, atol=1e-5)


def _seeds() -> dict[str, bytes]:
    """Small objects that use most of what the reader reads."""
    layout = Layout("int16", "uint8", 4, True, "sparse", "uint8", 5, False)
    material = {
        "alphaMode": "MASK",
        "emissiveFactor": [0.1, 0.2, 0.3],
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 2}},
    }
    textured = quad(material, np.full((2, 2, 3), 99, np.uint8), {"magFilter": 9728})
    glossy = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [1, 0.7, 0.3]}
    textured.document["materials"][0]["extensions"]["KHR_materials_pbrSpecularGlossiness"] = glossy
    instances = quad()
    moves = {"TRANSLATION": instances.add_accessor(POSITIONS[:3])}
    instances.document["nodes"][0]["extensions"] = {
        "EXT_mesh_gpu_instancing": {"attributes": moves}
    }
    cloud = Glb()
    cloud.show(cloud.add_mesh(POSITIONS, mode=0, COLOR_0=(POSITIONS + 1) / 2))
    lines = Glb()
    lines.show(lines.add_mesh(POSITIONS, mode=2))
    return {
        "sparse-strips": _write(layout),
        "textured": textured.pack(),
        "instances": instances.pack(),
        "points": cloud.pack(),
        "loop": lines.pack(),
        "json": gltf(quad(texture=np.full((2, 2, 3), 99, np.uint8))),
    }


SEEDS = _seeds()


def _read_or_refused(data: bytes) -> None:
    try:
        points = sample_surface(load_glb(data), 20, seed=0)
    except BadSampleError:
        return
    assert np.isfinite(points).all()
    assert len(points) <= 20
    assert ((points[:, 3:] >= 0) & (points[:, 3:] <= 1)).all()


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_give_points_or_a_reason(name: str, data: st.DataObject) -> None:
    damaged = bytearray(SEEDS[name])
    places = st.integers(0, len(damaged) - 1)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)
    for place, value in data.draw(changes):
        damaged[place] = value
    _read_or_refused(bytes(damaged))


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=60)
@given(data=st.data())
def test_wrong_lengths_give_points_or_a_reason(name: str, data: st.DataObject) -> None:
    """Cut, lengthened, and with other lengths in the headers of the file and its chunks."""
    content = bytearray(SEEDS[name])
    end = data.draw(st.integers(0, len(content) + 8))
    content = (content + b"\0" * 8)[:end]
    place = data.draw(st.sampled_from([8, 12, 16]))
    if len(content) >= place + 4 and data.draw(st.booleans()):
        length = data.draw(st.one_of(st.integers(0, 2000), st.integers(0, 2**32 - 1)))
        struct.pack_into("<I", content, place, length)
    _read_or_refused(bytes(content))


NUMBER = st.one_of(
    st.integers(-(2**65), 2**65), st.floats(), st.integers(0, 40), st.booleans(), st.none()
)


@pytest.mark.parametrize("name", [name for name in SEEDS if name != "json"])
@settings(max_examples=150)
@given(data=st.data())
def test_strange_documents_give_points_or_a_reason(name: str, data: st.DataObject) -> None:
    """Numbers of the document replaced by any others, in their places."""
    content = SEEDS[name]
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    places = list(_numbers(document))
    for holder, key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        holder[key] = data.draw(NUMBER)
    _read_or_refused(pack(json.dumps(document).encode(), content[28 + length :]))


def _numbers(value: Any) -> Any:
    """Every place of a document where a number stands, as its holder and key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from _numbers(inner)
        elif isinstance(inner, int | float):
            yield value, key

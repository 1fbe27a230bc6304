"""Hostile and broken files: each is refused with a reason that a person understands."""

import base64
import json
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    TRIANGLE,
    Glb,
    cube,
    pack,
    png,
    solid,
    triangle,
)
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import GlbLimits, load_glb


def _with(section: str, index: int = 0, **changes: object) -> bytes:
    """A textured cube with some fields of one entry changed."""
    glb = cube(solid(200, 100, 50))
    glb.document[section][index].update(changes)
    return glb.pack()


def _scene(**document: object) -> bytes:
    glb = triangle()
    glb.document.update(document)
    return glb.pack()


def _positions(positions: list[list[float]]) -> bytes:
    glb = Glb()
    return glb.show(glb.add_mesh(np.asarray(positions, np.float32))).pack()


def _indices(*indices: int) -> bytes:
    glb = Glb()
    return glb.show(glb.add_mesh(TRIANGLE, np.array(indices, np.uint16))).pack()


def _image(content: bytes) -> bytes:
    glb = Glb()
    pbr = {"baseColorTexture": {"index": glb.add_texture(content)}}
    material = glb.add("materials", pbrMetallicRoughness=pbr)
    return glb.show(glb.add_mesh(material=material)).pack()


def _png_header(side_px: int) -> bytes:
    """A PNG that says it is huge and holds nothing."""
    content = bytearray(png(solid(0, 0, 0)))
    content[16:24] = struct.pack(">II", side_px, side_px)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _sparse(index: int) -> bytes:
    glb = triangle()
    glb.document["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": glb.add_view(struct.pack("<I", index)), "componentType": 5125},
        "values": {"bufferView": glb.add_view(bytes(12))},
    }
    return glb.pack()


def _unequal() -> bytes:
    glb = Glb()
    return glb.show(glb.add_mesh(TRIANGLE, NORMAL=QUAD)).pack()


def _nodes(*nodes: dict, roots: tuple[int, ...] = (0,)) -> bytes:
    return _scene(nodes=list(nodes), scenes=[{"nodes": list(roots)}])


_WHOLE = cube(solid(200, 100, 50)).pack()
_TOO_LATE = struct.pack("<I", 2**31)

HOSTILE = {
    "empty": (b"", "empty file"),
    "html": (b"<!DOCTYPE html><html>404</html>", "HTML or XML"),
    "empty-json": (b'{"asset": {"version": "2.0"}}', "empty scene"),
    "other-json": (b'{"buffers": 7}', "invalid glTF JSON: buffers"),
    "half-json": (b'{"asset": {"version": "2.0"}, "nodes": [', "invalid glTF JSON"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
    "noise": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a glTF"),
    "header-only": (b"glTF\2\0\0\0", "truncated GLB"),
    "version-1": (pack(b"{}", version=1), "glTF version 1"),
    "truncated": (_WHOLE[: len(_WHOLE) // 2], "truncated GLB"),
    "too-long-a-header": (
        _WHOLE[:8] + struct.pack("<I", len(_WHOLE) + 1) + _WHOLE[12:],
        "truncated GLB: header says",
    ),
    "too-short-a-header": (_WHOLE[:8] + struct.pack("<I", 400) + _WHOLE[12:], "truncated GLB"),
    "chunk-too-long": (_WHOLE[:12] + _TOO_LATE + _WHOLE[16:], "a chunk says 2147483648 bytes"),
    "half-chunk-header": (
        b"glTF" + struct.pack("<II", 2, 24) + struct.pack("<I4s", 0, b"JSON") + b"\4\0\0\0",
        "half a chunk header",
    ),
    "no-json-chunk": (
        b"glTF" + struct.pack("<II", 2, 24) + struct.pack("<I4s", 4, b"BIN\0") + b"\0\0\0\0",
        "JSON chunk",
    ),
    "not-json": (pack(b"{,}"), "invalid glTF JSON"),
    "deep-json": (pack(b"[" * 100_000), "invalid glTF JSON"),
    "not-an-object": (pack(b"[1]"), "invalid glTF JSON"),
    "wrong-type": (_scene(nodes="all of them"), "nodes"),
    "required-extensions": (
        _scene(extensionsRequired=["EXT_meshopt_compression", "KHR_texture_basisu"]),
        "EXT_meshopt_compression, KHR_texture_basisu",
    ),
    "parent-path": (_with("images", uri="../../secret.png", bufferView=None), "outside the file"),
    "absolute-path": (_with("images", uri="/etc/passwd", bufferView=None), "outside the file"),
    "file-url": (_with("images", uri="file:///etc/passwd", bufferView=None), "outside the file"),
    "web-url": (_with("images", uri="http://localhost/x.png", bufferView=None), "outside the file"),
    "device-buffer": (
        _scene(buffers=[{"uri": "/dev/zero", "byteLength": 2**40}]),
        "outside the file",
    ),
    "broken-base64": (
        _scene(buffers=[{"uri": "data:application/octet-stream;base64,!!", "byteLength": 4}]),
        "broken base64",
    ),
    "short-plain-data-uri": (
        _scene(buffers=[{"uri": "data:,abc", "byteLength": 36}]),
        "says 36 bytes, 3 are there",
    ),
    "data-uri-without-data": (
        _scene(buffers=[{"uri": "data:application/octet-stream", "byteLength": 36}]),
        "without data",
    ),
    "short-data-uri": (
        _scene(buffers=[{"uri": "data:x;base64,AAAA", "byteLength": 36}]),
        "says 36 bytes, 3 are there",
    ),
    "long-buffer": (_scene(buffers=[{"byteLength": 2**40}]), "buffer 0 says"),
    "second-buffer": (_with("bufferViews", buffer=1), "buffer 1 of 1"),
    "long-view": (_with("bufferViews", byteLength=10**9), "ends at byte"),
    "view-offset": (_with("bufferViews", byteOffset=10**9), "ends at byte"),
    "huge-count": (_with("accessors", count=2_000_000_000), "2000000000 elements"),
    "huge-count-no-view": (
        _with("accessors", count=2_000_000_000, bufferView=None),
        "2000000000 elements",
    ),
    "count-beyond-view": (_with("accessors", count=1000), "bytes of buffer view"),
    "negative-count": (_with("accessors", count=-1), "accessors.0.count"),
    "accessor-offset": (_with("accessors", byteOffset=10**6), "bytes of buffer view"),
    "stride-under-size": (_with("bufferViews", 1, byteStride=4), "stride 4"),
    "unknown-component": (_with("accessors", componentType=5124), "accessors.0.componentType"),
    "matrix-positions": (_with("accessors", type="MAT4"), "does not fit its use"),
    "missing-accessor": (_with("meshes", primitives=[{"attributes": {"POSITION": 99}}]), "99"),
    "no-positions": (_with("meshes", primitives=[{"attributes": {}}]), "no positions"),
    "missing-texture": (
        _with("materials", pbrMetallicRoughness={"baseColorTexture": {"index": 7}}),
        "texture 7 of 1",
    ),
    "missing-image": (_with("textures", source=9), "image 9 of 1"),
    "image-without-bytes": (_with("images", bufferView=None), "neither bytes nor a URI"),
    "unsupported-image": (_with("textures", source=None), "no image in PNG, JPEG, WebP or AVIF"),
    "index-out-of-range": (_indices(0, 1, 3), "vertex 3 of 3"),
    "sparse-out-of-range": (_sparse(3), "sparse index 3 of 3"),
    "unequal-attributes": (_unequal(), "unequal length"),
    "nan": (_positions([[0, 0, 0], [1, np.nan, 0], [0, 1, 0]]), "not finite"),
    "infinite": (_positions([[0, 0, 0], [np.inf, 0, 0], [0, 1, 0]]), "not finite"),
    "infinite-once-placed": (
        _nodes({"scale": [1e308] * 3, "children": [1]}, {"mesh": 0, "scale": [1e308] * 3}),
        "once placed in the world",
    ),
    "cycle": (_nodes({"children": [1]}, {"children": [0], "mesh": 0}), "not a tree"),
    "own-child": (_nodes({"children": [0], "mesh": 0}), "not a tree"),
    "two-parents": (
        _nodes({"children": [2]}, {"children": [2]}, {"mesh": 0}, roots=(0, 1)),
        "not a tree",
    ),
    "missing-node": (_nodes({"children": [9]}), "node 9 of 1"),
    "missing-mesh": (_nodes({"mesh": 4}), "mesh 4 of 1"),
    "missing-scene": (_scene(scene=3), "scene 3 of 1"),
    "empty-scene": (_scene(scenes=[{"nodes": []}]), "no triangles, points or lines"),
    "empty-document": (pack(b"{}"), "no triangles, points or lines"),
    "html-image": (_image(b"<html>not found</html>"), "not a readable PNG"),
    "other-image-format": (_image(b"GIF89a" + bytes(20)), "not a readable PNG"),
    "broken-image": (_image(png(solid(1, 2, 3, side_px=64))[:-80]), "is broken"),
    "image-bomb": (_image(_png_header(32_000)), "pixels"),
    "large-image": (_image(_png_header(9_000)), "81 megapixels"),
}


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_with_their_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadSampleError, match=re.escape(reason)):
        load_glb(data)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (GlbLimits(max_file_mb=0), "at most 0 MB are read"),
        (GlbLimits(max_triangles=11), "more than 11 triangles"),
        (GlbLimits(max_elements=10), "at most 10 are read"),
        (GlbLimits(max_image_mpx=0), "megapixels"),
    ],
)
def test_limits_are_enforced(limits: GlbLimits, reason: str) -> None:
    with pytest.raises(BadSampleError, match=reason):
        load_glb(_WHOLE, limits)


def test_instances_count_towards_the_triangle_limit() -> None:
    glb = triangle()
    for _ in range(9):
        glb.show(0)
    assert load_glb(glb.pack(), GlbLimits(max_triangles=10)).triangles == 10
    with pytest.raises(BadSampleError, match="more than 9 triangles"):
        load_glb(glb.pack(), GlbLimits(max_triangles=9))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, len(_WHOLE) - 1), value=st.integers(0, 255))
def test_a_damaged_byte_gives_a_mesh_or_a_reason(place: int, value: int) -> None:
    damaged = bytearray(_WHOLE)
    damaged[place] = value
    try:
        mesh = load_glb(bytes(damaged))
    except BadSampleError:
        return
    for part in mesh.parts:
        assert np.isfinite(part.positions).all()
        assert part.faces.max() < len(part.positions)


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, len(_WHOLE) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(BadSampleError):
        load_glb(_WHOLE[:length])


def test_an_embedded_buffer_is_read_from_its_data_uri() -> None:
    glb = triangle()
    payload = base64.b64encode(bytes(glb.binary)).decode()
    uri = f"data:application/octet-stream;base64,{payload}"
    glb.document["buffers"] = [{"byteLength": len(glb.binary), "uri": uri}]
    mesh = load_glb(pack(json.dumps(glb.document).encode()))
    np.testing.assert_array_equal(mesh.parts[0].positions, TRIANGLE)


def test_no_file_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a file was opened")

    load_glb(_WHOLE)  # Pillow loads its decoders on first use
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    assert load_glb(_WHOLE).triangles == 12
    for data, _ in HOSTILE.values():
        with pytest.raises(BadSampleError):
            load_glb(data)

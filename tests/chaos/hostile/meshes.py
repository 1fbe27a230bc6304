# ruff: noqa: E501  one case a line
"""Hostile meshes and clouds: what a glTF document, a PLY, an OBJ, an STL or an OFF can state."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.vitlens_core.rendering.glb_builder import (
    TRIANGLE,
    Glb,
    cube,
    gltf,
    pack,
    solid,
    triangle,
)

READ, REFUSED = "read", "refused"
Cases = dict[str, tuple[str, Callable[[], bytes]]]
"""File name → how it must end, and its bytes."""


def bent(change: Callable[[dict[str, Any]], object]) -> Callable[[], bytes]:
    """A textured cube whose document is changed."""

    def made() -> bytes:
        glb = cube(solid(200, 100, 50))
        change(glb.document)
        return glb.pack()

    return made


def stated(section: str, number: int = 0, **fields: object) -> Callable[[], bytes]:
    """A textured cube with fields of one entry replaced."""
    return bent(lambda document: document[section][number].update(fields))


def raw(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """A textured cube whose JSON is changed as text."""

    def made() -> bytes:
        glb = cube(solid(200, 100, 50))
        document = {"buffers": [{"byteLength": len(glb.binary)}], **glb.document}
        return pack(change(json.dumps(document).encode()), bytes(glb.binary))

    return made


def at(uri: str) -> Callable[[], bytes]:
    """A .gltf whose bytes lie at an address."""
    return lambda: gltf(triangle(), buffer=uri)


def chain(length: int) -> Callable[[], bytes]:
    """Nodes that are each the child of the one before; the last shows the cube."""

    def change(document: dict[str, Any]) -> None:
        nodes = [{"children": [number + 1]} for number in range(length)]
        document["nodes"] = [*nodes, {"mesh": 0}]
        document["scenes"] = [{"nodes": [0]}]

    return bent(change)


def many(instances: int) -> Callable[[], bytes]:
    """One mesh that is shown again and again: a few bytes for each."""

    def change(document: dict[str, Any]) -> None:
        document["nodes"] = [{"mesh": 0}] * instances
        document["scenes"] = [{"nodes": list(range(instances))}]

    return bent(change)


def points(values: list[list[float]]) -> Callable[[], bytes]:
    glb = Glb()
    return glb.show(glb.add_mesh(np.asarray(values, np.float32))).pack


def nodes(**fields: object) -> Callable[[], bytes]:
    return bent(lambda document: document["nodes"][0].update(fields))


def doubled_bin() -> bytes:
    whole = triangle().pack()
    return whole[:8] + (len(whole) + 12).to_bytes(4, "little") + whole[12:] + b"\4\0\0\0BIN\0abcd"


GLBS: Cases = {
    "no-asset.glb": (READ, bent(lambda d: d.pop("asset"))),
    "asset-number.glb": (REFUSED, bent(lambda d: d.update(asset=2))),
    "later-minimum.glb": (REFUSED, bent(lambda d: d["asset"].update(minVersion="3.0"))),
    "negative-count.glb": (REFUSED, stated("accessors", count=-1)),
    "huge-count.glb": (REFUSED, stated("accessors", count=2**40)),
    "half-count.glb": (REFUSED, stated("accessors", count=1.5)),
    "count-as-text.glb": (READ, stated("accessors", count="24")),
    "negative-offset.glb": (REFUSED, stated("accessors", byteOffset=-12)),
    "late-offset.glb": (REFUSED, stated("accessors", byteOffset=2**31)),
    "no-stride.glb": (REFUSED, stated("bufferViews", 1, byteStride=1)),
    "long-stride.glb": (REFUSED, stated("bufferViews", 1, byteStride=10**9)),
    "view-of-no-buffer.glb": (REFUSED, stated("bufferViews", buffer=7)),
    "view-beyond.glb": (REFUSED, stated("bufferViews", byteLength=10**6)),
    "negative-view.glb": (REFUSED, stated("bufferViews", byteOffset=-1)),
    "positions-as-words.glb": (REFUSED, stated("accessors", type="SCALAR")),
    "unknown-type.glb": (REFUSED, stated("accessors", componentType=5124)),
    "nan-position.glb": (REFUSED, points([[0, 0, 0], [1, 0, 0], [0, float("nan"), 0]])),
    "infinite-position.glb": (REFUSED, points([[0, 0, 0], [1, 0, 0], [0, float("inf"), 0]])),
    "one-point.glb": (REFUSED, points([[1, 1, 1]] * 3)),
    "nan-matrix.glb": (REFUSED, nodes(matrix=[float("nan")] * 16)),
    "infinite-matrix.glb": (REFUSED, raw(lambda b: b.replace(b'"mesh": 0', b'"mesh": 0, "scale": [1e999, 1, 1]', 1))),
    "short-matrix.glb": (REFUSED, nodes(matrix=[1.0] * 15)),
    "scale-of-nothing.glb": (REFUSED, nodes(scale=[0, 0, 0])),
    "far-away.glb": (REFUSED, nodes(translation=[1e38, 1e38, 1e38])),
    "deep.glb": (READ, chain(5_000)),
    "many-times.glb": (READ, many(300)),
    "own-child.glb": (REFUSED, nodes(children=[0])),
    "absent-mesh.glb": (REFUSED, nodes(mesh=5)),
    "absent-node.glb": (REFUSED, bent(lambda d: d.update(scenes=[{"nodes": [9]}]))),
    "absent-material.glb": (REFUSED, bent(lambda d: d["meshes"][0]["primitives"][0].update(material=9))),
    "negative-material.glb": (REFUSED, bent(lambda d: d["meshes"][0]["primitives"][0].update(material=-1))),
    "absent-texture.glb": (REFUSED, bent(lambda d: d["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"].update(index=4))),
    "mode-of-no-kind.glb": (REFUSED, bent(lambda d: d["meshes"][0]["primitives"][0].update(mode=9))),
    "svg-texture.glb": (REFUSED, lambda: cube_with(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    "eps-texture.glb": (REFUSED, lambda: cube_with(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")),
    "html-texture.glb": (REFUSED, lambda: cube_with(b"<html><script>1</script>")),
    "texture-of-a-file.glb": (REFUSED, bent(lambda d: d.update(images=[{"uri": "file:///etc/passwd"}]))),
    "texture-of-a-server.glb": (REFUSED, bent(lambda d: d.update(images=[{"uri": "http://127.0.0.1:9/x.png"}]))),
    "draco-that-nothing-uses.glb": (READ, bent(lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]))),
    "a-strangers-extension.glb": (REFUSED, bent(lambda d: d.update(extensionsRequired=["EVIL_run"]))),
    "keys-twice.glb": (READ, raw(lambda b: b.replace(b'"accessors":', b'"accessors": 3, "accessors":', 1))),
    "deep-json.glb": (REFUSED, raw(lambda b: b[:-1] + b', "extras": ' + b"[" * 50_000 + b"]" * 50_000 + b"}")),
    "long-number.glb": (REFUSED, raw(lambda b: b.replace(b'"mesh": 0', b'"mesh": ' + b"1" * 10_000, 1))),
    "utf-16.glb": (REFUSED, raw(lambda b: b.decode().encode("utf-16"))),
    "two-bins.glb": (READ, doubled_bin),
    "odd-chunk.glb": (REFUSED, lambda: triangle().pack()[:-3]),
    "gltf-of-a-file.gltf": (REFUSED, at("file:///etc/passwd")),
    "gltf-above.gltf": (REFUSED, at("../../../../etc/passwd")),
    "gltf-of-a-server.gltf": (REFUSED, at("http://127.0.0.1:9/x.bin")),
    "gltf-of-a-device.gltf": (REFUSED, at("/dev/zero")),
    "gltf-of-bad-base64.gltf": (REFUSED, at("data:application/octet-stream;base64,!!!!")),
    "gltf-of-a-short-uri.gltf": (REFUSED, at("data:application/octet-stream;base64,AAAA")),
    "gltf-escaped-above.gltf": (REFUSED, at("%2e%2e/%2e%2e/etc/passwd")),
}  # fmt: skip


def cube_with(picture: bytes) -> bytes:
    """A triangle whose texture is whatever bytes."""
    glb = Glb()
    pbr = {"baseColorTexture": {"index": glb.add_texture(picture)}}
    return glb.show(glb.add_mesh(material=glb.add("materials", pbrMetallicRoughness=pbr))).pack()


_PLY = (
    "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\n{}end_header\n"
)
_Z, _THREE = "property float z\n", "0 0 0\n1 0 0\n0 1 0\n"
_FACES = "element face 1\nproperty list {} int vertex_indices\n"
_ROOM = "".join(f"{n} {n % 3} 0\n" for n in range(20))


def text(content: str) -> Callable[[], bytes]:
    return content.encode


def stl(count: int, corners: list[float]) -> bytes:
    return bytes(80) + count.to_bytes(4, "little") + np.array(corners, "<f4").tobytes() + bytes(2)


CLOUDS: Cases = {
    "negative.ply": (REFUSED, text(_PLY.format(-3, _Z) + _THREE)),
    "no-number.ply": (REFUSED, text(_PLY.format("many", _Z) + _THREE)),
    "no-z.ply": (REFUSED, text(_PLY.format(3, "") + _THREE)),
    "z-twice.ply": (REFUSED, text(_PLY.format(3, _Z + _Z) + _THREE)),
    "too-few.ply": (REFUSED, text(_PLY.format(9, _Z) + _THREE)),
    "words.ply": (REFUSED, text(_PLY.format(3, _Z) + "a b c\n" * 3)),
    "nan.ply": (REFUSED, text(_PLY.format(3, _Z) + "nan nan nan\n" * 3)),
    "infinite.ply": (REFUSED, text(_PLY.format(3, _Z) + "1e999 0 0\n" * 3)),
    "endless-header.ply": (REFUSED, text("ply\nformat ascii 1.0\n" + "comment x\n" * 200_000)),
    "long-line.ply": (REFUSED, text("ply\nformat ascii 1.0\ncomment " + "x" * 5_000_000)),
    "many-elements.ply": (REFUSED, text("ply\nformat ascii 1.0\n" + "element a 1\nproperty int x\n" * 20_000 + "end_header\n")),
    "face-beyond.ply": (REFUSED, text(_PLY.format(3, _Z + _FACES.format("uchar")) + _THREE + "3 0 1 9\n")),
    "face-before.ply": (REFUSED, text(_PLY.format(3, _Z + _FACES.format("uchar")) + _THREE + "3 0 1 -1\n")),
    "endless-face.ply": (REFUSED, text(_PLY.format(3, _Z + _FACES.format("uint")) + _THREE + "4294967295 0 1 2\n")),
    "texture-above.ply": (READ, text(_PLY.replace("element vertex", "comment TextureFile ../../../etc/passwd\nelement vertex").format(20, _Z) + _ROOM)),
    "format-of-no-kind.ply": (REFUSED, text(_PLY.format(3, _Z).replace("ascii", "base64") + _THREE)),
    "index-beyond.obj": (REFUSED, text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 900\n")),
    "index-before.obj": (REFUSED, text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -9\n")),
    "words.obj": (REFUSED, text("v a b c\nf 1 1 1\n")),
    "nan.obj": (REFUSED, text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")),
    "material-above.obj": (READ, text("mtllib ../../../../etc/passwd\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")),
    "material-of-a-device.obj": (READ, text("mtllib /dev/zero\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")),
    "call.obj": (READ, text("call /etc/passwd\ncsh touch owned\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")),
    "continued.obj": (REFUSED, text("v 0 0 0 \\\n" * 100_000 + "f 1 1 1\n")),
    "long-face.obj": (READ, text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf " + "1 2 3 " * 20_000 + "\n")),
    "more-than-there-is.stl": (REFUSED, lambda: stl(2**32 - 1, [0] * 12)),
    "none.stl": (REFUSED, lambda: stl(0, [])),
    "nan.stl": (REFUSED, lambda: stl(1, [float("nan")] * 12)),
    "flat.stl": (REFUSED, lambda: stl(1, [0] * 12)),
    "text.stl": (REFUSED, text("solid x\n" + "facet normal 0 0 1\n outer loop\n" * 10 + "endsolid x\n")),
    "negative.off": (REFUSED, text("OFF\n-3 1 0\n" + _THREE + "3 0 1 2\n")),
    "huge.off": (REFUSED, text("OFF\n99999999999 1 0\n" + _THREE + "3 0 1 2\n")),
    "beyond.off": (REFUSED, text("OFF\n3 1 0\n" + _THREE + "3 0 1 7\n")),
    "words.off": (REFUSED, text("OFF\n3 1 0\nx y z\n" + _THREE)),
    "cut.off": (REFUSED, text("OFF\n3 1 0\n0 0 0\n")),
    "one-corner.off": (REFUSED, text("OFF\n3 1 0\n" + _THREE + "1 0\n")),
    "triangle.glb": (READ, lambda: triangle().pack()),
    "cloud-of-none.npy": (REFUSED, lambda: npy(np.zeros((0, 3), np.float32))),
    "cloud-of-halves.npy": (READ, lambda: npy(np.tile(TRIANGLE, (8, 1)).astype(np.float16))),
    "cloud-of-complex.npy": (REFUSED, lambda: npy(np.zeros((9, 3), np.complex64))),
    "cloud-of-dates.npy": (REFUSED, lambda: npy(np.zeros((9, 3), "M8[s]"))),
    "cloud-of-words.npy": (REFUSED, lambda: npy(np.full((9, 3), "x"))),
}  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()

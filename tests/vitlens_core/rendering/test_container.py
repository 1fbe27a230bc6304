"""One document in every container, with its bytes inside or beside it: the same object."""

import base64
import io
import json
import struct
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vitlens_core.rendering.glb_builder import Glb, cube, gltf, png, quad, solid, triangle
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import FilesBeside, GlbLimits, load_glb, sample_surface

RED = (255, 0, 0)


def _chunks(*chunks: tuple[bytes, bytes, int], declared: int = 0) -> bytes:
    """A GLB of chunks: kind, content, and how many bytes of padding its length leaves out."""
    body = b"".join(
        struct.pack("<I4s", len(content) - uncounted, kind) + content
        for kind, content, uncounted in chunks
    )
    return b"glTF" + struct.pack("<II", 2, declared or 12 + len(body)) + body


def _parts() -> tuple[bytes, bytes]:
    glb = cube(solid(*RED))
    document = {"buffers": [{"byteLength": len(glb.binary)}], **glb.document}
    return json.dumps(document).encode(), bytes(glb.binary)


def _same(data: bytes) -> bool:
    """Whether it is the red cube of `_parts`."""
    points = sample_surface(load_glb(data), 500, seed=0)
    return np.array_equal(points, sample_surface(load_glb(cube(solid(*RED)).pack()), 500, seed=0))


def _padded(content: bytes, fill: bytes, to: int = 4) -> bytes:
    return content + fill * (-len(content) % to)


JSON_CHUNK, BINARY = _parts()
ODD_JSON = JSON_CHUNK + b" " * (3 - len(JSON_CHUNK) % 4)  # 3 bytes too many
BIN = (b"BIN\0", _padded(BINARY, b"\0"), 0)
CONTAINERS = {
    "spaces": _chunks((b"JSON", _padded(JSON_CHUNK, b" "), 0), BIN),
    "zeros": _chunks((b"JSON", _padded(JSON_CHUNK + b" ", b"\0"), 0), BIN),
    "byte-order-mark": _chunks((b"JSON", b"\xef\xbb\xbf" + JSON_CHUNK, 0), BIN),
    "unpadded": _chunks((b"JSON", ODD_JSON, 0), BIN),
    "padding-not-counted": _chunks((b"JSON", ODD_JSON + b" ", 1), BIN),
    "unknown-chunk": _chunks((b"JSON", JSON_CHUNK, 0), (b"XTRA", b"1234", 0), BIN),
    "chunk-after": _chunks((b"JSON", JSON_CHUNK, 0), BIN, (b"XTRA", b"", 0)),
    "zeros-at-the-end": _chunks((b"JSON", JSON_CHUNK, 0), BIN, declared=0) + b"\0\0\0\0",
    "text-after-it": cube(solid(*RED)).pack() + b"more",
    "glb-after-it": cube(solid(*RED)).pack() + triangle().pack(),
    "gltf": gltf(cube(solid(*RED))),
    "gltf-byte-order-mark": b"\xef\xbb\xbf" + gltf(cube(solid(*RED))),
    "gltf-leading-lines": b"\n \r\n" + gltf(cube(solid(*RED))),
    "gltf-indented": json.dumps(json.loads(gltf(cube(solid(*RED)))), indent=2).encode(),
}


@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_containers_hold_the_same_object(data: bytes) -> None:
    assert _same(data)


def test_zeros_within_the_declared_length_are_padding() -> None:
    data = bytearray(cube(solid(*RED)).pack() + b"\0\0\0\0")
    struct.pack_into("<I", data, 8, len(data))
    assert _same(bytes(data))


def _uri(form: str, content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    return {
        "octet-stream": f"data:application/octet-stream;base64,{encoded}",
        "gltf-buffer": f"data:application/gltf-buffer;base64,{encoded}",
        "no-type": f"data:;base64,{encoded}",
        "with-charset": f"data:application/octet-stream;charset=utf-8;base64,{encoded}",
        "capitals": f"DATA:application/octet-stream;BASE64,{encoded}",
        "without-padding": f"data:;base64,{encoded.rstrip('=')}",
        "escaped-base64": f"data:;base64,{urllib.parse.quote(encoded, safe='')}",
        "percent": f"data:application/octet-stream,{urllib.parse.quote(content)}",
    }[form]


@pytest.mark.parametrize(
    "form",
    [
        "octet-stream",
        "gltf-buffer",
        "no-type",
        "with-charset",
        "capitals",
        "without-padding",
        "escaped-base64",
        "percent",
    ],
)
def test_data_uris_of_any_form(form: str) -> None:
    glb = cube(solid(*RED))
    glb.binary.extend(b"\xff")  # so that base64 needs padding
    assert _same(gltf(glb, buffer=_uri(form, bytes(glb.binary))))


def _beside(folder: Path, buffer: str = "a.bin", image: str = "red.png") -> bytes:
    """A .gltf in `folder` with its buffer and its texture in files of their own."""
    glb = cube(solid(*RED))
    glb.document["images"][0] = {"uri": image}
    for uri, content in ((buffer, bytes(glb.binary)), (image, png(solid(*RED)))):
        path = folder / urllib.parse.unquote(uri).replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return gltf(glb, buffer=buffer)


@pytest.mark.parametrize(
    ("buffer", "image"),
    [
        ("a.bin", "red.png"),
        ("./a.bin", "textures/red.png"),
        ("my%20data.bin", "textures\\red.png"),
        ("größe.bin", "r%C3%B6t.png"),
    ],
)
def test_files_beside_it_are_read(tmp_path: Path, buffer: str, image: str) -> None:
    data = _beside(tmp_path, buffer, image)
    colours = sample_surface(load_glb(data, files=FilesBeside(tmp_path)), 50, seed=0)[:, 3:]
    np.testing.assert_allclose(colours, np.tile([1, 0, 0], (50, 1)), atol=1e-6)


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.bin",
        "inside/../../secret.bin",
        "..\\secret.bin",
        "%2e%2e/secret.bin",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1/a.bin",
        "C:\\secret.bin",
        "",
        "link.bin",
        "folder/secret.bin",
        "a\0.bin",
    ],
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, uri: str) -> None:
    inside = tmp_path / "object"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    (inside / "folder").symlink_to(tmp_path)
    with pytest.raises(BadSampleError, match="outside the folder"):
        load_glb(gltf(cube(), buffer=uri), files=FilesBeside(inside))


@pytest.mark.parametrize("name", ["missing.bin", "folder", "x" * 5000, "a.bin/b.bin"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(BadSampleError, match=r"beside the glTF|outside the folder"):
        load_glb(gltf(cube(), buffer=name), files=FilesBeside(tmp_path))


def test_large_files_beside_it_are_refused_unread(tmp_path: Path) -> None:
    data = _beside(tmp_path)
    with (tmp_path / "a.bin").open("r+b") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(BadSampleError, match="more than 1 MB"):
        load_glb(data, files=FilesBeside(tmp_path, max_mb=1))


def test_without_a_folder_no_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _beside(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSampleError, match="outside the file"):
        load_glb(data)


@pytest.mark.parametrize("version", ["1.0", "1.1", 1.0, "3.0"])
def test_other_versions_are_named(version: object) -> None:
    glb = triangle()
    glb.document["asset"] = {"version": version}
    with pytest.raises(BadSampleError, match=f"glTF version {version}"):
        load_glb(gltf(glb))


def test_stride_zero_means_tightly_packed() -> None:
    glb = cube(solid(*RED))
    for view in glb.document["bufferViews"]:
        view["byteStride"] = 0
    assert _same(glb.pack())


def _encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def _rgb16_png() -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: 4 × 4 of (0x80, 0x40, 0xff)."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    rows = (b"\0" + struct.pack(">3H", 0x8000, 0x4000, 0xFFFF) * 4) * 4
    header = struct.pack(">2I5B", 4, 4, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


FLAT = solid(128, 64, 255)
GREY = np.full((4, 4), 128, np.uint8)
TEXTURES = {
    "rgb": (_encoded(FLAT[..., :3]), (128, 64, 255)),
    "rgba": (_encoded(FLAT), (128, 64, 255)),
    "rgb16": (_rgb16_png(), (128, 64, 255)),
    "palette": (_encoded(Image.fromarray(FLAT[..., :3]).quantize(4)), (128, 64, 255)),
    "grey": (_encoded(GREY), (128, 128, 128)),
    "grey16": (_encoded(GREY.astype(np.uint16) << 8), (128, 128, 128)),
    "grey-alpha": (_encoded(Image.fromarray(GREY).convert("LA")), (128, 128, 128)),
    "one-bit": (
        _encoded(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)),
        (255, 255, 255),
    ),
    "jpeg": (_encoded(FLAT[..., :3], "JPEG", quality=100, subsampling=0), (128, 64, 255)),
    "grey-jpeg": (_encoded(GREY, "JPEG", quality=100), (128, 128, 128)),
    "webp": (_encoded(FLAT, "WEBP", lossless=True), (128, 64, 255)),
    "avif": (_encoded(FLAT[..., :3], "AVIF", quality=100), (128, 64, 255)),
}


@pytest.mark.parametrize(("image", "colour"), TEXTURES.values(), ids=TEXTURES.keys())
def test_textures_of_every_kind_of_image(image: bytes, colour: tuple[int, ...]) -> None:
    glb = Glb()
    pbr = {"baseColorTexture": {"index": glb.add_texture(image)}}
    glb.show(glb.add_mesh(material=glb.add("materials", pbrMetallicRoughness=pbr)))
    seen = sample_surface(load_glb(glb.pack()), 20, seed=0)[:, 3:] * 255
    np.testing.assert_allclose(seen, np.tile(colour, (20, 1)), atol=2)  # JPEG's rounding


@pytest.mark.parametrize("mode", ["palette", "grey16"])
def test_a_transparent_tone_is_transparent(mode: str) -> None:
    """The left half has the tone that the PNG says is clear (its chunk tRNS)."""
    halves = np.zeros((64, 64), np.uint8)
    halves[:, 32:] = 1
    if mode == "palette":
        image = Image.fromarray(halves, "P")
        image.putpalette([0, 0, 0, 255, 255, 255])
        encoded = _encoded(image, transparency=0)
    else:
        encoded = _encoded(halves.astype(np.uint16) * 60_000, transparency=0)
    glb = quad({"alphaMode": "MASK"}, texture=encoded, sampler={"wrapS": 33071})
    points = sample_surface(load_glb(glb.pack(), GlbLimits()), 200, seed=0)
    assert points[:, 0].min() > -0.04

"""Finds the JSON and the bytes of a glTF 2.0 file, binary (GLB) or JSON, by its content.

Promises: every length is compared with the bytes that are there.
"""

import struct
from dataclasses import dataclass

from vitlens_core.errors import BadSampleError

_JSON_CHUNK, _BIN_CHUNK = b"JSON", b"BIN\0"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class GlbLimits:
    """The most that one object may take: elements per accessor, megapixels per image."""

    max_file_mb: int = 512
    max_triangles: int = 20_000_000
    max_elements: int = 60_000_000
    max_image_mpx: int = 64
    max_texture_side_px: int = 2048
    """Larger textures are averaged down: a view of 224 px does not show their detail."""


def split_container(data: bytes, limits: GlbLimits) -> tuple[bytes, memoryview]:
    """Split a file into its JSON and its binary chunk, which is empty if absent.

    Raises:
        BadSampleError: it is no glTF, of another version, truncated, or too large.
    """
    if len(data) > limits.max_file_mb * 2**20:
        raise BadSampleError(
            f"file of {len(data) / 2**20:.0f} MB; at most {limits.max_file_mb} MB are read"
        )
    if data[:4] == b"glTF":
        return _split_glb(data)
    if data[:64].removeprefix(_BOM).lstrip().startswith(b"{"):
        return data.removeprefix(_BOM), memoryview(b"")
    raise BadSampleError(_what_it_is(data))


def _split_glb(data: bytes) -> tuple[bytes, memoryview]:
    # 12 bytes of header and 8 of the first chunk's.
    if len(data) < 20:
        raise BadSampleError(f"truncated GLB: {len(data)} bytes, expected at least 20")
    version, declared = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise BadSampleError(f"glTF version {version}; only version 2 is read: convert it")
    if declared > len(data):
        raise BadSampleError(
            f"truncated GLB: header says {declared} bytes, file has {len(data)}; fetch it again"
        )
    # What follows the declared length is no part of the GLB.
    chunks = _chunks(memoryview(data)[:declared])
    if not chunks or chunks[0][0] != _JSON_CHUNK:
        raise BadSampleError("GLB does not start with its JSON chunk")
    binary = next((body for kind, body in chunks[1:] if kind == _BIN_CHUNK), memoryview(b""))
    # Some exporters pad with zeros where the specification asks for spaces.
    return bytes(chunks[0][1]).rstrip(b"\0").removeprefix(_BOM), binary


def _what_it_is(data: bytes) -> str:
    """Name what a file that is no glTF probably is."""
    head = data[:64].lstrip().lower()
    if not data:
        return "empty file"
    if head.startswith(b"<"):
        return "an HTML or XML page instead of a glTF; the download probably failed"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer instead of a glTF; fetch the file itself with `git lfs pull`"
    return f"not a glTF: starts with {data[:4]!r}, expected b'glTF' or JSON"


def _chunks(data: memoryview) -> list[tuple[bytes, memoryview]]:
    offset, chunks = 12, []
    while offset < len(data):
        offset = _chunk_start(data, offset)
        if offset + 8 > len(data):
            # A few zeros or spaces are padding, not half a header.
            if chunks and not bytes(data[offset:]).strip(b"\0 "):
                break
            raise BadSampleError("truncated GLB: half a chunk header at its end")
        length, kind = struct.unpack_from("<I4s", data, offset)
        offset += 8
        if offset + length > len(data):
            raise BadSampleError(
                f"truncated GLB: a chunk says {length} bytes, {len(data) - offset} are left"
            )
        chunks.append((kind, data[offset : offset + length]))
        offset += length
    return chunks


def _chunk_start(data: memoryview, offset: int) -> int:
    """Return where the next chunk starts: at `offset`, or after padding that no length counts."""
    aligned = offset + -offset % 4
    skips = data[offset + 4 : offset + 8] != _BIN_CHUNK
    return aligned if skips and data[aligned + 4 : aligned + 8] == _BIN_CHUNK else offset

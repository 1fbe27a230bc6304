"""Reads a binary glTF 2.0 (GLB) from memory; trusts nothing in it and opens no file.

Promises: every length, offset, count and index is compared with the bytes that are there before
memory is allocated for it; only base64 `data:` URIs are followed. Every problem is a
BadSampleError with a reason for people.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema

_Item = TypeVar("_Item")

# Numbers of the specification (chapter 3.6.2.2), which are OpenGL's.
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON_CHUNK, _BIN_CHUNK = b"JSON", b"BIN\0"


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
    """Split a GLB into its JSON chunk and its binary chunk, which is empty if absent.

    Raises:
        BadSampleError: it is not a GLB, of another version, truncated, or too large.
    """
    if len(data) > limits.max_file_mb * 2**20:
        raise BadSampleError(
            f"file of {len(data) / 2**20:.0f} MB; at most {limits.max_file_mb} MB are read"
        )
    if data[:4] != b"glTF":
        raise BadSampleError(_what_it_is(data))
    # 12 bytes of header and 8 of the first chunk's.
    if len(data) < 20:
        raise BadSampleError(f"truncated GLB: {len(data)} bytes")
    version, declared = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise BadSampleError(f"glTF version {version}; only version 2 is read")
    if declared != len(data):
        kind = "truncated GLB" if declared > len(data) else "GLB with trailing bytes"
        raise BadSampleError(f"{kind}: header says {declared} bytes, file has {len(data)}")
    chunks = _chunks(data)
    if chunks[0][0] != _JSON_CHUNK:
        raise BadSampleError("GLB does not start with its JSON chunk")
    binary = next((body for kind, body in chunks[1:] if kind == _BIN_CHUNK), memoryview(b""))
    return bytes(chunks[0][1]), binary


def _what_it_is(data: bytes) -> str:
    """Name what a file that is no GLB probably is."""
    head = data[:64].lstrip().lower()
    if not data:
        return "empty file"
    if head.startswith(b"<"):
        return "an HTML or XML page instead of a GLB; the download probably failed"
    if head.startswith(b"{"):
        return "JSON instead of a GLB (a .gltf file must be packed into a .glb)"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer instead of a GLB"
    return f"not a GLB: starts with {data[:4]!r}, expected b'glTF'"


def _chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    view, offset, chunks = memoryview(data), 12, []
    while offset < len(data):
        if offset + 8 > len(data):
            raise BadSampleError("truncated GLB: half a chunk header at its end")
        length, kind = struct.unpack_from("<I4s", data, offset)
        offset += 8
        if offset + length > len(data):
            raise BadSampleError(
                f"truncated GLB: a chunk says {length} bytes, {len(data) - offset} are left"
            )
        chunks.append((kind, view[offset : offset + length]))
        offset += length
    return chunks


def item(items: Sequence[_Item], index: int, what: str) -> _Item:
    """Return items[index]. Raises BadSampleError, which names what the index is of."""
    if index >= len(items):
        raise BadSampleError(f"index out of range: {what} {index} of {len(items)}")
    return items[index]


class Binary:
    """The bytes behind a document: buffers, buffer views and accessors."""

    def __init__(self, document: schema.Document, chunk: memoryview, limits: GlbLimits) -> None:
        self._document = document
        self._chunk = chunk
        self._limits = limits
        self._buffers: dict[int, memoryview] = {}

    def view_bytes(self, index: int) -> memoryview:
        """Return the bytes of buffer view `index`."""
        view = item(self._document.buffer_views, index, "buffer view")
        buffer = self._buffer(view.buffer)
        end = view.byte_offset + view.byte_length
        if end > len(buffer):
            raise BadSampleError(
                f"buffer view {index} ends at byte {end} of a buffer of {len(buffer)}"
            )
        return buffer[view.byte_offset : end]

    def image_bytes(self, index: int) -> bytes | memoryview:
        """Return the encoded bytes of image `index`."""
        image = item(self._document.images, index, "image")
        if image.buffer_view is not None:
            return self.view_bytes(image.buffer_view)
        if image.uri is None:
            raise BadSampleError(f"image {index} has neither bytes nor a URI")
        return decode_data_uri(image.uri, f"image {index}")

    def floats(self, index: int, components: Sequence[int]) -> np.ndarray:
        """Read accessor [count, C] as float32; normalised integers are scaled to −1..1 or 0..1.

        `components` lists the widths C that the caller can use.
        """
        accessor = item(self._document.accessors, index, "accessor")
        return as_floats(self._values(index, accessor, components), accessor.normalized)

    def normalized(self, index: int) -> bool:
        """Tell whether the integers of accessor `index` stand for −1..1 or 0..1."""
        return item(self._document.accessors, index, "accessor").normalized

    def integers(self, index: int, components: Sequence[int]) -> np.ndarray:
        """Read accessor [count, C] of unsigned integers, as stored."""
        accessor = item(self._document.accessors, index, "accessor")
        values = self._values(index, accessor, components)
        if values.dtype.kind != "u":
            raise BadSampleError(
                f"accessor {index} holds {values.dtype}; expected unsigned integers"
            )
        return values

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            self._buffers[index] = self._open_buffer(index)
        return self._buffers[index]

    def _open_buffer(self, index: int) -> memoryview:
        buffer = item(self._document.buffers, index, "buffer")
        if buffer.uri is not None:
            content = memoryview(decode_data_uri(buffer.uri, f"buffer {index}"))
        elif index == 0:  # the specification reserves it for the binary chunk
            content = self._chunk
        else:
            raise BadSampleError(f"buffer {index} has neither bytes nor a URI")
        if buffer.byte_length > len(content):
            raise BadSampleError(
                f"buffer {index} says {buffer.byte_length} bytes, {len(content)} are there"
            )
        # The chunk is padded to 4 bytes, so that it may be longer.
        return content[: buffer.byte_length]

    def _values(
        self, index: int, accessor: schema.Accessor, components: Sequence[int]
    ) -> np.ndarray:
        width = _COMPONENTS.get(accessor.type, 0)
        if width not in components:
            raise BadSampleError(
                f"accessor {index} is a {accessor.type}, which does not fit its use"
            )
        if accessor.count > self._limits.max_elements:
            raise BadSampleError(
                f"accessor {index} says {accessor.count} elements; "
                f"at most {self._limits.max_elements} are read"
            )
        dtype = np.dtype(_DTYPES[accessor.component_type])
        # Without a buffer view the values are 0, to be replaced by sparse ones.
        if accessor.buffer_view is None:
            values = np.zeros((accessor.count, width), dtype)
        else:
            view = item(self._document.buffer_views, accessor.buffer_view, "buffer view")
            values = self._strided(
                accessor.buffer_view,
                accessor.byte_offset,
                accessor.count,
                width,
                dtype,
                view.byte_stride,
            )
        return values if accessor.sparse is None else self._with_sparse(values, accessor.sparse)

    def _strided(
        self,
        view: int,
        offset: int,
        count: int,
        width: int,
        dtype: np.dtype,
        stride: int | None = None,
    ) -> np.ndarray:
        """View a buffer view as an array [count, width], without a copy."""
        content, size = self.view_bytes(view), width * dtype.itemsize
        stride = size if stride is None else stride
        # The last element needs its size only, not a whole stride.
        end = offset + (count - 1) * stride + size if count else offset
        if end > len(content):
            raise BadSampleError(
                f"an accessor needs {end} bytes of buffer view {view}, which has {len(content)}"
            )
        if stride < size and count > 1:
            raise BadSampleError(f"buffer view {view}: stride {stride} under element size {size}")
        return np.ndarray((count, width), dtype, content, offset, (stride, dtype.itemsize))

    def _with_sparse(self, base: np.ndarray, sparse: schema.Sparse) -> np.ndarray:
        at, new = sparse.indices, sparse.values
        index_type = np.dtype(_DTYPES[at.component_type])
        places = self._strided(at.buffer_view, at.byte_offset, sparse.count, 1, index_type)[:, 0]
        values = self._strided(
            new.buffer_view, new.byte_offset, sparse.count, base.shape[1], base.dtype
        )
        if sparse.count and int(places.max()) >= len(base):
            raise BadSampleError(f"index out of range: sparse index {places.max()} of {len(base)}")
        # The base may be a view of the file's bytes, which is read-only.
        patched = base.copy()
        patched[places] = values
        return patched


def as_floats(values: np.ndarray, normalized: bool) -> np.ndarray:
    """Convert values to float32; normalised integers become −1..1 or 0..1 (chapter 3.11)."""
    if values.dtype.kind == "f" or not normalized:
        return values.astype(np.float32)
    top = np.float32(np.iinfo(values.dtype).max)
    # The lowest integer would become less than −1: −128 / 127.
    return np.maximum(values.astype(np.float32) / top, np.float32(-1))


def decode_data_uri(uri: str, owner: str) -> bytes:
    """Decode a base64 data URI; other URIs are refused, so that no file is opened.

    Raises:
        BadSampleError: the URI is external, or its base64 is broken.
    """
    if not uri.startswith("data:"):
        raise BadSampleError(f"{owner} points outside the file ({uri[:60]!r}); embed it in the GLB")
    header, _, payload = uri.partition(",")
    if not header.endswith(";base64"):
        raise BadSampleError(f"{owner}: data URI is not base64")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise BadSampleError(f"{owner}: broken base64 in a data URI") from None

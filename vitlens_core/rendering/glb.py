"""Reads the buffers and accessors of a glTF 2.0 document; trusts nothing in it.

Promises: every length, offset, count and index is compared with the bytes that are there before
memory is allocated for it. Every problem is a BadSampleError with a reason for people.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import schema
from vitlens_core.rendering.container import GlbLimits
from vitlens_core.rendering.extensions import MESHOPT, check_used
from vitlens_core.rendering.uris import Files, read_uri

_Item = TypeVar("_Item")

# Numbers of the specification (chapter 3.6.2.2), which are OpenGL's.
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def item(items: Sequence[_Item], index: int, what: str) -> _Item:
    """Return items[index]. Raises BadSampleError, which names what the index is of."""
    if index >= len(items):
        raise BadSampleError(f"index out of range: {what} {index} of {len(items)}")
    return items[index]


class Binary:
    """The bytes behind a document: buffers, buffer views and accessors."""

    def __init__(
        self,
        document: schema.Document,
        chunk: memoryview,
        limits: GlbLimits,
        files: Files | None = None,
    ) -> None:
        self._document = document
        self._chunk = chunk
        self._limits = limits
        self._files = files
        self._buffers: dict[int, memoryview] = {}

    def view_bytes(self, index: int) -> memoryview:
        """Return the bytes of buffer view `index`."""
        view = item(self._document.buffer_views, index, "buffer view")
        packed = [name for name in view.extensions.unread if name in MESHOPT]
        if packed and not self._has_bytes(view.buffer):
            raise BadSampleError(
                f"buffer view {index} is compressed with {packed[0]}, which is not read; "
                "export the object without it"
            )
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
        return read_uri(image.uri, f"image {index}", self._files)

    def floats(self, index: int, components: Sequence[int], is_unit: bool = False) -> np.ndarray:
        """Read accessor [count, C] as float32; normalised integers are scaled to −1..1 or 0..1.

        `components` lists the widths C that the caller can use; `is_unit` takes integers for
        normalised whatever the accessor says.
        """
        accessor = item(self._document.accessors, index, "accessor")
        values = self._values(index, accessor, components)
        return as_floats(values, accessor.normalized or is_unit)

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

    def _has_bytes(self, index: int) -> bool:
        buffer = item(self._document.buffers, index, "buffer")
        return buffer.uri is not None or (index == 0 and len(self._chunk) > 0)

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            self._buffers[index] = self._open_buffer(index)
        return self._buffers[index]

    def _open_buffer(self, index: int) -> memoryview:
        buffer = item(self._document.buffers, index, "buffer")
        if buffer.uri is not None:
            content = memoryview(read_uri(buffer.uri, f"buffer {index}", self._files))
        elif self._has_bytes(index):  # the specification reserves it for the binary chunk
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
        check_used(accessor.extensions.unread, f"accessor {index}")
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
        stride = stride or size  # 0 and None: tightly packed
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

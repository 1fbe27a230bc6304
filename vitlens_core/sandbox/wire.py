"""The format of messages between a child and its parent: JSON and plain arrays.

It is not pickle, because nothing that a child sends may run code in its parent. A child may be
under the control of the file that it read: sizes are checked before memory is taken for them, and
every wait has an end.
"""

import json
import math
import os
import select
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitlens_core.errors import BadSampleError, ConfigError, InputError, VitlensError

Fields = dict[str, Any]  # what JSON holds: of any type until a reader has looked at it
# The errors whose class the parent is told; any other is a bad sample.
TOLD: dict[str, type[VitlensError]] = {
    error.__name__: error for error in (BadSampleError, ConfigError, InputError)
}
# The types that arrays may have: a dtype of objects would hold pointers.
_SIZES = (8, 16, 32, 64)
_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{s}int{n}" for s in ("", "u") for n in _SIZES}
)
_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = 2**26  # most bytes of a message's JSON
_ARRAYS, _AXES = 2**16, 16  # most arrays of a message, and axes of an array
# Most bytes of one system call. Linux moves no more than 2 GB at once.
_CHUNK = 2**26


@dataclass(frozen=True)
class Setup:
    """The first message to a child: what it opens, and what is left to it then.

    Attributes:
        opener: `module:function`.
        settings: of the opener; JSON-able.
        readable: folders that it may read.
        devices: whether it may use graphics devices.
        scratch: the folder that it may write to, if there is one.
        modules: to import while any file can be read.
    """

    opener: str
    settings: Mapping[str, object]
    readable: list[str]
    devices: bool
    scratch: str | None
    modules: list[str]
    memory_mb: int
    processor_s: float


class WireError(Exception):
    """The other side sent no message of this format, or one that is too large."""


class Channel:
    """One end of a socket pair; `deadline` (of `time.monotonic`) ends every wait."""

    def __init__(self, descriptor: int, most_bytes: float = math.inf) -> None:
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self.deadline = math.inf

    def send(self, fields: Mapping[str, object], **arrays: np.ndarray) -> None:
        """Send JSON-able fields and named arrays.

        Raises:
            OSError: the other side is gone.
            TimeoutError: it did not take them before the deadline.
        """
        shapes = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
        header = json.dumps({"fields": dict(fields), "arrays": shapes}).encode()
        self._write(_LENGTH.pack(len(header)) + header)
        for array in arrays.values():
            self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def receive(self) -> tuple[Fields, dict[str, np.ndarray]]:
        """Receive the fields and arrays of one message.

        Raises:
            EOFError: the other side is gone.
            TimeoutError: no whole message came before the deadline.
            WireError: it is no message of `send`, or a larger one than agreed.
        """
        (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if size > _HEADER_BYTES:
            raise WireError(f"a header of {size:,} bytes")
        fields, shapes = _header(bytes(self._read(size)))
        total = sum(dtype.itemsize * math.prod(shape) for dtype, shape in shapes.values())
        if total > self._most_bytes:
            raise WireError(f"an answer of {total:,} bytes; {self._most_bytes:,.0f} are allowed")
        return fields, {name: self._array(*shape) for name, shape in shapes.items()}

    def _array(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, dtype)
        self._fill(array.reshape(-1).view(np.uint8).data)
        return array

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        self._fill(memoryview(data))
        return data

    def _fill(self, view: memoryview) -> None:
        while view:
            self._wait(select.POLLIN)
            try:
                count = os.readv(self._descriptor, [view[:_CHUNK]])
            except BlockingIOError:
                continue
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            view = view[count:]

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            self._wait(select.POLLOUT)
            try:
                view = view[os.write(self._descriptor, view[:_CHUNK]) :]
            except BlockingIOError:
                continue

    def _wait(self, event: int) -> None:
        if self.deadline == math.inf:  # a blocking descriptor waits by itself
            return
        poll = select.poll()
        poll.register(self._descriptor, event)
        left_s = self.deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise TimeoutError


def _header(text: bytes) -> tuple[Fields, dict[str, tuple[np.dtype, tuple[int, ...]]]]:
    try:
        header = json.loads(text)
        fields, arrays = header["fields"], header["arrays"]
        shapes = {str(name): _shape(dtype, axes) for name, (dtype, axes) in arrays.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"no message: {error}") from error
    if not isinstance(fields, dict) or len(shapes) > _ARRAYS:
        raise WireError(f"a message of {type(fields).__name__} with {len(shapes)} arrays")
    return fields, shapes


def _shape(dtype: object, axes: list[object]) -> tuple[np.dtype, tuple[int, ...]]:
    if dtype not in _DTYPES:
        raise ValueError(f"an array of type {dtype!r:.40}")
    sizes = tuple(axis for axis in axes if type(axis) is int and axis >= 0)
    if len(sizes) != len(axes) or len(axes) > _AXES:
        raise ValueError(f"an array of shape {axes!r:.80}")
    return np.dtype(str(dtype)), sizes

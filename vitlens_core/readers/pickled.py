"""Reads numpy arrays from pickled files without running the code in them.

OpenShape and ULIP publish their test clouds as `.npy` of dictionaries and as pickled lists,
seglearn its recordings as a `.npy` of one dictionary.

Reads     such a file, in a child process without rights (`vitlens_core.sandbox`).
Promises  it makes arrays, numbers, texts, lists, tuples and dictionaries only. No function of numpy
          is called with what a pickle says: what it asks for is noted, checked, and made here.
"""

from __future__ import annotations

import math
import pickle
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.readers import nested
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import existing
from vitlens_core.sandbox import Limits, Sandbox, is_child
from vitlens_core.sandbox.child import Arrays, Handler
from vitlens_core.sandbox.wire import Fields

# All of these come from damaged or hostile pickles.
_BROKEN = (pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, KeyError)
_BROKEN += (IndexError, ImportError, MemoryError, OSError, OverflowError, RecursionError)
_TYPE = re.compile(r"[biufc](1|2|4|8|16)|\?|[SU]\d{0,6}|O8?")
_MOST_AXES, _DEEPEST = 16, 64
_ORDERS: tuple[Literal["<", ">", "|", "="], ...] = ("<", ">", "|", "=")
_LIMITS = Limits(time_s=300, memory_mb=16_384, output_mb=8192)
# One child for all files of a process; it starts with the first.
_READERS: list[Sandbox] = []
_LOCK = threading.Lock()


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a .npy, which may be an array of objects.

    Raises:
        InputError: the file is missing or damaged, or its pickle holds more than arrays and plain
            values.
    """
    existing(path, "an array")
    content = _apart(path, "npy")
    if not isinstance(content, np.ndarray):
        raise InputError(f"expected an array in {path}, found {type(content).__name__}")
    return content


def read_pickle(path: Path) -> Any:
    """Read what a pickle holds. Raises InputError as `read_npy` does."""
    existing(path, "pickled arrays")
    return _apart(path, "pickle")


def _apart(path: Path, kind: str) -> object:
    """Read a file in a child, or here if this is one."""
    if is_child():
        return _READ[kind](path)
    with _LOCK:
        if not _READERS:
            _READERS.append(Sandbox(f"{__name__}:open_pickles", {}, _LIMITS))
        return _asked(_READERS[0], path, kind)


def _asked(sandbox: Sandbox, path: Path, kind: str) -> object:
    try:
        with sandbox.lent(path, path.name) as lent:
            answer = sandbox.ask({"path": str(lent), "kind": kind})
        return nested.decoded(answer.fields["content"], answer.arrays)
    except InputError as error:
        raise InputError(str(error).replace(str(sandbox.inbox), str(path.parent))) from error
    except (BadSampleError, *_BROKEN) as error:
        raise unreadable(path, "pickled arrays", error) from error


def open_pickles(settings: Fields) -> Handler:
    """Read pickled files, in the child."""

    def read(fields: Fields, _: Arrays) -> tuple[Mapping[str, object], Arrays]:
        arrays: Arrays = {}
        content = nested.encoded(_READ[fields["kind"]](Path(fields["path"])), arrays)
        return {"content": content}, arrays

    return read


def _read_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            # Only arrays of objects are pickled; numpy reads the others itself.
            if dtype.hasobject:
                return _of_objects(_unpickled(file), shape)
        return np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise unreadable(path, "numpy's arrays", error) from error


def _read_pickle(path: Path) -> object:
    try:
        with path.open("rb") as file:
            return _unpickled(file)
    except _BROKEN as error:
        raise unreadable(path, "pickled arrays", error) from error


_READ: dict[str, Callable[[Path], object]] = {"npy": _read_npy, "pickle": _read_pickle}


class _Noted:
    """What a pickle asks for: a type, an array or a number of numpy; made when all is read."""

    __slots__ = ("arguments", "kind", "state")

    def __init__(self, kind: str, arguments: tuple[object, ...]) -> None:
        self.kind, self.arguments = kind, arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        if self.state is not None:
            raise pickle.UnpicklingError("it sets an array twice; only arrays are opened")
        self.state = state


class _Note:
    """Stands in for a function of numpy: notes its arguments and calls nothing."""

    # No dictionary and no state: a pickle cannot change it for those that are read later.
    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __call__(self, *arguments: object) -> object:
        if self._kind == "encode":
            return _latin1(*arguments)
        if self._kind == "nothing" and not arguments:
            return b""
        return _Noted(self._kind, arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it sets the state of a function; only arrays are opened")


def _latin1(text: object, encoding: object) -> bytes:
    """Encode text to bytes, as pickle protocols before 3 write bytes; they use latin1 only."""
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError(f"it asks for bytes as {encoding}; only arrays are opened")
    return text.encode("latin1")


# What numpy's own pickles ask for, and what they mean.
_NDARRAY = _Note("ndarray")
_ALLOWED: dict[tuple[str, str], _Note] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Note("dtype"),
    ("_codecs", "encode"): _Note("encode"),
    # Protocols before 3 write empty bytes as a call.
    ("__builtin__", "bytes"): _Note("nothing"),
    **{
        (f"numpy.{core}.{module}", name): _Note(kind)
        for core in ("core", "_core")  # of numpy 1, and of numpy 2
        for module, name, kind in (
            ("multiarray", "_reconstruct", "array"),
            ("multiarray", "scalar", "scalar"),
            ("numeric", "_frombuffer", "buffer"),
        )
    },
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles with the allowed names only, and imports nothing."""

    def find_class(self, module_name: str, global_name: str) -> object:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}; only arrays are opened"
            ) from None


def _unpickled(file: IO[bytes]) -> object:
    # latin1 is what arrays pickled by Python 2 need: it maps every byte to a character.
    return _made(_ArraysOnly(file, encoding="latin1").load(), 0)


def _made(value: object, depth: int) -> object:
    """Make what was noted, in a value of plain containers."""
    if depth > _DEEPEST:  # also of a list that holds itself
        raise pickle.UnpicklingError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(value, _Noted):
        return _MAKE[value.kind](value, depth + 1)
    if type(value) is list:
        return [_made(item, depth + 1) for item in value]
    if type(value) is tuple:
        return tuple(_made(item, depth + 1) for item in value)
    if type(value) is dict:
        return {_made(k, depth + 1): _made(v, depth + 1) for k, v in value.items()}
    if value is None or type(value) in (bool, int, float, complex, str, bytes, bytearray):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}; only arrays are opened")


def _made_array(noted: _Noted, depth: int) -> np.ndarray:
    """Make an array of its state: (version, shape, type, column-major, content)."""
    if not noted.arguments or noted.arguments[0] is not _NDARRAY:
        raise pickle.UnpicklingError("it makes an array of another class; only arrays are opened")
    _, shape, kind, is_column_major, content = _parts(noted.state)
    dtype, sizes = _dtype(kind), _sizes(shape)
    if dtype.hasobject:
        return _array_of_objects(content, sizes, is_column_major, depth)
    return _from_bytes(content, dtype, sizes, is_column_major)


def _made_from_buffer(noted: _Noted, _: int) -> np.ndarray:
    content, kind, shape, order = noted.arguments
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"it states the order {order!r}")
    return _from_bytes(content, _dtype(kind), _sizes(shape), order == "F")


def _made_scalar(noted: _Noted, _: int) -> object:
    kind, content = noted.arguments
    return _from_bytes(content, _dtype(kind), (), False)[()]


def _made_dtype(noted: _Noted, _: int) -> np.dtype:
    return _dtype(noted)


_MAKE: dict[str, Callable[[_Noted, int], object]] = {
    "array": _made_array,
    "buffer": _made_from_buffer,
    "scalar": _made_scalar,
    "dtype": _made_dtype,
}


def _from_bytes(
    content: object, dtype: np.dtype, shape: tuple[int, ...], is_column_major: object
) -> np.ndarray:
    """Copy bytes into an array; they must be exactly as many as it needs, of a plain type."""
    if isinstance(content, str):  # Python 2's bytes
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray) or dtype.hasobject:
        raise pickle.UnpicklingError("it states no bytes for an array of numbers")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise pickle.UnpicklingError(f"{len(content)} bytes for {dtype} of shape {list(shape)}")
    if not content:
        return np.empty(shape, dtype)
    order = "F" if is_column_major else "C"
    return np.frombuffer(content, dtype).reshape(shape, order=order).copy()


def _array_of_objects(
    content: object, shape: tuple[int, ...], is_column_major: object, depth: int
) -> np.ndarray:
    if type(content) is not list or len(content) != math.prod(shape):
        raise pickle.UnpicklingError(f"no list of the objects of an array of {list(shape)}")
    flat = np.empty(len(content), dtype=object)
    for place, item in enumerate(content):
        flat[place] = _made(item, depth)
    return flat.reshape(shape, order="F" if is_column_major else "C")


def _dtype(noted: object) -> np.dtype:
    """Make a plain type: (name, align, copy), with the state (version, order, …)."""
    if not isinstance(noted, _Noted) or noted.kind != "dtype" or not noted.arguments:
        raise pickle.UnpicklingError("it states no type of numbers")
    name = noted.arguments[0]
    if not isinstance(name, str) or not _TYPE.fullmatch(name):
        raise pickle.UnpicklingError(f"it asks for the type {name!r:.40}; only arrays are opened")
    dtype = np.dtype(name)
    if noted.state is None:
        return dtype
    _, order, *rest = _parts(noted.state)
    parts = rest[:3]  # of a type made of others: a shape, names, fields
    known = next((one for one in _ORDERS if one == order), None)
    if known is None or any(part is not None for part in parts):
        raise pickle.UnpicklingError(f"it changes the type {name}; only arrays are opened")
    return dtype.newbyteorder(known)


def _parts(state: object) -> tuple[object, ...]:
    if type(state) is not tuple:
        raise pickle.UnpicklingError(f"it states {type(state).__name__} of an array or a type")
    return state


def _sizes(shape: object) -> tuple[int, ...]:
    stated = shape if type(shape) is tuple else (None,)
    sizes = tuple(size for size in stated if type(size) is int and size >= 0)
    if len(sizes) != len(stated) or len(sizes) > _MOST_AXES:
        raise pickle.UnpicklingError(f"it states the shape {shape!r:.80}")
    return sizes


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"it has version {version} of the format; expected 1.0 or 2.0")
    shape, _, dtype = read[version](file)
    return shape, dtype


def _of_objects(content: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(content, np.ndarray) or content.shape != shape:
        raise InputError(f"expected an array of shape {shape} behind the header")
    return content

"""pickled: files that hold numpy arrays in pickles, opened without running what is in them.

OpenShape and ULIP publish their test clouds as `.npy` of dictionaries and as pickled lists.

Reads     such a file.
Promises  arrays, numbers, texts, lists, tuples and dictionaries only: whatever else a pickle
          asks for is refused before it is made.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import existing, unreadable

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # bytes, in pickles of protocol 2
    *((module, name) for module in _MULTIARRAY for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in _NUMERIC),
}
_BROKEN = (pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, KeyError)
_BROKEN += (IndexError, ImportError, MemoryError, OSError, OverflowError)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy, of objects or not.

    Raises:
        InputError: missing, damaged, or pickled from more than arrays and plain values.
    """
    existing(path, {".npy"}, "an array")
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            if dtype.hasobject:
                return _of_objects(_unpickled(file), shape)
        return np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise unreadable(path, "numpy's arrays", error) from error


def read_pickle(path: Path, endings: set[str]) -> Any:
    """What a pickle holds. Raises InputError, as `read_npy`."""
    existing(path, endings, "pickled arrays")
    try:
        with path.open("rb") as file:
            return _unpickled(file)
    except _BROKEN as error:
        raise unreadable(path, "pickled arrays", error) from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only arrays are opened")
        return super().find_class(module, name)


def _unpickled(file: IO[bytes]) -> Any:
    return _ArraysOnly(file, encoding="latin1").load()


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


def _of_objects(content: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(content, np.ndarray) or content.shape != shape:
        raise InputError(f"expected an array of shape {shape} behind the header")
    return content

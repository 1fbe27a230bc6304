"""Reads numpy arrays from pickled files without running the code in them.

OpenShape and ULIP publish their test clouds as `.npy` of dictionaries and as pickled lists,
seglearn its recordings as a `.npy` of one dictionary.

Reads     such a file.
Promises  it makes arrays, numbers, texts, lists, tuples and dictionaries only; anything else that
          a pickle asks for is refused before it is made.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import existing

# All of these come from damaged or hostile pickles.
_BROKEN = (pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, KeyError)
_BROKEN += (IndexError, ImportError, MemoryError, OSError, OverflowError)


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a .npy, which may be an array of objects.

    Raises:
        InputError: the file is missing or damaged, or its pickle holds more than arrays and plain
            values.
    """
    existing(path, "an array")
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            # Only arrays of objects are pickled; numpy reads the others itself.
            if dtype.hasobject:
                return _of_objects(_unpickled(file), shape)
        return np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise unreadable(path, "numpy's arrays", error) from error


def read_pickle(path: Path) -> Any:
    """Read what a pickle holds. Raises InputError as `read_npy` does."""
    existing(path, "pickled arrays")
    try:
        with path.open("rb") as file:
            return _unpickled(file)
    except _BROKEN as error:
        raise unreadable(path, "pickled arrays", error) from error


def _latin1(text: str, encoding: str) -> bytes:
    """Encode text to bytes, as pickle protocols before 3 write bytes; they use latin1 only."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for bytes as {encoding}; only arrays are opened")
    return text.encode(encoding)


# What numpy's own pickles ask for, taken from arrays of the installed numpy.
_ARRAYS = {
    ("multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): made_by
        for core in ("core", "_core")  # of numpy 1, and of numpy 2
        for (module, name), made_by in _ARRAYS.items()
    },
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles with the allowed functions only, and imports nothing."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}; only arrays are opened"
            ) from None


def _unpickled(file: IO[bytes]) -> Any:
    # latin1 is what arrays pickled by Python 2 need: it maps every byte to a character.
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

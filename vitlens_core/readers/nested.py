"""Writes arrays in lists and dictionaries as JSON and plain arrays, as a child answers.

Each value is null, a truth value, or a pair of its kind and its content:

    ["i", 3]  ["f", 0.5]  ["s", "text"]  ["b", "latin1 of bytes"]  ["l", […]]  ["t", […]]
    ["d", [[key, value], …]]  ["a", name of an array]  ["w", name, its dtype, its shape]
    ["o", shape, items of an array of objects]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_TEXTS = re.compile(r"[<>|=]?[SU]\d+")


def encoded(value: object, arrays: dict[str, np.ndarray]) -> object:
    """Return a value as JSON; its arrays go to `arrays` by name.

    Raises:
        TypeError: it holds something else than arrays, numbers, texts and containers.
    """
    if value is None or type(value) is bool:
        return value
    if isinstance(value, np.generic):
        return encoded(np.asarray(value), arrays) if value.dtype.kind in "SU" else _number(value)
    if isinstance(value, np.ndarray):
        return _array(value, arrays)
    match value:
        case int():
            return ["i", value]
        case float():
            return ["f", value]
        case str():
            return ["s", value]
        case bytes() | bytearray():
            return ["b", bytes(value).decode("latin1")]
        case list() | tuple():
            kind = "l" if isinstance(value, list) else "t"
            return [kind, [encoded(item, arrays) for item in value]]
        case dict():
            pairs = [[encoded(k, arrays), encoded(v, arrays)] for k, v in value.items()]
            return ["d", pairs]
    raise TypeError(f"a {type(value).__name__}; expected arrays and plain values")


def _number(value: np.generic) -> object:
    return encoded(value.item(), {})


def _array(array: np.ndarray, arrays: dict[str, np.ndarray]) -> object:
    if array.dtype.hasobject:
        return ["o", list(array.shape), [encoded(item, arrays) for item in array.ravel()]]
    name = str(len(arrays))
    if array.dtype.kind in "SU":
        arrays[name] = np.frombuffer(array.tobytes(), np.uint8)
        return ["w", name, array.dtype.str, list(array.shape)]
    arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return ["a", name]


def decoded(value: Any, arrays: dict[str, np.ndarray]) -> object:
    """Return what `encoded` was given (`ValueError`, `TypeError`, `KeyError`: it is not that)."""
    if value is None or type(value) is bool:
        return value
    kind, *content = value
    match kind:
        case "i" | "f" | "s":
            (plain,) = content
            return {"i": int, "f": float, "s": str}[kind](plain)
        case "b":
            return str(content[0]).encode("latin1")
        case "l" | "t":
            items = (decoded(item, arrays) for item in content[0])
            return list(items) if kind == "l" else tuple(items)
        case "d":
            return {decoded(k, arrays): decoded(v, arrays) for k, v in content[0]}
        case "a":
            return arrays[content[0]]
        case "w":
            return _texts(arrays[content[0]], content[1], content[2])
        case "o":
            return _objects(content[0], [decoded(item, arrays) for item in content[1]])
    raise ValueError(f"a value of kind {kind!r}")


def _texts(data: np.ndarray, dtype: object, shape: Sequence[int]) -> np.ndarray:
    if not _TEXTS.fullmatch(str(dtype)):
        raise ValueError(f"texts of type {dtype!r}")
    return np.frombuffer(data.tobytes(), np.dtype(str(dtype))).reshape([int(n) for n in shape])


def _objects(shape: Sequence[int], items: list[object]) -> np.ndarray:
    flat = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        flat[place] = item
    return flat.reshape([int(size) for size in shape])

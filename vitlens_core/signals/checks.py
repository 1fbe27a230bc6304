"""Checks arrays of callers; a message says what was found and what was expected.

A size is a number, or a name for an axis of any size of at least 1: (6, "time").
Axes: B batch.
"""

from __future__ import annotations

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.late import torch

Size = int | str


def raw_numbers(raw: object, what: str, *sizes: Size) -> np.ndarray:
    """Check one raw array and return it as contiguous float32, of the stated shape and finite.

    Raises:
        InputError: not an array of integers or floats, another shape, empty, NaN or infinite.
    """
    array = _array(raw, what, sizes)
    if array.dtype.kind not in "iuf":
        raise InputError(f"expected {what} of integers or floats, found {array.dtype}")
    check_sizes(array.shape, what, sizes)
    with np.errstate(over="ignore"):  # a number beyond float32 is refused below
        array = np.ascontiguousarray(array, dtype=np.float32)
    return finite(array, what)


def finite(array: np.ndarray, what: str) -> np.ndarray:
    """Return an array of finite numbers. Raises InputError if one is NaN or infinite."""
    if not np.isfinite(array).all():
        raise InputError(
            f"expected {what} of finite numbers, found {int((~np.isfinite(array)).sum())} that "
            "are NaN or infinite; fill or drop them"
        )
    return array


def raw_pixels(raw: object, what: str, *sizes: Size) -> np.ndarray:
    """Check that a raw array is uint8 pixels of the stated shape, and return it.

    Raises:
        InputError: another type or shape, or empty.
    """
    array = _array(raw, what, sizes)
    if array.dtype != np.uint8:
        raise InputError(f"expected {what} as uint8 in 0..255, found {array.dtype}")
    check_sizes(array.shape, what, sizes)
    return array


def batch_of_numbers(signals: torch.Tensor, what: str, *sizes: Size) -> torch.Tensor:
    """Check signals [B, *sizes] and return them as float32, finite.

    Raises:
        InputError: no tensor of integers or floats, another shape, empty, NaN or infinite.
    """
    if not isinstance(signals, torch.Tensor):
        raise InputError(f"expected a tensor of {what}, found {type(signals).__name__}")
    if signals.is_complex() or signals.dtype == torch.bool:
        raise InputError(f"expected {what} of integers or floats, found {signals.dtype}")
    check_sizes(signals.shape, what, ("B", *sizes))
    signals = signals.float()
    # Elsewhere the answer would stop the device: training names such samples by their loss.
    if signals.device.type == "cpu" and not torch.isfinite(signals).all():
        raise InputError(f"expected {what} of finite numbers, found NaN or infinite ones")
    return signals


def batch_of_pixels(signals: torch.Tensor, what: str, *sizes: Size) -> torch.Tensor:
    """Check uint8 signals [B, *sizes]. Raises InputError on another type or shape."""
    if not isinstance(signals, torch.Tensor) or signals.dtype != torch.uint8:
        kind = signals.dtype if isinstance(signals, torch.Tensor) else type(signals).__name__
        raise InputError(f"expected {what} as a uint8 tensor, found {kind}")
    check_sizes(signals.shape, what, ("B", *sizes))
    return signals


def check_sizes(shape: tuple[int, ...], what: str, sizes: tuple[Size, ...]) -> None:
    """Raise InputError unless every axis has its size; a named axis needs at least 1."""
    fits = len(shape) == len(sizes) and all(
        length >= 1 if isinstance(size, str) else length == size
        for length, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in sizes)
        raise InputError(f"expected {what} of shape [{expected}], found {list(shape)}")


def _array(raw: object, what: str, sizes: tuple[Size, ...]) -> np.ndarray:
    if isinstance(raw, np.ndarray):  # first, since the test for a tensor imports torch
        return raw
    if isinstance(raw, torch.Tensor):
        return raw.detach().cpu().numpy()
    expected = ", ".join(str(size) for size in sizes)
    raise InputError(f"expected {what} as an array [{expected}], found {type(raw).__name__}")

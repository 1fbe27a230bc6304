"""colour: finds the colours of points among named columns, and brings them to sRGB in 0..1.

This is the one rule for every file of points: PLY, structured and named arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vitlens_core.errors import InputError

# Integers are scaled by the smallest of these that holds them all: writers put 8-bit colours into
# wider types. Floats above 1 are 8-bit colours too.
_LARGEST = (2**8 - 1, 2**16 - 1, 2**32 - 1)
_ROUNDING = 1e-3  # by which floats may leave 0..1
_SPHERICAL_HARMONIC_0 = 0.28209479177387814  # ½ √(1/π), by which Gaussian splats scale colours
# Names of three channels, in lower case, without what may stand before them.
_NAMES = (("red", "green", "blue"), ("r", "g", "b"))
_PREFIXES = ("", "diffuse_", "vertex_", "color_", "colour_", "scalar_", "ambient_")
_GREYS = ("grey", "gray", "luminance", "luma")
_PACKED = ("rgb", "rgba")


def find_rgb(columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Find the colours among columns [N] of points: [N, 3] in 0..1, or None if there are none.

    Raises:
        InputError: the colours are beyond the range of any type, or not finite.
    """
    lower = {name.lower(): np.asarray(values) for name, values in columns.items()}
    for names in _channel_names():
        if all(name in lower for name in names):
            return unit_rgb(np.stack([lower[name] for name in names], axis=1))
    if all(f"f_dc_{i}" in lower for i in range(3)):
        # float64: equal splats in float and double shall give equal colours.
        dc = np.stack([lower[f"f_dc_{i}"] for i in range(3)], axis=1).astype(np.float64)
        return np.clip(0.5 + _SPHERICAL_HARMONIC_0 * dc, 0, 1)
    for name in _PACKED:
        if name in lower and lower[name].dtype.itemsize == 4:
            return _unpacked(lower[name])
    for name in _GREYS:
        if name in lower:
            return unit_rgb(lower[name][:, None]).repeat(3, axis=1)
    return None


def unit_rgb(values: np.ndarray) -> np.ndarray:
    """Bring colours of any type [N, C] to float64 in 0..1.

    Raises:
        InputError: a colour is below 0, beyond the largest integer, or not finite.
    """
    if values.dtype == np.int8:  # bytes whose sign was lost in writing
        values = values.view(np.uint8)
    if not values.size:
        return values.astype(np.float64)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(f"expected colours as finite numbers, found {values.dtype}")
    low, high = float(values.min()), float(values.max())
    is_float = values.dtype.kind == "f"
    if is_float and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return np.clip(values.astype(np.float64), 0, 1)
    largest = next((limit for limit in _LARGEST if high <= limit), None)
    if low < 0 or largest is None or (is_float and largest != _LARGEST[0]):
        raise InputError(
            f"expected colours in 0..1, 0..255 or the range of an integer, found {low:g}..{high:g}"
        )
    return values / largest


def _channel_names() -> Sequence[tuple[str, ...]]:
    return [tuple(prefix + name for name in names) for names in _NAMES for prefix in _PREFIXES]


def _unpacked(values: np.ndarray) -> np.ndarray:
    """Unpack 0xAARRGGBB, which PCL also stores as the bits of a float."""
    if values.dtype.kind == "f":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    else:
        bits = values.astype(np.uint32)
    return np.stack([(bits >> shift) & 0xFF for shift in (16, 8, 0)], axis=1) / 255

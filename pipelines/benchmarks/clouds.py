"""Clouds of the benchmarks of 3D, checked and drawn to the number of points of a protocol.

The protocols centre a cloud, scale it into the unit sphere and, OpenShape's, swap y and z: the
tower's own preparation does that (`modalities.point_cloud`: `up="z"` swaps). A cloud is handed
on as stored, y up, so that a lens trained with y up is measured too.

Axes: N points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.modalities.point_cloud import GREY

OPENSHAPE_POINTS = 10_000
OPENSHAPE = (
    "OpenShape protocol: 10,000 points, y and z swapped for towers that see z up, centred, "
    "unit sphere"
)


def cloud(xyz: Any, rgb: Any, where: str, *, largest_rgb: float = 1.0) -> np.ndarray:
    """float32 [N, 6], colours in 0..1; .4 grey where there are none.

    Args:
        rgb: [N, 3] in 0..largest_rgb, or None.

    Raises:
        InputError: other shapes, not numbers, not finite, or colours out of range.
    """
    places = _numbers(xyz, "xyz", where)
    if rgb is None:
        colours = np.full_like(places, GREY)
    else:
        colours = _numbers(rgb, "rgb", where) / np.float32(largest_rgb)
    if len(places) != len(colours):
        raise InputError(f"{where}: expected a colour a point, found {len(colours)} and {len(xyz)}")
    if colours.min() < 0 or colours.max() > 1:
        raise InputError(
            f"{where}: expected rgb in 0..{largest_rgb:g}, found up to "
            f"{colours.max() * largest_rgb:g} and down to {colours.min() * largest_rgb:g}"
        )
    return np.concatenate([places, colours], axis=1)


def drawn(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[N, C] → [count, C]: a seeded draw; with repetition where N is smaller (as OpenShape's)."""
    if len(points) == count:
        return points
    rng = np.random.default_rng(seed)
    return points[rng.choice(len(points), count, replace=len(points) < count)]


def array_of(values: Any, what: str, where: str) -> np.ndarray:
    """As one array. Raises InputError: rows of several lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{where}: expected {what} as one array: {error}") from error


def _numbers(values: Any, what: str, where: str) -> np.ndarray:
    found = array_of(values, what, where)
    if found.ndim != 2 or found.shape[1] != 3 or not len(found) or found.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: expected {what} as numbers [N, 3], found {found.dtype} {list(found.shape)}"
        )
    numbers = found.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: {what} holds NaN or infinite numbers")
    return numbers

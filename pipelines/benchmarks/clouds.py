"""clouds: checks the point clouds of 3D benchmarks, and draws the protocol's number of points.

The protocols centre a cloud and scale it into the unit sphere; OpenShape's also swaps y and z. The
tower's own preparation does all this (`modalities.point_cloud`: `up="z"` swaps). A cloud is passed
on as stored, with y up, so that a lens trained with y up can be measured too.

Axes: N points.
"""

from __future__ import annotations

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.modalities.point_cloud import GREY

OPENSHAPE_POINTS = 10_000
OPENSHAPE = (
    "OpenShape protocol: 10,000 points, y and z swapped for towers that see z up, centred, "
    "unit sphere"
)


def cloud(xyz: object, rgb: object, where: str, *, largest_rgb: float = 1.0) -> np.ndarray:
    """Return float32 [N, 6] with colours in 0..1; .4 grey without colours.

    Args:
        rgb: [N, 3] in 0..largest_rgb, or None.

    Raises:
        InputError: a wrong shape, no numbers, numbers that are not finite, or colours out of range.
    """
    places = _numbers(xyz, "xyz", where)
    if rgb is None:
        colours = np.full_like(places, GREY)
    else:
        colours = _numbers(rgb, "rgb", where) / np.float32(largest_rgb)
    if len(places) != len(colours):
        raise InputError(
            f"{where}: expected as many colours as points, found {len(colours)} and {len(places)}"
        )
    if colours.min() < 0 or colours.max() > 1:
        raise InputError(
            f"{where}: expected rgb in 0..{largest_rgb:g}, found up to "
            f"{colours.max() * largest_rgb:g} and down to {colours.min() * largest_rgb:g}"
        )
    return np.concatenate([places, colours], axis=1)


def drawn(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` of the points [N, C] by seed, with repetition if N is smaller (as OpenShape)."""
    if len(points) == count:
        return points
    rng = np.random.default_rng(seed)
    return points[rng.choice(len(points), count, replace=len(points) < count)]


def array_of(values: object, what: str, where: str) -> np.ndarray:
    """Convert to one array (`InputError`: rows of different lengths)."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{where}: expected {what} as one array: {error}") from error


def _numbers(values: object, what: str, where: str) -> np.ndarray:
    array = array_of(values, what, where)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: expected {what} as numbers [N, 3], found {array.dtype} {list(array.shape)}"
        )
    numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: {what} holds NaN or infinite numbers")
    return numbers

"""Lists the faces of a primitive: points, segments or triangles. Source: glTF 2.0, chapter 3.7.2.

Axes: F faces, K corners of a face.
"""

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.attributes import RESTART

POINTS, LINES, LOOP, LINE_STRIP, TRIANGLES, STRIP, FAN = range(7)
_LISTS = {POINTS: 1, LINES: 2, TRIANGLES: 3}


def list_faces(mode: int, corners: np.ndarray, vertices: int) -> np.ndarray:
    """List faces [F, K] of the vertex indices `corners`, K = 1, 2 or 3 by the mode.

    Raises:
        BadSampleError: an index is beyond the vertices.
    """
    if mode in _LISTS:
        width = _LISTS[mode]
        # Corners of an incomplete face are dropped.
        faces = corners[: len(corners) // width * width].reshape(-1, width)
    elif mode in (LINE_STRIP, LOOP):
        faces = _segments(corners, mode == LOOP)
    else:
        faces = _strip(corners) if mode == STRIP else _fan(corners)
    if len(faces) and int(faces.max()) >= vertices:
        raise BadSampleError(f"index out of range: vertex {faces.max()} of {vertices}")
    return faces


def _starts(corners: np.ndarray) -> np.ndarray:
    """Return for each corner where its strip or fan starts [n]."""
    after = np.where(corners == RESTART, np.arange(1, len(corners) + 1), 0)
    return np.maximum.accumulate(after)


def _segments(corners: np.ndarray, is_loop: bool) -> np.ndarray:
    steps = np.stack([corners[:-1], corners[1:]], axis=1)
    steps = steps[(steps != RESTART).all(axis=1)]
    if not is_loop or not len(corners):
        return steps
    # The last corner of each loop is joined with its first.
    is_last = np.append(corners[1:] == RESTART, True) & (corners != RESTART)
    ends = np.flatnonzero(is_last)
    first = corners[_starts(corners)[ends]]
    return np.concatenate([steps, np.stack([corners[ends], first], axis=1)])


def _strip(corners: np.ndarray) -> np.ndarray:
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    # Every other triangle of a strip runs backwards.
    turned = (np.arange(len(faces)) - _starts(corners)[: len(faces)]) % 2 == 1
    faces[turned] = faces[turned][:, [0, 2, 1]]
    return faces[(faces != RESTART).all(axis=1)]


def _fan(corners: np.ndarray) -> np.ndarray:
    starts = _starts(corners)[: max(0, len(corners) - 2)]
    faces = np.stack([corners[starts], corners[1:-1], corners[2:]], axis=1)
    # The first corner of a fan is its centre: what starts there is its first triangle.
    inside = starts <= np.arange(len(faces))
    return faces[inside & (faces != RESTART).all(axis=1)]

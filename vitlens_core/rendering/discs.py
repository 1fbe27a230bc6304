"""Objects without a surface, made ready to be drawn: every point becomes a disc.

Lines become rows of points first.
"""

from dataclasses import replace

import numpy as np

from vitlens_core.rendering.mesh import STAGE_SIDE_M, Mesh, Part
from vitlens_core.rendering.surface import blend

_THINNEST_M, _THICKEST_M = 0.004, 0.03
_MOST_PER_OBJECT = 200_000  # of the points that lines become


def as_points(mesh: Mesh) -> Mesh:
    """Return a staged mesh of points: the same one, or points along the lines of another."""
    if mesh.corners == 1:
        return mesh
    lengths_m = [_lengths(part) for part in mesh.parts]
    total_m = sum(float(lengths.sum()) for lengths in lengths_m)
    spacing_m = max(_THINNEST_M / 2, total_m / _MOST_PER_OBJECT)
    pairs = zip(mesh.parts, lengths_m, strict=True)
    return Mesh(tuple(_dotted(part, lengths, spacing_m) for part, lengths in pairs))


def disc_diameter_m(mesh: Mesh, is_line: bool) -> float:
    """Return a diameter at which points of a closed surface as large as the stage's nearly meet."""
    if is_line:
        return _THINNEST_M
    count = sum(len(part.faces) for part in mesh.parts)
    spacing_m = np.sqrt(2 * STAGE_SIDE_M**2 / count)
    return float(np.clip(1.5 * spacing_m, _THINNEST_M, _THICKEST_M))


def _lengths(part: Part) -> np.ndarray:
    ends = part.positions[part.faces]
    return np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)


def _dotted(part: Part, lengths_m: np.ndarray, spacing_m: float) -> Part:
    """Put points along every line, both ends included."""
    counts = np.ceil(lengths_m / spacing_m).astype(np.int64) + 1
    lines = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    along = (np.arange(len(lines)) - first[lines]) / np.maximum(counts[lines] - 1, 1)
    weights = np.stack([1 - along, along], axis=1).astype(np.float32)
    corners = part.faces[lines]
    return replace(
        part,
        positions=blend(part.positions, corners, weights),
        normals=blend(part.normals, corners, weights),
        uv=np.stack([blend(uv, corners, weights) for uv in part.uv]),
        colours=blend(part.colours, corners, weights),
        faces=np.arange(len(lines), dtype=np.uint32)[:, None],
    )

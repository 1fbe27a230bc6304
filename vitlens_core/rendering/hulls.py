"""Finds outline hulls: shells round an object whose fronts point inward, as toon shaders use them.

Back faces are culled, so that such a shell shows as a thin rim only; sampled like other surfaces
it would hide half of the object's points.
"""

import numpy as np

from vitlens_core.rendering.mesh import Mesh, Part

_RAYS = 64
_REACH = 0.05  # of the object's longest side: a hull lies closer to what it outlines


def outline_hulls(mesh: Mesh) -> set[int]:
    """Return the numbers of the parts that are outline hulls.

    Such a part is single-sided and turned inside out; along most of its front normals another
    surface follows at once, and along its back normals nothing does.
    """
    inward = {n for n, part in enumerate(mesh.parts) if _is_inside_out(part)}
    others = [part for n, part in enumerate(mesh.parts) if n not in inward]
    if not inward or not others:
        return set()
    triangles = np.concatenate([part.positions[part.faces] for part in others])
    low, high = mesh.bounds()
    reach = _REACH * float((high - low).max())
    return {n for n in inward if _covers(mesh.parts[n], triangles, reach)}


def _is_inside_out(part: Part) -> bool:
    """Tell whether the fronts of a single-sided part point to its middle, weighed by area."""
    if part.material.double_sided or part.faces.shape[1] != 3:
        return False
    corners = part.positions[part.faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1, keepdims=True)
    middles = corners.mean(axis=1)
    if not areas.sum() > 0:
        return False
    centre = (areas * middles).sum(axis=0) / areas.sum()
    return float(((middles - centre) * normals).sum()) < 0


def _covers(part: Part, triangles: np.ndarray, reach: float) -> bool:
    """Tell whether most places of a part face a surface within `reach`, with nothing behind."""
    corners = part.positions[part.faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    # Faces at equal steps of area: no chance, so that equal objects give equal points.
    steps = (np.arange(_RAYS) + 0.5) / _RAYS * areas.sum()
    chosen = np.searchsorted(np.cumsum(areas), steps)
    origins = corners[chosen].mean(axis=1)
    forward = normals[chosen] / areas[chosen, None] * reach
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    outlined = sum(
        _is_hit(origin, ray, triangles, low, high)
        and not _is_hit(origin, -ray, triangles, low, high)
        for origin, ray in zip(origins, forward, strict=True)
    )
    return outlined > _RAYS / 2


def _is_hit(
    origin: np.ndarray,
    ray: np.ndarray,
    triangles: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> bool:
    """Tell whether the segment from `origin` along `ray` meets a triangle [F, 3, 3]."""
    end = origin + ray
    near = (low <= np.maximum(origin, end)).all(axis=1) & (high >= np.minimum(origin, end)).all(1)
    first, second, third = triangles[near].transpose(1, 0, 2)
    # Möller and Trumbore's test: barycentric coordinates by Cramer's rule.
    one, two, offset = second - first, third - first, origin - first
    across = np.cross(ray, two)
    volume = (one * across).sum(axis=1)
    turned = np.cross(offset, one)
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel ones give NaN: no hit
        u = (offset * across).sum(axis=1) / volume
        v = (turned * ray).sum(axis=1) / volume
        t = (turned * two).sum(axis=1) / volume
        return bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t <= 1)).any())

"""Samples coloured points on an object's surface, and puts them in farthest-point order.

Equal mesh, count and seed give equal points. The first k of the ordered points are the
farthest-point sample of size k, so that no later step has to compute one.
"""

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.colour import linear_to_srgb
from vitlens_core.rendering.hulls import outline_hulls
from vitlens_core.rendering.mesh import Mesh, Part
from vitlens_core.rendering.surface import blend, surface_alpha, surface_colour

# An object of which less is visible is refused, once so many draws have shown it.
_LEAST_VISIBLE = 0.001
_DRAWS_TO_KNOW = 50_000
_LARGEST_BATCH = 200_000
_FPS_TREE_HEIGHT = 6  # fastest of 3..9 for 10,000 points


def sample_surface(mesh: Mesh, count: int, seed: int) -> np.ndarray:
    """Draw points on the surface in proportion to its area, [N, 6] float32: xyz, then sRGB 0..1.

    N is `count`. Points where the material hides the surface (alpha under its cut-off) are drawn
    again; outline hulls get none. An object of lines is sampled along them. One of points gives
    its own, at most `count` of them.

    Raises:
        BadSampleError: the surface has no area, or nearly nothing of it is visible.
    """
    rng = np.random.default_rng(seed)
    if mesh.corners == 1:
        return _pick_points(mesh, count, rng)
    hulls = outline_hulls(mesh)
    sizes = [_sizes(part) * (n not in hulls) for n, part in enumerate(mesh.parts)]
    edges = np.cumsum(np.concatenate(sizes))
    if not 0 < edges[-1] < np.inf:
        raise BadSampleError("degenerate geometry: the surface has no area")
    drawn: list[np.ndarray] = []
    found, tried, batch = 0, 0, count
    while found < count:
        points = _draw(mesh, edges, batch, rng)[: count - found]
        drawn.append(points)
        found, tried = found + len(points), tried + batch
        if tried >= _DRAWS_TO_KNOW and found < tried * _LEAST_VISIBLE / 2:
            raise BadSampleError(
                f"the material hides (nearly) the whole surface: {found} of {tried} points on it "
                "are visible; check its alpha mode and the alpha of its texture"
            )
        batch = _next_batch(count - found, found, tried)
    return np.concatenate(drawn)


def _next_batch(missing: int, found: int, tried: int) -> int:
    """Return how many draws will probably give the missing points."""
    share = max(found / tried, _LEAST_VISIBLE)
    return missing if share > 0.5 else min(int(missing / share) + 1, _LARGEST_BATCH)


def farthest_point_order(points: np.ndarray, count: int) -> np.ndarray:
    """Order points xyz [N, 3+]: indices [count] int64, each the farthest from those before it.

    Points that coincide with one before them come last, in their given order.
    """
    import fpsample  # imported here: it belongs to the extras render and files

    xyz = np.ascontiguousarray(points[:, :3], dtype=np.float32)
    # A tree of this height has 2^height leaves, and each needs a point.
    height = min(_FPS_TREE_HEIGHT, len(xyz).bit_length() - 1)
    if height < 1:
        return np.arange(count)
    order = fpsample.bucket_fps_kdline_sampling(xyz, count, h=height, start_idx=0).astype(np.int64)
    # With coinciding points fpsample returns an index several times.
    _, first = np.unique(order, return_index=True)
    if len(first) == count:
        return order
    distinct = order[np.sort(first)]
    rest = np.setdiff1d(np.arange(len(points)), distinct)
    return np.concatenate([distinct, rest])[:count]


def _pick_points(mesh: Mesh, count: int, rng: np.random.Generator) -> np.ndarray:
    """Take `count` of the visible points without repeating one, or all of fewer."""
    ends = np.cumsum([len(part.faces) for part in mesh.parts])
    chosen = np.arange(ends[-1])
    points = _points_at(mesh, ends, chosen, np.ones((len(chosen), 1), np.float32))
    if not len(points):
        raise BadSampleError("the material hides all points; check its alpha mode")
    return rng.permutation(points)[:count]


def _sizes(part: Part) -> np.ndarray:
    """Compute areas of triangles or lengths of lines [F], up to one factor."""
    corners = part.positions[part.faces]
    if part.faces.shape[1] == 2:
        return np.linalg.norm((corners[:, 1] - corners[:, 0]).astype(np.float64), axis=1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # float64: the cumulative sum over millions of small triangles needs its digits.
    return np.linalg.norm(normal.astype(np.float64), axis=1) / 2


def _draw(mesh: Mesh, edges: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` points and return those that are visible, [n, 6]."""
    faces = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    # A draw that rounds up to the last edge would give an index beyond the last face.
    faces = np.minimum(faces, len(edges) - 1)
    ends = np.cumsum([len(part.faces) for part in mesh.parts])
    return _points_at(mesh, ends, faces, _weights(mesh.corners, count, rng))


def _weights(corners: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw places in faces, uniform over each: weights of the corners [count, K] float32."""
    if corners == 2:
        along = rng.random(count)
        return np.stack([1 - along, along], axis=1).astype(np.float32)
    # The square root makes the points uniform in the triangle; without it they crowd at a corner.
    root, second = np.sqrt(rng.random(count)), rng.random(count)
    return np.stack([1 - root, root * (1 - second), root * second], axis=1).astype(np.float32)


def _points_at(mesh: Mesh, ends: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the visible ones of the points at `weights` [n, K] of `faces` [n]: [≤ n, 6].

    `ends`: where each part's faces end in the numbering of `faces`.
    """
    owners = np.searchsorted(ends, faces, side="right")
    points = np.empty((len(faces), 6), np.float32)
    visible = np.zeros(len(faces), bool)
    for number, part in enumerate(mesh.parts):
        mine = np.flatnonzero(owners == number)
        corners = part.faces[faces[mine] - (ends[number] - len(part.faces))]
        if part.material.visible_from > 0:
            is_seen = surface_alpha(part, corners, weights[mine]) >= part.material.visible_from
            mine, corners = mine[is_seen], corners[is_seen]
        points[mine, :3] = blend(part.positions, corners, weights[mine])
        rgb = surface_colour(part, corners, weights[mine])[:, :3]
        points[mine, 3:] = linear_to_srgb(np.clip(rgb, 0, 1))
        visible[mine] = True
    return points[visible]

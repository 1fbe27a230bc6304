"""Samples coloured points on an object's surface, and puts them in farthest-point order.

Equal mesh, count and seed give equal points. The first k of the ordered points are the
farthest-point sample of size k, so that no later step has to compute one.
"""

import numpy as np

from vitlens_core.errors import BadSampleError
from vitlens_core.rendering.colour import linear_to_srgb, srgb_to_linear
from vitlens_core.rendering.mesh import Material, Mesh, Part, Texture

# Rounds of drawing: each draws again as many points as the material hid in the one before.
_ROUNDS = 16
_FPS_TREE_HEIGHT = 6  # fastest of 3..9 for 10,000 points
# A table of the 256 values is faster than a power for every texel.
_TEXEL_TO_LINEAR = srgb_to_linear(np.arange(256) / 255).astype(np.float32)


def sample_surface(mesh: Mesh, count: int, seed: int) -> np.ndarray:
    """Draw points on the surface in proportion to its area, [N, 6] float32: xyz, then sRGB 0..1.

    Points where the material hides the surface (alpha under its cut-off) are drawn again.

    Raises:
        BadSampleError: the surface has no area, or too much of it is transparent.
    """
    rng = np.random.default_rng(seed)
    areas = [_areas(part) for part in mesh.parts]
    edges = np.cumsum(np.concatenate(areas))
    if not 0 < edges[-1] < np.inf:
        raise BadSampleError("degenerate geometry: the surface has no area")
    ends = np.cumsum([len(part.faces) for part in mesh.parts])
    drawn: list[np.ndarray] = []
    missing = count
    for _ in range(_ROUNDS):
        points = _draw(mesh, edges, ends, missing, rng)
        drawn.append(points)
        missing -= len(points)
        if not missing:
            return np.concatenate(drawn)
    raise BadSampleError("the material hides (nearly) the whole surface")


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


def _areas(part: Part) -> np.ndarray:
    corners = part.positions[part.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # float64: the cumulative sum over millions of small triangles needs its digits.
    return np.linalg.norm(normal.astype(np.float64), axis=1) / 2


def _draw(
    mesh: Mesh, edges: np.ndarray, ends: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw `count` points and return those that are visible, [n, 6]."""
    faces = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    # A draw that rounds up to the last edge would give an index beyond the last face.
    faces = np.minimum(faces, len(edges) - 1)
    # The square root makes the points uniform in the triangle; without it they crowd at a corner.
    root, second = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - second), root * second], axis=1).astype(np.float32)
    owners = np.searchsorted(ends, faces, side="right")
    points = np.empty((count, 6), np.float32)
    visible = np.empty(count, bool)
    for number, part in enumerate(mesh.parts):
        mine = np.flatnonzero(owners == number)
        start = ends[number] - len(part.faces)
        corners = part.faces[faces[mine] - start]
        rgba = _base_colour(part, corners, weights[mine])
        points[mine, :3] = _blend(part.positions, corners, weights[mine])
        points[mine, 3:] = linear_to_srgb(np.clip(rgba[:, :3], 0, 1))
        visible[mine] = rgba[:, 3] >= part.material.visible_from
    return points[visible]


def _blend(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Interpolate per-vertex values [P, C] at corners [n, 3] by barycentric weights: [n, C]."""
    return np.einsum("nk,nkc->nc", weights, values[corners])


def _base_colour(part: Part, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute linear RGBA [n, 4] as the renderers do: texture × factor × vertex colour."""
    material: Material = part.material
    rgba = _blend(part.colours, corners, weights) * np.array(material.factor, np.float32)
    if material.texture is not None:
        rgba = rgba * sample_texture(material.texture, _blend(part.uv, corners, weights))
    return rgba


def sample_texture(texture: Texture, uv: np.ndarray) -> np.ndarray:
    """Sample a texture bilinearly at uv [n, 2]: linear RGBA [n, 4] float32."""
    height, width = texture.texels.shape[:2]
    # Texel centres lie at half numbers. float64: uv of repeated textures can be large.
    x, y = uv[:, 0].astype(np.float64) * width - 0.5, uv[:, 1].astype(np.float64) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    columns = [_wrapped(left + k, width, texture.repeat[0]) for k in (0, 1)]
    rows = [_wrapped(top + k, height, texture.repeat[1]) for k in (0, 1)]
    across, along = (x - left).astype(np.float32), (y - top).astype(np.float32)
    result = np.zeros((len(uv), 4), np.float32)
    for row, row_weight in zip(rows, (1 - along, along), strict=True):
        for column, column_weight in zip(columns, (1 - across, across), strict=True):
            texel = texture.texels[row, column]
            linear = _TEXEL_TO_LINEAR[texel]
            linear[:, 3] = texel[:, 3] / np.float32(255)
            result += (row_weight * column_weight)[:, None] * linear
    return result


def _wrapped(index: np.ndarray, size: int, repeat: bool) -> np.ndarray:
    """Bring texel indices into 0..size−1, by repeating or by clamping."""
    inside = np.mod(index, size) if repeat else np.clip(index, 0, size - 1)
    return inside.astype(np.int64)

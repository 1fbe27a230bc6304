"""Surface samples: where they lie, how many fall where, their colour and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vitlens_core.rendering.glb_builder import Glb, cube, quad, solid, triangle
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import farthest_point_order, load_glb, sample_surface


def _half_hidden(alpha_mode: str, hidden_alpha: int) -> Glb:
    """A square whose left half has `hidden_alpha`, its right half 255."""
    image = solid(255, 255, 255, side_px=64)
    image[:, :32, 3] = hidden_alpha
    clamp = {"wrapS": 33071, "wrapT": 33071}
    return quad({"alphaMode": alpha_mode, "alphaCutoff": 0.5}, image, clamp)


def test_points_lie_on_the_surface() -> None:
    points = sample_surface(load_glb(cube().pack()), 2000, seed=3)
    np.testing.assert_allclose(np.abs(points[:, :3]).max(axis=1), 1, atol=1e-6)


def test_points_fall_in_proportion_to_area_across_parts() -> None:
    glb = triangle()
    material = glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [1, 0, 0, 1]})
    glb.show(glb.add_mesh(material=material), scale=[3, 1, 1], translation=[0, 0, 9])
    points = sample_surface(load_glb(glb.pack()), 20_000, seed=0)
    larger = points[:, 2] > 5
    assert larger.mean() == pytest.approx(0.75, abs=0.015)  # five standard errors
    np.testing.assert_allclose(points[larger, 3:] - [1, 0, 0], 0, atol=1e-6)


def test_points_are_uniform_inside_a_triangle() -> None:
    x, y = sample_surface(load_glb(triangle().pack()), 20_000, seed=0)[:, :2].T
    assert x.mean() == pytest.approx(1 / 3, abs=0.01)
    assert (x + y < 0.5).mean() == pytest.approx(0.25, abs=0.02)


def test_the_seed_decides() -> None:
    mesh = load_glb(cube(solid(9, 99, 199)).pack())
    first, again, other = (sample_surface(mesh, 500, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_masked_places_are_not_sampled() -> None:
    points = sample_surface(load_glb(_half_hidden("MASK", 100).pack()), 3000, seed=0)
    assert len(points) == 3000
    assert points[:, 0].min() > -0.04  # a texel is 1/32 wide; bilinear alpha crosses within it


def test_opaque_materials_ignore_alpha() -> None:
    points = sample_surface(load_glb(_half_hidden("OPAQUE", 0).pack()), 3000, seed=0)
    assert (points[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.05)


def test_faint_glass_is_sampled_but_nothing_is_not() -> None:
    faint = sample_surface(load_glb(_half_hidden("BLEND", 40).pack()), 3000, seed=0)
    clear = sample_surface(load_glb(_half_hidden("BLEND", 0).pack()), 3000, seed=0)
    assert (faint[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert clear[:, 0].min() > -0.04


def test_a_wholly_hidden_object_is_refused() -> None:
    mesh = load_glb(quad({"alphaMode": "MASK"}, solid(255, 255, 255, alpha=10)).pack())
    with pytest.raises(BadSampleError, match="hides"):
        sample_surface(mesh, 100, seed=0)


def test_a_surface_without_area_is_refused() -> None:
    glb = Glb()
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32)
    with pytest.raises(BadSampleError, match="no area"):
        sample_surface(load_glb(glb.show(glb.add_mesh(line)).pack()), 100, seed=0)


def _gaps(points: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest point before it."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    distance[np.triu_indices(len(points))] = np.inf
    return distance.min(axis=1)[1:]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 400))
def test_each_point_is_the_farthest_from_those_before(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).random((count, 3)).astype(np.float32)
    order = farthest_point_order(points, count)
    assert sorted(order) == list(range(count))
    ordered = points[order]
    distance = np.linalg.norm(ordered[:, None] - ordered[None], axis=-1)
    for k in range(1, min(count, 60)):
        to_taken = distance[k:, :k].min(axis=1)
        assert to_taken[0] >= to_taken.max() - 1e-6


def test_prefixes_cover_better_than_random_ones() -> None:
    points = sample_surface(load_glb(cube().pack()), 2000, seed=0)[:, :3]
    ordered = points[farthest_point_order(points, len(points))]
    for k in (32, 128, 512):
        assert _gaps(ordered[:k]).min() > 3 * _gaps(points[:k]).min()


def test_repeated_points_still_give_a_permutation() -> None:
    points = np.repeat(np.random.default_rng(0).random((50, 3)), 4, axis=0)
    order = farthest_point_order(points, 200)
    assert sorted(order) == list(range(200))
    assert len(np.unique(points[order[:50]], axis=0)) == 50

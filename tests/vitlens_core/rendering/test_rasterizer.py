"""Pictures and depth against geometry and colour that are known in advance."""

from collections.abc import Iterator

import moderngl
import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    Glb,
    cube,
    floats,
    quad,
    solid,
    triangle,
)
from tests.vitlens_core.rendering.orbits import orbit, unproject
from vitlens_core.errors import ConfigError
from vitlens_core.rendering import (
    Cameras,
    Mesh,
    Views,
    load_glb,
    normalise,
    sample_surface,
)
from vitlens_core.rendering.rasterizer import Rasterizer

SIZE_PX = 64
FRONT = orbit(polar_deg=(90.0,), azimuths=1, size_px=SIZE_PX)
AROUND = orbit(size_px=SIZE_PX)
MIDDLE = SIZE_PX // 2
UNLIT = {"KHR_materials_unlit": {}}


@pytest.fixture(scope="module")
def rasterizer() -> Iterator[Rasterizer]:
    renderer = Rasterizer(SIZE_PX)
    yield renderer
    renderer.close()


def _staged(glb: Glb) -> Mesh:
    return normalise(load_glb(glb.pack()))[0]


def _render(rasterizer: Rasterizer, glb: Glb, cameras: Cameras = FRONT) -> Views:
    return rasterizer.render(_staged(glb), cameras)


def test_depth_is_planar_and_metric(rasterizer: Rasterizer) -> None:
    """A square facing the camera has one depth, also away from the optical axis."""
    depth_m = _render(rasterizer, quad()).depth_m[0]
    np.testing.assert_allclose(depth_m[depth_m > 0], 1.5, rtol=1e-5)
    expected_px = (0.8 * FRONT.intrinsics[0, 0] / 1.5) ** 2
    assert (depth_m > 0).sum() == pytest.approx(expected_px, rel=0.05)
    assert depth_m[0, 0] == 0


def test_unprojected_depth_lies_on_the_surface(rasterizer: Rasterizer) -> None:
    mesh = _staged(cube())
    points = unproject(AROUND, rasterizer.render(mesh, AROUND).depth_m)
    for view in points:
        seen = view[np.isfinite(view).all(axis=-1)]
        assert len(seen) > 300
        np.testing.assert_allclose(np.abs(seen).max(axis=1), 0.4, atol=1e-4)


def test_all_of_the_surface_is_seen_from_around(rasterizer: Rasterizer) -> None:
    """Every sampled point of a convex object is close to an unprojected pixel."""
    mesh = _staged(cube())
    seen = unproject(AROUND, rasterizer.render(mesh, AROUND).depth_m).reshape(-1, 3)
    seen = seen[np.isfinite(seen).all(axis=1)]
    points = sample_surface(mesh, 200, seed=0)[:, :3]
    nearest_m = np.linalg.norm(points[:, None] - seen[None], axis=-1).min(axis=1)
    assert nearest_m.max() < 0.05


def test_depth_has_no_values_between_surfaces(rasterizer: Rasterizer) -> None:
    """Averaging across an edge would invent depths between the two squares."""
    glb = quad()
    glb.show(0, translation=[0, 0, -2], scale=[2, 2, 2])
    mesh = _staged(glb)
    low, high = mesh.bounds()
    depth_m = rasterizer.render(mesh, FRONT).depth_m[0]
    distance = np.abs(depth_m[depth_m > 0, None] - (1.5 - np.array([low[2], high[2]])))
    assert distance.min(axis=1).max() < 1e-4


def test_the_top_of_the_object_is_the_top_of_the_picture(rasterizer: Rasterizer) -> None:
    image = solid(0, 0, 255, side_px=16)
    image[:8] = [255, 0, 0, 255]
    rgba = _render(rasterizer, quad({"extensions": UNLIT}, image)).rgba[0]
    np.testing.assert_array_equal(rgba[MIDDLE - 10, MIDDLE], [255, 0, 0, 255])
    np.testing.assert_array_equal(rgba[MIDDLE + 10, MIDDLE], [0, 0, 255, 255])


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (128, 64, 200), (10, 250, 3)])
def test_unlit_colours_are_exact(rasterizer: Rasterizer, colour: tuple[int, int, int]) -> None:
    rgba = _render(rasterizer, quad({"extensions": UNLIT}, solid(*colour))).rgba[0]
    np.testing.assert_allclose(rgba[MIDDLE, MIDDLE, :3], colour, atol=1)


def test_a_white_object_is_bright_but_keeps_its_shading(rasterizer: Rasterizer) -> None:
    views = _render(rasterizer, cube(), AROUND)
    for rgba in views.rgba:
        shown = rgba[rgba[..., 3] == 255][:, :3]
        assert 180 < np.median(shown) < 255
    tops = views.rgba[:4]
    assert len(np.unique(tops[tops[..., 3] == 255][:, 0])) >= 3


def test_points_and_pictures_agree_on_colour(rasterizer: Rasterizer) -> None:
    """Each point seen by the first view has the colour of the pixel that it falls on."""
    image = np.zeros((8, 8, 4), np.uint8)
    image[..., 0] = 100 + np.arange(8) * 20
    image[..., 1] = 100 + np.arange(8)[:, None] * 20
    image[..., 3] = 255
    clamp = {"wrapS": 33071, "wrapT": 33071}
    mesh = _staged(quad({"extensions": UNLIT}, image, clamp))
    rgba = rasterizer.render(mesh, FRONT).rgba[0]
    points = sample_surface(mesh, 500, seed=0)
    points = points[np.abs(points[:, :2]).max(axis=1) < 0.37]  # off the silhouette
    seen = points[:, :3] @ FRONT.world_to_cam[0, :3, :3].T + FRONT.world_to_cam[0, :3, 3]
    x, y = (seen @ FRONT.intrinsics.T / seen[:, 2:])[:, :2].T.astype(int)
    difference = np.abs(rgba[y, x, :3] / 255 - points[:, 3:])
    assert difference.max() < 0.02  # a pixel spans a quarter of a texel: 20 / 255 / 4


def test_edges_are_smooth_and_alpha_is_straight(rasterizer: Rasterizer) -> None:
    rgba = _render(rasterizer, triangle()).rgba[0]
    partial = rgba[(rgba[..., 3] > 0) & (rgba[..., 3] < 255)]
    inside = rgba[rgba[..., 3] == 255]
    assert len(partial) > 10
    np.testing.assert_allclose(partial[:, :3].mean(axis=0), inside[:, :3].mean(axis=0), atol=2)
    assert not rgba[rgba[..., 3] == 0].any()


def test_the_back_of_a_double_sided_surface_is_lit_like_its_front(rasterizer: Rasterizer) -> None:
    front_and_back = orbit(polar_deg=(90.0,), azimuths=2, size_px=SIZE_PX)
    normal = np.tile(floats([0, 0, 1]), (4, 1))
    glb = Glb()
    material = glb.add("materials", doubleSided=True)
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, material, NORMAL=normal))
    front, back = _render(rasterizer, glb, front_and_back).rgba[:, MIDDLE, MIDDLE]
    np.testing.assert_allclose(front.astype(int), back, atol=1)


def test_missing_normals_are_taken_from_the_faces(rasterizer: Rasterizer) -> None:
    with_normals, without = Glb(), Glb()
    normal = np.tile(floats([0, 0, 1]), (4, 1))
    with_normals.show(with_normals.add_mesh(QUAD, QUAD_FACES, NORMAL=normal))
    without.show(without.add_mesh(QUAD, QUAD_FACES))
    first, second = (_render(rasterizer, glb, AROUND).rgba for glb in (with_normals, without))
    np.testing.assert_allclose(first.astype(int), second, atol=2)


def _half_clear(alpha_mode: str) -> Glb:
    image = solid(0, 255, 0, side_px=16)
    image[:, :8, 3] = 102
    return quad({"alphaMode": alpha_mode, "alphaCutoff": 0.5, "extensions": UNLIT}, image)


def test_masked_places_are_neither_seen_nor_measured(rasterizer: Rasterizer) -> None:
    views = _render(rasterizer, _half_clear("MASK"))
    left, right = (MIDDLE, MIDDLE - 10), (MIDDLE, MIDDLE + 10)
    assert views.rgba[0][left][3] == views.depth_m[0][left] == 0
    assert views.rgba[0][right][3] == 255
    assert views.depth_m[0][right] > 0


def test_opaque_materials_ignore_alpha(rasterizer: Rasterizer) -> None:
    views = _render(rasterizer, _half_clear("OPAQUE"))
    np.testing.assert_array_equal(views.rgba[0][MIDDLE, MIDDLE - 10], [0, 255, 0, 255])


def test_see_through_surfaces_blend_over_what_is_behind(rasterizer: Rasterizer) -> None:
    """40 % green over red in linear light, whichever is drawn first; alone it stays green."""
    glb = _half_clear("BLEND")
    alone = _render(rasterizer, glb).rgba[0][MIDDLE, MIDDLE - 10]
    np.testing.assert_allclose(alone, [0, 255, 0, 102], atol=1)
    red = {"baseColorFactor": [1, 0, 0, 1]}
    glb.add("materials", pbrMetallicRoughness=red, extensions=UNLIT)
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, material=1), translation=[0, 0, -0.1])
    over = _render(rasterizer, glb).rgba[0][MIDDLE, MIDDLE - 10]
    expected = 255 * (1.055 * np.array([0.6, 0.4]) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(over, [*expected, 0, 255], atol=2)


def test_stacked_glass_blends_from_far_to_near(rasterizer: Rasterizer) -> None:
    """Blue glass before red glass looks bluer than red from the front, redder from behind."""
    glb = Glb()
    colours = floats([[1, 0, 0, 0.5]] * 4 + [[0, 0, 1, 0.5]] * 4)
    gap = floats([0, 0, 0.2])
    stacked = np.vstack([QUAD - gap, QUAD + gap])
    faces = np.concatenate([QUAD_FACES, QUAD_FACES + 4]).astype(np.uint16)
    material = glb.add("materials", alphaMode="BLEND", doubleSided=True, extensions=UNLIT)
    glb.show(glb.add_mesh(stacked, faces, material, COLOR_0=colours))
    both_sides = orbit(polar_deg=(90.0,), azimuths=2, size_px=SIZE_PX)
    front, back = _render(rasterizer, glb, both_sides).rgba[:, MIDDLE, MIDDLE].astype(int)
    assert front[2] > front[0]
    np.testing.assert_allclose(back[[0, 1, 2]], front[[2, 1, 0]], atol=1)


def test_objects_do_not_leak_into_each_other(rasterizer: Rasterizer) -> None:
    first = _render(rasterizer, cube(solid(200, 30, 30)), AROUND)
    _render(rasterizer, _half_clear("BLEND"), AROUND)
    again = _render(rasterizer, cube(solid(200, 30, 30)), AROUND)
    np.testing.assert_array_equal(first.rgba, again.rgba)
    np.testing.assert_array_equal(first.depth_m, again.depth_m)


def test_cameras_of_another_size_are_refused(rasterizer: Rasterizer) -> None:
    with pytest.raises(ConfigError, match="32 px for a renderer of 64 px"):
        rasterizer.render(_staged(triangle()), orbit(size_px=32))


def test_missing_gl_libraries_name_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_libraries(**_settings: object) -> None:
        raise Exception("(detect) libEGL.so not found")

    monkeypatch.setattr(moderngl, "create_context", without_libraries)
    with pytest.raises(ConfigError, match="libegl1 libgl1 libgl1-mesa-dri"):
        Rasterizer(SIZE_PX)

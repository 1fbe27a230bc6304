"""Geometry far away, tiny, huge, mirrored, flat; surfaces seen from one side or nearly not at all;
objects without a surface."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    QUAD_UV,
    TRIANGLE,
    Glb,
    cube,
    cube_arrays,
    floats,
    quad,
    solid,
    sphere_arrays,
    toon,
    triangle,
)
from tests.vitlens_core.rendering.orbits import orbit
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import Mesh, RenderSettings, load_glb, normalise, sample_surface
from vitlens_core.rendering.hulls import outline_hulls
from vitlens_core.rendering.rasterizer import Rasterizer
from vitlens_core.rendering.renderer import ObjectRenderer

SIZE_PX = 64
AROUND = orbit(size_px=SIZE_PX)
FRONT_AND_BACK = orbit(polar_deg=(90.0,), azimuths=2, size_px=SIZE_PX)
UNLIT = {"KHR_materials_unlit": {}}


@pytest.fixture(scope="module")
def rasterizer() -> Iterator[Rasterizer]:
    renderer = Rasterizer(SIZE_PX)
    yield renderer
    renderer.close()


def _staged(glb: Glb) -> Mesh:
    return normalise(load_glb(glb.pack()))[0]


def _points(glb: Glb, count: int = 500) -> np.ndarray:
    return sample_surface(_staged(glb), count, seed=0)


EXTREMES: dict[str, dict[str, Any]] = {
    "far": {"translation": [6.4e6, -4.8e6, 1e7]},
    "very-far": {"translation": [1e12, 1e12, 1e12], "scale": [1e3, 1e3, 1e3]},
    "tiny": {"scale": [1e-6, 1e-6, 1e-6]},
    "tiny-and-off": {"scale": [1e-6, 1e-6, 1e-6], "translation": [1, 2, 3]},
    "huge": {"scale": [1e30, 1e30, 1e30]},
    "beyond-float32": {"scale": [1e60, 1e60, 1e60]},
    "below-float32": {"scale": [1e-60, 1e-60, 1e-60]},
    "in-a-matrix": {"matrix": [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 1e7, 1e7, 1e7, 1]},
}


@pytest.mark.parametrize("node", EXTREMES.values(), ids=EXTREMES.keys())
def test_size_and_place_do_not_change_the_staged_object(node: dict[str, Any]) -> None:
    moved = cube(solid(200, 100, 50))
    moved.document["nodes"][0].update(node)
    expected = _points(cube(solid(200, 100, 50)))
    # A float64 at 1e12 has a step of 1e-4, of a cube of side 2,000.
    np.testing.assert_allclose(_points(moved), expected, atol=1e-6)


def test_what_is_far_away_as_float32_is_read_as_stored() -> None:
    glb = Glb()
    positions, indices = cube_arrays()
    glb.show(glb.add_mesh(positions * np.float32(1000) + np.float32(1e6), indices))
    assert np.abs(_points(glb)[:, :3]).max() == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("parent", [[1e308] * 3, [1e-308] * 3])
def test_sizes_that_no_number_holds_are_refused(parent: list[float]) -> None:
    glb = triangle()
    glb.document["nodes"] = [
        {"scale": parent, "children": [1]},
        {"mesh": 0, "scale": parent},
    ]
    with pytest.raises(BadSampleError, match=r"not finite|degenerate geometry"):
        _staged(glb)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_of_scale_zero_flattens(axis: int) -> None:
    scale = [1.0, 1.0, 1.0]
    scale[axis] = 0.0
    glb = cube()
    glb.document["nodes"][0]["scale"] = scale
    points = _points(glb)
    assert np.ptp(points[:, axis]) == 0
    assert np.ptp(np.delete(points[:, :3], axis, 1), axis=0) == pytest.approx([0.8, 0.8], abs=0.05)


MIRRORS = [[-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, -1], [-1, -1, 1]]


def _corner_colours(scale: list[float]) -> Glb:
    """A cube of eight colours, mirrored and mirrored back, so that it stays as it is."""
    positions, indices = cube_arrays()
    glb = Glb()
    material = glb.add("materials", extensions=UNLIT)
    colours = (positions + 1) / 2
    mesh = glb.add_mesh(positions * floats(scale), indices, material, COLOR_0=colours)
    # The arrays are mirrored without their winding; the node mirrors them back, and glTF turns
    # the front round: seen from outside, these are the fronts again only if that is heeded.
    glb.show(mesh, scale=scale)
    return glb


@pytest.mark.parametrize("scale", MIRRORS)
def test_a_mirrored_node_keeps_its_fronts(rasterizer: Rasterizer, scale: list[float]) -> None:
    glb = cube(solid(10, 200, 30))
    glb.document["nodes"][0]["scale"] = scale
    depth_m = rasterizer.render(_staged(glb), AROUND).depth_m
    # The cube is its own mirror image; were its backs shown, depth would be that of its far side.
    expected = rasterizer.render(_staged(cube(solid(10, 200, 30))), AROUND).depth_m
    np.testing.assert_allclose(depth_m, expected, atol=1e-5)


@pytest.mark.parametrize("scale", MIRRORS[:3])
def test_arrays_mirrored_against_their_winding_show_their_inside(
    rasterizer: Rasterizer, scale: list[float]
) -> None:
    """Twice mirrored: the corners are where they were, but the fronts point inward."""
    outside = rasterizer.render(_staged(_corner_colours([1, 1, 1])), AROUND).depth_m
    inside = rasterizer.render(_staged(_corner_colours(scale)), AROUND).depth_m
    np.testing.assert_array_equal(inside > 0, outside > 0)
    assert (inside - outside)[outside > 0].mean() > 0.1


def test_a_mirrored_skin_keeps_its_fronts(rasterizer: Rasterizer) -> None:
    positions, indices = cube_arrays()
    glb = Glb()
    mesh = glb.add_mesh(
        positions,
        indices,
        JOINTS_0=np.zeros((24, 4), np.uint8),
        WEIGHTS_0=np.tile(floats([1, 0, 0, 0]), (24, 1)),
    )
    glb.show(mesh, skin=glb.add("skins", joints=[1]))
    glb.document["nodes"].append({"scale": [-1, 1, 1]})
    glb.document["scenes"][0]["nodes"].append(1)
    depth_m = rasterizer.render(_staged(glb), AROUND).depth_m
    expected = rasterizer.render(_staged(cube()), AROUND).depth_m
    np.testing.assert_allclose(depth_m, expected, atol=1e-5)


@pytest.mark.parametrize("alpha_mode", ["OPAQUE", "MASK", "BLEND"])
@pytest.mark.parametrize("double_sided", [True, False])
def test_the_back_is_seen_of_double_sided_surfaces_only(
    rasterizer: Rasterizer, alpha_mode: str, double_sided: bool
) -> None:
    glb = quad({"alphaMode": alpha_mode, "doubleSided": double_sided}, solid(9, 99, 199))
    views = rasterizer.render(_staged(glb), FRONT_AND_BACK)
    for pictures in (views.depth_m, views.rgba[..., 3]):
        front, back = (picture.any() for picture in pictures)
        assert (front, back) == (True, double_sided)
    # Points are of both: they have no side.
    assert len(_points(glb, 100)) == 100


@pytest.mark.parametrize("mode", [4, 5, 6], ids=["triangles", "strip", "fan"])
def test_strips_and_fans_show_their_fronts(rasterizer: Rasterizer, mode: int) -> None:
    indices = {4: [0, 1, 2, 0, 2, 3], 5: [0, 1, 3, 2], 6: [0, 1, 2, 3]}[mode]
    glb = Glb()
    glb.show(glb.add_mesh(QUAD, np.array(indices, np.uint16), mode=mode))
    depth_m = rasterizer.render(_staged(glb), FRONT_AND_BACK).depth_m
    expected = rasterizer.render(_staged(quad()), FRONT_AND_BACK).depth_m
    np.testing.assert_array_equal(depth_m, expected)


@pytest.mark.parametrize("gap", [0.005, 0.03, 0.06])
def test_an_outline_hull_is_a_rim_in_pictures_and_nothing_in_points(
    rasterizer: Rasterizer, gap: float
) -> None:
    mesh = _staged(toon(gap))
    rgba = rasterizer.render(mesh, AROUND).rgba
    assert rgba[..., 0][rgba[..., 3] > 0].mean() > 80
    assert (sample_surface(mesh, 500, seed=0)[:, 3] > 0.9).all()


def test_a_double_sided_shell_is_no_hull(rasterizer: Rasterizer) -> None:
    mesh = _staged(toon(hull_material={"doubleSided": True}))
    assert rasterizer.render(mesh, AROUND).rgba[..., 0].max() == 0
    assert (sample_surface(mesh, 500, seed=0)[:, 3] < 0.1).any()


def _room(furniture: float) -> Glb:
    """A room seen through its culled walls, with a box of some size in it."""
    glb = Glb()
    inside = glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [0, 0, 1, 1]})
    positions, indices = cube_arrays()
    glb.show(glb.add_mesh(positions, indices.reshape(-1, 3)[:, ::-1].ravel().copy(), inside))
    if furniture:
        red = glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [1, 0, 0, 1]})
        glb.show(glb.add_mesh(positions * floats(furniture), indices, red))
    return glb


@pytest.mark.parametrize("furniture", [0.0, 0.3, 0.7])
def test_surfaces_turned_inside_out_have_points_unless_they_are_hulls(furniture: float) -> None:
    assert (_points(_room(furniture))[:, 5] > 0.9).mean() > 0.5


def test_a_lining_under_an_outer_shell_is_no_hull() -> None:
    """Three closed shells: content, an inward lining round it, and an outward shell round both."""
    glb = toon()
    shell = glb.add("materials", pbrMetallicRoughness={"baseColorFactor": [0, 1, 0, 1]})
    positions, indices = sphere_arrays(radius=1.06)
    glb.show(glb.add_mesh(positions, indices, shell))
    assert outline_hulls(_staged(glb)) == set()


def _leaves(share: float, mode: str = "MASK") -> Glb:
    """A square of which the texture leaves a share visible, at its left edge."""
    image = np.full((1, 1000, 4), 255, np.uint8)
    image[:, max(1, round(share * 1000)) :, 3] = 0
    sampler = {"magFilter": 9728, "wrapS": 33071, "wrapT": 33071}
    return quad({"alphaMode": mode}, image, sampler)


@pytest.mark.parametrize("mode", ["MASK", "BLEND"])
@pytest.mark.parametrize("share", [0.9, 0.44, 0.2, 0.03, 0.002])
def test_an_object_with_little_visible_area_gives_all_its_points(share: float, mode: str) -> None:
    points = sample_surface(load_glb(_leaves(share, mode).pack()), 1000, seed=0)
    assert points.shape == (1000, 6)
    assert points[:, 0].max() <= -1 + 2 * share + 1e-3


def _coloured_cloud(count: int = 300, **mesh: Any) -> Glb:
    rng = np.random.default_rng(0)
    glb = Glb()
    positions = rng.normal(size=(count, 3)).astype(np.float32)
    colours = rng.random((count, 3)).astype(np.float32)
    return glb.show(glb.add_mesh(positions, COLOR_0=colours, mode=0, **mesh))


def test_points_give_their_vertices_and_colours() -> None:
    glb = _coloured_cloud(300)
    mesh = load_glb(glb.pack())
    points = sample_surface(mesh, 300, seed=0)
    expected = mesh.parts[0].positions
    order, sorted_order = np.lexsort(points[:, :3].T), np.lexsort(expected.T)
    np.testing.assert_allclose(points[order, :3], expected[sorted_order], rtol=1e-6)
    linear = mesh.parts[0].colours[sorted_order, :3]
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(points[order, 3:], srgb, atol=1e-5)


@pytest.mark.parametrize(("asked", "given"), [(100, 100), (300, 300), (1000, 300)])
def test_no_point_of_a_cloud_is_given_twice(asked: int, given: int) -> None:
    points = _points(_coloured_cloud(300), asked)
    assert len(points) == given == len(np.unique(points, axis=0))


def test_indexed_points_are_those_of_the_indices() -> None:
    glb = _coloured_cloud(300, indices=np.arange(0, 300, 3, dtype=np.uint16))
    assert len(_points(glb, 1000)) == 100


@pytest.mark.parametrize(
    ("mode", "sides"), [(1, 2), (2, 4), (3, 3)], ids=["lines", "loop", "strip"]
)
def test_lines_are_sampled_along_their_length(mode: int, sides: int) -> None:
    """Sides of a square: one and the opposite one, all four, three."""
    glb = Glb()
    glb.show(glb.add_mesh(QUAD, mode=mode))
    points = sample_surface(load_glb(glb.pack()), 4000, seed=0)
    np.testing.assert_allclose(np.abs(points[:, :2]).max(axis=1), 1, atol=1e-6)
    assert (points[:, 1] < -0.999).mean() == pytest.approx(1 / sides, abs=0.04)


@pytest.mark.parametrize(
    ("modes", "kept"), [((0, 4), 4), ((4, 1), 4), ((1, 0), 0), ((1, 0, 4), 4), ((2, 3), 2)]
)
def test_surfaces_come_before_points_and_points_before_lines(
    modes: tuple[int, ...], kept: int
) -> None:
    glb = Glb()
    for place, mode in enumerate(modes):
        glb.show(glb.add_mesh(TRIANGLE, mode=mode), translation=[10 * place, 0, 0])
    mesh = load_glb(glb.pack())
    assert mesh.corners == {4: 3, 0: 1, 2: 2}[kept]
    if kept != 2:
        assert mesh.bounds()[0][0] == 10 * modes.index(kept)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_objects_without_a_surface_are_drawn(mode: int) -> None:
    glb = _coloured_cloud(400)
    glb.document["meshes"][0]["primitives"][0]["mode"] = mode
    with ObjectRenderer(RenderSettings(size_px=SIZE_PX, points=200)) as renderer:
        rendered = renderer.render(glb.pack(), seed=0)
    assert ((rendered.rgba[..., 3] > 0).mean(axis=(1, 2)) > 0.01).all()
    assert ((rendered.depth_m > 0).mean(axis=(1, 2)) > 0.01).all()
    seen = rendered.rgba[rendered.rgba[..., 3] == 255][:, :3]
    assert (np.ptp(seen.astype(int), axis=0) > 100).all()  # their own colours
    assert rendered.points.shape == (200, 6)


def test_points_of_one_colour_are_shown_in_it(rasterizer: Rasterizer) -> None:
    glb = _coloured_cloud(400)
    glb.document["meshes"][0]["primitives"][0]["attributes"].pop("COLOR_0")
    pbr = {"baseColorFactor": [1, 0, 0, 1]}
    glb.document["meshes"][0]["primitives"][0]["material"] = glb.add(
        "materials", pbrMetallicRoughness=pbr
    )
    rgba = rasterizer.render(_staged(glb), AROUND).rgba
    np.testing.assert_array_equal(np.unique(rgba[rgba[..., 3] == 255], axis=0), [[255, 0, 0, 255]])


def test_many_textures_and_uv_sets_survive_merging() -> None:
    """Two meshes of one material become one part, with every set of coordinates."""
    glb = Glb()
    info = {"index": glb.add_texture(solid(0, 0, 255)), "texCoord": 1}
    material = glb.add("materials", emissiveFactor=[1, 1, 1], emissiveTexture=info)
    for place in (0, 5):
        mesh = glb.add_mesh(QUAD, QUAD_FACES, material, TEXCOORD_0=QUAD_UV, TEXCOORD_1=QUAD_UV)
        glb.show(mesh, translation=[place, 0, 0])
    (part,) = load_glb(glb.pack()).parts
    assert part.uv.shape == (1, 8, 2)

"""One rule for the colour of a surface, in points and in pictures."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    QUAD_UV,
    Glb,
    floats,
    quad,
    solid,
)
from tests.vitlens_core.rendering.orbits import orbit
from vitlens_core.rendering import load_glb, normalise, sample_surface
from vitlens_core.rendering.colour import linear_to_srgb, srgb_to_linear
from vitlens_core.rendering.rasterizer import Rasterizer
from vitlens_core.rendering.surface import base_of_specular

GLOSSY = "KHR_materials_pbrSpecularGlossiness"
GOLD = [1.0, 0.766, 0.336]
FRONT = orbit(polar_deg=(90.0,), azimuths=1, size_px=32)
CLAMP = {"wrapS": 33071, "wrapT": 33071}


@pytest.fixture(scope="module")
def rasterizer() -> Iterator[Rasterizer]:
    renderer = Rasterizer(32)
    yield renderer
    renderer.close()


def _colour(glb: Glb) -> np.ndarray:
    """The linear colour of a surface of one colour."""
    points = sample_surface(load_glb(glb.pack()), 50, seed=0)[:, 3:]
    np.testing.assert_allclose(points, np.tile(points[:1], (50, 1)), atol=1e-5)
    return srgb_to_linear(points[0])


def _glossy(**values: Any) -> Glb:
    return quad({"extensions": {GLOSSY: values}})


@pytest.mark.parametrize(
    ("diffuse", "specular", "expected"),
    [
        ([0, 0, 0], GOLD, GOLD),  # a metal
        ([0.6, 0.2, 0.1], [0.04] * 3, [0.6, 0.2, 0.1]),  # a dielectric
        ([0.6, 0.2, 0.1], [0, 0, 0], [0.625, 0.2083, 0.1042]),  # below: nothing is reflected
        ([1, 1, 1], [0.04] * 3, [1, 1, 1]),
        ([0, 0, 0], [0, 0, 0], [0, 0, 0]),
        ([0, 0, 0], [1, 1, 1], [1, 1, 1]),
        ([0, 0, 0], [0.04] * 3, [0, 0, 0]),
    ],
)
def test_specular_glossiness_has_the_colour_of_its_conversion(
    diffuse: list[float], specular: list[float], expected: list[float]
) -> None:
    glb = _glossy(diffuseFactor=[*diffuse, 1], specularFactor=specular)
    np.testing.assert_allclose(_colour(glb), expected, atol=2e-3)


def test_specular_colour_comes_from_its_texture_times_its_factor() -> None:
    glb = Glb()
    texture = {"index": glb.add_texture(solid(255, 188, 0))}
    material = glb.add(
        "materials",
        extensions={
            GLOSSY: {
                "diffuseFactor": [0, 0, 0, 1],
                "specularFactor": [1, 0.5, 1],
                "specularGlossinessTexture": texture,
            }
        },
    )
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, material, TEXCOORD_0=QUAD_UV))
    np.testing.assert_allclose(_colour(glb), [1, 0.25, 0], atol=0.01)


@given(st.tuples(*[st.floats(0, 1)] * 6))
def test_the_conversion_stays_a_colour(values: tuple[float, ...]) -> None:
    diffuse, specular = np.array([values[:3]]), np.array([values[3:]])
    colour = base_of_specular(diffuse, specular)
    assert np.isfinite(colour).all()
    assert ((colour >= 0) & (colour <= 1)).all()


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        ({"emissiveFactor": [0.5, 0.2, 0]}, [1, 1, 1]),  # on white: as bright as can be
        ({"base": [0.2, 0.2, 0.2], "emissiveFactor": [0.5, 0.2, 0]}, [0.7, 0.4, 0.2]),
        ({"base": [0, 0, 0], "emissiveFactor": [0.5, 0.2, 0]}, [0.5, 0.2, 0]),
        ({"base": [0, 0, 0], "emissiveFactor": [0.1, 0.05, 0], "strength": 4}, [0.4, 0.2, 0]),
        ({"base": [0, 0, 0], "emissiveFactor": [1, 0.5, 0.1], "strength": 50}, [1, 0.5, 0.1]),
        ({"base": [0, 0, 0], "emissiveFactor": [1, 1, 1], "strength": 0}, [0, 0, 0]),
        ({"base": [0.3, 0.2, 0.1], "emissiveFactor": [1, 1, 1], "unlit": True}, [0.3, 0.2, 0.1]),
    ],
)
def test_emission_is_added_and_keeps_its_hue(material: dict, expected: list[float]) -> None:
    base = [*material.pop("base", [1, 1, 1]), 1]
    extensions: dict[str, Any] = {}
    if "strength" in material:
        strength = material.pop("strength")
        extensions["KHR_materials_emissive_strength"] = {"emissiveStrength": strength}
    if material.pop("unlit", False):
        extensions["KHR_materials_unlit"] = {}
    pbr = {"baseColorFactor": base}
    glb = quad({"pbrMetallicRoughness": pbr, "extensions": extensions, **material})
    if base == [1, 1, 1, 1]:  # 1.5, 1.2, 1 brought back to 1 at its brightest
        expected = [1, 0.8, 2 / 3]
    np.testing.assert_allclose(_colour(glb), expected, atol=1e-4)


def _layered(emission_uv: int = 0, base: tuple[int, int, int] = (0, 0, 0)) -> Glb:
    """A base texture of one colour, and an emissive one: left red, right blue."""
    glb = Glb()
    halves = solid(255, 0, 0, side_px=64)
    halves[:, 32:] = [0, 0, 255, 255]
    material = glb.add(
        "materials",
        pbrMetallicRoughness={"baseColorTexture": {"index": glb.add_texture(solid(*base))}},
        emissiveFactor=[1, 1, 1],
        emissiveTexture={"index": glb.add_texture(halves, CLAMP), "texCoord": emission_uv},
    )
    uv = {"TEXCOORD_0": QUAD_UV, "TEXCOORD_1": floats(QUAD_UV * [-1, 1] + [1, 0])}
    return glb.show(glb.add_mesh(QUAD, QUAD_FACES, material, others=uv))


@pytest.mark.parametrize(("emission_uv", "left"), [(0, [1, 0, 0]), (1, [0, 0, 1])])
def test_an_emissive_texture_shows_on_a_black_one_with_its_own_coordinates(
    rasterizer: Rasterizer, emission_uv: int, left: list[float]
) -> None:
    mesh = normalise(load_glb(_layered(emission_uv).pack()))[0]
    points = sample_surface(mesh, 500, seed=0)
    at_left = points[points[:, 0] < -0.05, 3:]
    np.testing.assert_allclose(at_left, np.tile(left, (len(at_left), 1)), atol=1e-5)
    shown = rasterizer.render(mesh, FRONT).rgba[0, 16, 10, :3]
    np.testing.assert_allclose(shown, np.array(left) * 255, atol=1)


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("says_so", [True, False])
def test_vertex_colours_of_every_type(dtype: str, top: int, channels: int, says_so: bool) -> None:
    """Integers stand for 0..1, also where a file does not say that they are normalised."""
    share = np.array([1, 0.502, 0, 1])[:channels]
    glb = Glb()
    colours = np.tile((share * top).astype(dtype), (4, 1))
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, COLOR_0=colours))
    glb.document["accessors"][1]["normalized"] = says_so and dtype != "float32"
    np.testing.assert_allclose(_colour(glb), share[:3], atol=0.005)


def test_vertex_alpha_hides_what_a_mask_cuts_off() -> None:
    glb = Glb()
    colours = floats([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
    material = glb.add("materials", alphaMode="MASK", alphaCutoff=0.5)
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, material, COLOR_0=colours))
    points = sample_surface(load_glb(glb.pack()), 500, seed=0)
    assert points[:, 0].min() >= -1e-6


@pytest.mark.parametrize("wrap", [10497, 33071, 33648], ids=["repeat", "clamp", "mirror"])
@pytest.mark.parametrize("name", ["base", "emission"])
def test_nearest_textures_have_no_mixed_colours(
    rasterizer: Rasterizer, wrap: int, name: str
) -> None:
    glb = Glb()
    blocks = np.array([[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [255, 255, 0]]], np.uint8)
    sampler = {"magFilter": 9728, "minFilter": 9728, "wrapS": wrap, "wrapT": wrap}
    info = {"index": glb.add_texture(blocks, sampler)}
    material = {"pbrMetallicRoughness": {"baseColorTexture": info}}
    if name == "emission":
        material = {
            "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]},
            "emissiveFactor": [1, 1, 1],
            "emissiveTexture": info,
        }
    else:
        material["extensions"] = {"KHR_materials_unlit": {}}
    index = glb.add("materials", **material)
    glb.show(glb.add_mesh(QUAD, QUAD_FACES, index, TEXCOORD_0=floats(QUAD_UV * 1.9 - 0.3)))
    mesh = normalise(load_glb(glb.pack()))[0]
    points = sample_surface(mesh, 1000, seed=0)[:, 3:]
    assert np.isin(points.round(4), [0, 1]).all()
    assert len(np.unique(points.round(), axis=0)) == 4
    rgba = rasterizer.render(mesh, FRONT).rgba[0]
    inside = rgba[rgba[..., 3] == 255][:, :3]
    # A pixel that spans an edge of blocks is the mean of its samples: at most two rows and columns.
    assert np.isin(inside, [0, 255]).all(axis=1).mean() > 0.6


def test_pictures_and_points_convert_specular_colours_alike(rasterizer: Rasterizer) -> None:
    """The shader states the rule again: with one light, pictures are a multiple of the points."""
    rng = np.random.default_rng(0)
    white = rasterizer.render(normalise(load_glb(quad().pack()))[0], FRONT).rgba[0, 16, 16, :3]
    light = srgb_to_linear(white / 255)
    for _ in range(12):
        diffuse, specular = rng.random(3).tolist(), rng.random(3).tolist()
        glb = _glossy(diffuseFactor=[*diffuse, 1], specularFactor=specular)
        shown = rasterizer.render(normalise(load_glb(glb.pack()))[0], FRONT).rgba[0, 16, 16, :3]
        expected = linear_to_srgb(light * _colour(glb)) * 255
        np.testing.assert_allclose(shown, expected, atol=2)

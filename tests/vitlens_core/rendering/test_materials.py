"""Base colours as glTF defines them, seen through the colours of sampled points."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.vitlens_core.rendering.glb_builder import (
    QUAD,
    QUAD_FACES,
    QUAD_UV,
    Glb,
    floats,
    quad,
    solid,
)
from vitlens_core.rendering import GlbLimits, load_glb, sample_surface
from vitlens_core.rendering.colour import linear_to_srgb, srgb_to_linear
from vitlens_core.rendering.images import decode_image

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def _quarters(side_px: int = 64) -> np.ndarray:
    """Red, green above blue, yellow; large texels, so that bilinear edges are thin."""
    half = side_px // 2
    image = np.zeros((side_px, side_px, 3), np.uint8)
    image[:half, :half], image[:half, half:] = RED, GREEN
    image[half:, :half], image[half:, half:] = BLUE, YELLOW
    return image


def _colour_at(glb: Glb, x: float, y: float) -> np.ndarray:
    """sRGB 0..255 of the sampled point next to (x, y)."""
    points = sample_surface(load_glb(glb.pack()), 4000, seed=0)
    nearest = np.argmin(np.hypot(points[:, 0] - x, points[:, 1] - y))
    return np.round(points[nearest, 3:] * 255).astype(int)


def _textured(**info: Any) -> Glb:
    return quad({"pbrMetallicRoughness": {"baseColorTexture": info}}, _quarters())


def test_row_zero_of_the_image_is_at_v_zero() -> None:
    glb = _textured()
    corners = {(-0.5, 0.5): RED, (0.5, 0.5): GREEN, (-0.5, -0.5): BLUE, (0.5, -0.5): YELLOW}
    for (x, y), colour in corners.items():
        np.testing.assert_array_equal(_colour_at(glb, x, y), colour)


@pytest.mark.parametrize(
    ("transform", "upper_left"),
    [
        ({"offset": [0.5, 0.0]}, GREEN),
        ({"offset": [0.0, 0.5]}, BLUE),
        ({"scale": [0.5, 0.5], "offset": [0.5, 0.5]}, YELLOW),
        # Turning the coordinates counter-clockwise turns the picture clockwise.
        ({"rotation": np.pi / 2, "offset": [0.0, 1.0]}, BLUE),
        ({"rotation": -np.pi / 2, "offset": [1.0, 0.0]}, GREEN),
    ],
)
def test_texture_transform(transform: dict, upper_left: tuple[int, int, int]) -> None:
    glb = _textured(extensions={"KHR_texture_transform": transform})
    np.testing.assert_array_equal(_colour_at(glb, -0.5, 0.5), upper_left)


def test_the_texture_transform_may_choose_another_texcoord() -> None:
    glb = _textured(extensions={"KHR_texture_transform": {"texCoord": 1}})
    attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = glb.add_accessor(1 - QUAD_UV)
    np.testing.assert_array_equal(_colour_at(glb, -0.5, 0.5), YELLOW)


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [(10497, RED), (33071, GREEN), (33648, GREEN)],
    ids=["repeat", "clamp", "mirror"],
)
def test_wrapping_beyond_the_image(wrap: int, expected: tuple[int, int, int]) -> None:
    """At u = 1.25: a repeated image starts anew, a clamped or mirrored one stays at its edge."""
    uv = QUAD_UV * [2.5, 1]
    glb = quad(texture=_quarters(), sampler={"wrapS": wrap, "wrapT": wrap}, uv=floats(uv))
    np.testing.assert_array_equal(_colour_at(glb, 0.0, 0.5), expected)


def test_a_mirrored_image_runs_backwards() -> None:
    glb = quad(texture=_quarters(), sampler={"wrapS": 33648}, uv=floats(QUAD_UV * [2, 1]))
    colours = [tuple(_colour_at(glb, x, 0.5)) for x in (-0.75, -0.25, 0.25, 0.75)]
    assert colours == [RED, GREEN, GREEN, RED]


def test_factor_texture_and_vertex_colour_multiply_in_linear_light() -> None:
    glb = Glb()
    pbr = {
        "baseColorFactor": [0.5, 1.0, 1.0, 1.0],
        "baseColorTexture": {"index": glb.add_texture(solid(128, 128, 128))},
    }
    material = glb.add("materials", pbrMetallicRoughness=pbr)
    colours = np.tile(floats([1.0, 0.25, 1.0]), (4, 1))
    mesh = glb.add_mesh(QUAD, QUAD_FACES, material, TEXCOORD_0=QUAD_UV, COLOR_0=colours)
    grey = srgb_to_linear(np.array(128 / 255))
    expected = linear_to_srgb(grey * np.array([0.5, 0.25, 1.0])) * 255
    np.testing.assert_allclose(_colour_at(glb.show(mesh), 0, 0), expected, atol=0.51)


def test_specular_glossiness_shows_its_diffuse_colour() -> None:
    extension = {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0, 1, 0, 1]}}
    glb = quad({"extensions": extension, "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}})
    np.testing.assert_array_equal(_colour_at(glb, 0, 0), GREEN)


def test_a_black_surface_that_glows_shows_its_glow() -> None:
    glb = quad(
        {"emissiveFactor": [1, 1, 0], "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}
    )
    np.testing.assert_array_equal(_colour_at(glb, 0, 0), YELLOW)


def test_webp_textures_are_read() -> None:
    stream = io.BytesIO()
    Image.fromarray(solid(0, 0, 255)).save(stream, "WEBP", lossless=True)
    glb = quad(texture=solid(255, 0, 0))
    source = glb.add("images", bufferView=glb.add_view(stream.getvalue()), mimeType="image/webp")
    glb.document["textures"][0]["extensions"] = {"EXT_texture_webp": {"source": source}}
    np.testing.assert_array_equal(_colour_at(glb, 0, 0), BLUE)


def test_sixteen_bit_grey_keeps_its_tone() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(stream, "PNG")
    texels = decode_image(stream.getvalue(), "image", GlbLimits())
    np.testing.assert_array_equal(texels[0, 0], [128, 128, 128, 255])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_textures_are_averaged_down(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(solid(10, 200, 30, side_px=300)[..., :3]).save(stream, kind, quality=95)
    texels = decode_image(stream.getvalue(), "image", GlbLimits(max_texture_side_px=100))
    assert max(texels.shape[:2]) <= 100
    np.testing.assert_allclose(texels[..., :3].reshape(-1, 3).mean(axis=0), [10, 200, 30], atol=2)


def test_texture_coordinates_that_are_not_numbers_do_no_harm() -> None:
    uv = QUAD_UV.copy()
    uv[0] = [np.nan, np.inf]
    uv[1] = 3e38
    transform = {"extensions": {"KHR_texture_transform": {"scale": [1e30, 1]}}}
    glb = quad({"pbrMetallicRoughness": {"baseColorTexture": transform}}, _quarters(), uv=uv)
    points = sample_surface(load_glb(glb.pack()), 100, seed=0)
    assert np.isfinite(points).all()

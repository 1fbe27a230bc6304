"""Blender's Cycles behind the same interface; most of it runs only where bpy is installed."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import quad, solid, toon
from vitlens_core.errors import ConfigError
from vitlens_core.rendering import RenderSettings, RenderWorker
from vitlens_core.rendering.colour import srgb_to_linear

HAS_BLENDER = importlib.util.find_spec("bpy") is not None
RED = quad({"extensions": {"KHR_materials_unlit": {}}}, solid(220, 30, 30)).pack()
FRONT = RenderSettings(polar_deg=(90.0,), azimuths=1, size_px=32, points=100)


@pytest.mark.skipif(HAS_BLENDER, reason="bpy is installed")
def test_without_blender_the_extra_is_named() -> None:
    worker = RenderWorker(RenderSettings(renderer="cycles"))
    with pytest.raises(ConfigError, match=r"vitlens\[cycles\]"):
        worker.render(RED, seed=0)


@pytest.mark.skipif(not HAS_BLENDER, reason="needs `pip install vitlens[cycles]`")
def test_it_agrees_with_the_rasteriser() -> None:
    """Same silhouette, colour and points; the same depth to the bit."""
    with RenderWorker(replace(FRONT, renderer="cycles")) as worker:
        traced = worker.render(RED, seed=0)
    with RenderWorker(FRONT) as worker:
        rastered = worker.render(RED, seed=0)
    np.testing.assert_array_equal(traced.depth_m, rastered.depth_m)
    np.testing.assert_array_equal(traced.points, rastered.points)
    alpha = np.stack([traced.rgba[..., 3], rastered.rgba[..., 3]]).astype(float) / 255
    assert np.abs(alpha[0] - alpha[1]).mean() < 0.03  # their pixel filters differ at the edge
    np.testing.assert_allclose(traced.rgba[0, 16, 16].astype(int), rastered.rgba[0, 16, 16], atol=3)


BACK = replace(FRONT, azimuths=2, renderer="cycles")
GOLD = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [1.0, 0.766, 0.336]}


@pytest.mark.skipif(not HAS_BLENDER, reason="needs `pip install vitlens[cycles]`")
def test_it_shows_the_colours_and_sides_that_the_rasteriser_shows() -> None:
    """A metal's specular colour, light that is emitted, and no back of a single-sided surface."""
    glossy = {"extensions": {"KHR_materials_pbrSpecularGlossiness": GOLD}}
    glowing = {
        "emissiveFactor": [0.5, 0.2, 0],
        "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]},
    }
    with RenderWorker(BACK) as worker:
        gold, gold_back = worker.render(quad(glossy).pack(), seed=0).rgba[:, 16, 16].astype(int)
        glow, _ = worker.render(quad(glowing).pack(), seed=0).rgba[:, 16, 16].astype(int)
    # Lit by another sun than the rasteriser's: the ratios of linear channels are the colour.
    linear = srgb_to_linear(gold[:3] / 255)
    np.testing.assert_allclose(linear / linear[0], GOLD["specularFactor"], atol=0.02)
    np.testing.assert_allclose(glow[:3], [188, 124, 0], atol=3)
    assert gold_back[3] == 0


@pytest.mark.skipif(not HAS_BLENDER, reason="needs `pip install vitlens[cycles]`")
def test_an_outline_hull_leaves_its_object_in_the_light() -> None:
    with RenderWorker(BACK) as worker:
        rgba = worker.render(toon().pack(), seed=0).rgba
    assert rgba[..., 0][rgba[..., 3] > 0].mean() > 80

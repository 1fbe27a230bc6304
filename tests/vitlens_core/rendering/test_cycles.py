"""Blender's Cycles behind the same interface; most of it runs only where bpy is installed."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from tests.vitlens_core.rendering.glb_builder import quad, solid
from vitlens_core.errors import ConfigError
from vitlens_core.rendering import RenderSettings, RenderWorker

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

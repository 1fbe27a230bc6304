"""Renders one object in this process: GLB bytes in; views, depth, cameras and points out.

Bulk jobs use `sandbox.RenderWorker`, which runs this in a child that may be killed.
"""

import time
from dataclasses import dataclass
from typing import Self

import numpy as np

from vitlens_core.extras import require
from vitlens_core.rendering.cameras import Cameras
from vitlens_core.rendering.mesh import Normalisation, normalise
from vitlens_core.rendering.points import farthest_point_order, sample_surface
from vitlens_core.rendering.scene import load_glb
from vitlens_core.rendering.settings import RendererName, RenderSettings
from vitlens_core.rendering.views import MeshRenderer

_EXTRAS: dict[RendererName, str] = {"rasterizer": "render", "cycles": "cycles"}


@dataclass(frozen=True, eq=False)
class RenderedObject:
    """All that is stored of one object. V views of H × W pixels, N points; stage frame, metres.

    Attributes:
        rgba: [V, H, W, 4] uint8, sRGB with straight alpha.
        depth_m: [V, H, W] float32, planar; 0 where nothing is seen.
        points: [N, 6] float32, xyz and sRGB 0..1, in farthest-point order.
        cameras: the cameras of the views.
        normalisation: from the object's own frame to the stage frame.
        seconds: time spent on load, views, sample and order.
        renderer: the device and driver that drew it.
    """

    rgba: np.ndarray
    depth_m: np.ndarray
    points: np.ndarray
    cameras: Cameras
    normalisation: Normalisation
    seconds: dict[str, float]
    renderer: str = ""

    @property
    def focal_px(self) -> float:
        """The focal length of all views."""
        return self.cameras.intrinsics[0, 0]


class ObjectRenderer:
    """Renders object after object with one open renderer; a context manager."""

    def __init__(self, settings: RenderSettings) -> None:
        self._settings = settings
        self._cameras = settings.cameras()
        self._renderer = open_renderer(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._renderer.close()

    def render(self, glb: bytes, seed: int) -> RenderedObject:
        """Render one object; equal bytes and seed give equal arrays.

        Raises:
            BadSampleError: the object cannot be rendered.
        """
        clock = _Clock()
        mesh, normalisation = normalise(load_glb(glb))
        clock.lap("load")
        views = self._renderer.render(mesh, self._cameras)
        clock.lap("views")
        points = sample_surface(mesh, self._settings.points, seed)
        clock.lap("sample")
        points = points[farthest_point_order(points, len(points))]
        clock.lap("order")
        return RenderedObject(
            views.rgba,
            views.depth_m,
            points,
            self._cameras,
            normalisation,
            clock.seconds,
            self._renderer.name,
        )


class _Clock:
    """Measures the seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def open_renderer(settings: RenderSettings) -> MeshRenderer:
    """Open the renderer that the settings name.

    Raises:
        ConfigError: a package that it needs is not installed.
    """
    extra, what = _EXTRAS[settings.renderer], f"the renderer {settings.renderer}"
    require("fpsample", extra, what)  # points are ordered with it: fail now, not at every object
    # Found by its name: OpenGL and Blender are extras, of which one is enough.
    opened: MeshRenderer = require(f"{__package__}.{settings.renderer}", extra, what).open_with(
        settings
    )
    return opened

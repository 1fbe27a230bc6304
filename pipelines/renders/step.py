"""step: declares the step `renders` and its settings; `job` does the work.

Axes: V views, H height, W width, N points.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.execution.step import Step
from vitlens_core.rendering import RenderSettings


class RendersConfig(BaseModel):
    """Cameras, renderer, sampling, and the limits of one object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    renderer: Literal["rasterizer", "cycles"] = Field(
        RenderSettings.renderer, description="`cycles` is slower and needs the extra `cycles`"
    )
    size_px: int = Field(
        RenderSettings.size_px, ge=16, le=2048, description="side of a square view"
    )
    polar_deg: tuple[float, ...] = Field(
        RenderSettings.polar_deg, min_length=1, description="rings of cameras, from the up axis"
    )
    azimuths: int = Field(RenderSettings.azimuths, ge=1, description="cameras per ring")
    distance_m: float = Field(
        RenderSettings.distance_m,
        gt=0,
        description="camera to the centre of the unit cube that objects are scaled into",
    )
    fov_deg: float = Field(
        RenderSettings.fov_deg, gt=0, lt=170, description="field of view, both axes"
    )
    points: int = Field(RenderSettings.points, ge=16, description="surface points per object")
    time_limit_s: float = Field(
        RenderSettings.time_limit_s, gt=0, description="per object; its child is then killed"
    )
    memory_limit_mb: int = Field(RenderSettings.memory_limit_mb, ge=64, description="per object")

    @property
    def views(self) -> int:
        """Views of an object, which the cameras alone know. Raises ConfigError on wrong angles."""
        return len(self.settings().cameras())

    def settings(self) -> RenderSettings:
        return RenderSettings(**self.model_dump())


STEP = Step(
    name="renders",
    version=2,
    description="Views, metric depth and coloured surface points of every object.",
    inputs=("objects",),
    in_pieces=True,
    made_by="Ray Data",
    reads="objects",
    writes={
        "<split>-NNNNN.tar": "one per shard of objects; the files of an object follow",
        "view00.png …": "RGBA [H, W, 4], straight alpha",
        "depth.npz": "`depth_m` float32 [V, H, W]: planar depth, 0 = nothing; its unit is that of "
        "the unit cube that objects are scaled into",
        "points.npy": "float32 [N, 6]: xyz (in the same unit, y up) and sRGB in 0..1, sampled by "
        "area, in farthest-point order; of an object of points, its own",
        "cameras.npz": "`intrinsics_px` [3, 3] and `cam_to_world` [V, 4, 4] (OpenCV axes)",
        "json": "the annotations of the object, and the scale from the unit cube to its own units",
    },
    promises="Every object is rendered in a child process with limits on time and memory; an "
    "object that fails is quarantined with its reason.",
)

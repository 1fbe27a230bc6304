"""renders: every object as views, depth and surface points.

Reads     objects.
Writes    `<split>-NNNNN.tar`, one per objects shard; per object
            view00.png …     RGBA [H, W, 4], straight alpha
            depth.npz        `depth_m` float32 [V, H, W]: planar depth in stage metres, 0 = nothing
            points.npy       float32 [N, 6]: xyz [stage metres, y up] + sRGB in 0..1,
                             area-weighted, in farthest-point order
            cameras.npz      `intrinsics_px` [3, 3], `cam_to_world` [V, 4, 4] (OpenCV axes)
            json             the object's annotations, and the scale from stage to source units
Promises  every object is rendered in a killable child with limits on time and memory; one
          that fails is quarantined with its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.artifacts import Artifact, Quarantined
from pipelines.cluster import ShardTask, build_shards, tasks_of
from pipelines.runtime import Runtime
from pipelines.shard_io import (
    Sample,
    encode_array,
    encode_compressed,
    encode_json,
    encode_png,
)
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import RenderedObject, RenderSettings, RenderWorker

STEP = "renders"
VERSION = 1


class RendersConfig(BaseModel):
    """Cameras, renderer, sampling, and the limits of one object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    renderer: Literal["rasterizer", "cycles"] = RenderSettings.renderer
    size_px: int = Field(
        RenderSettings.size_px, ge=16, le=2048, description="side of a square view"
    )
    polar_deg: tuple[float, ...] = Field(
        RenderSettings.polar_deg, min_length=1, description="rings of cameras, from the up axis"
    )
    azimuths: int = Field(RenderSettings.azimuths, ge=1, description="cameras per ring")
    distance_m: float = Field(
        RenderSettings.distance_m, gt=0, description="camera to the centre of the unit stage"
    )
    fov_deg: float = Field(
        RenderSettings.fov_deg, gt=0, lt=170, description="field of view, both axes"
    )
    points: int = Field(RenderSettings.points, ge=16, description="surface points per object")
    time_limit_s: float = Field(
        RenderSettings.time_limit_s, gt=0, description="per object; then its child is killed"
    )
    memory_limit_mb: int = Field(RenderSettings.memory_limit_mb, ge=64, description="per object")

    def settings(self) -> RenderSettings:
        return RenderSettings(**self.model_dump())


def run(runtime: Runtime, config: RendersConfig, objects: Artifact) -> Artifact:
    """Render and sample every object; a Ray Data actor per renderer."""
    inputs = {"objects": objects}
    build = runtime.store.begin(STEP, VERSION, config, inputs, part=objects.is_part)
    if build.existing:
        return build.existing
    stage = partial(RenderStage, config.settings(), objects)
    return build_shards(runtime, build, tasks_of(objects), stage)


class RenderStage:
    """Holds one renderer child and renders one shard's objects after the other."""

    def __init__(self, settings: RenderSettings, objects: Artifact) -> None:
        self.objects = objects
        self.worker = RenderWorker(settings)

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in self.objects.read(task.name):
            key = sample["__key__"]
            try:
                rendered = self.worker.render(sample["glb"], seed=_seed(key))
            except BadSampleError as error:
                yield Quarantined(key=key, step=STEP, reason=str(error))
            else:
                yield _sample(json.loads(sample["json"]), rendered)

    def close(self) -> None:
        """End the child."""
        self.worker.close()


def _seed(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")


def _sample(described: dict, rendered: RenderedObject) -> Sample:
    views = {f"view{i:02d}.png": encode_png(view) for i, view in enumerate(rendered.rgba)}
    cameras, stage = rendered.cameras, rendered.normalisation
    source = {"centre": [float(c) for c in stage.centre], "scale": float(stage.scale)}
    return {
        "__key__": described["uid"],
        **views,
        "depth.npz": encode_compressed(depth_m=rendered.depth_m),
        "points.npy": encode_array(rendered.points),
        "cameras.npz": encode_compressed(
            intrinsics_px=cameras.intrinsics, cam_to_world=cameras.cam_to_world
        ),
        "json": encode_json({**described, "source": source}),
    }

"""job: renders objects one after the other, with a child process per worker; see `step`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial

from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, tasks_of
from pipelines.renders.step import STEP, RendersConfig
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample, encode_array, encode_compressed, encode_json, encode_png
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import RenderedObject, RenderSettings, RenderWorker, is_software


def run(runtime: Runtime, config: RendersConfig, objects: Artifact) -> Artifact:
    """Render and sample every object; each worker has a renderer in a child of its own."""
    inputs = {"objects": objects}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    processor = partial(ShardRenderer, config.settings(), objects)
    made = build_shards(runtime, build, tasks_of(objects), processor)
    for line in _remarks(made.manifest.made_with):
        runtime.say(line)
    return made


def _remarks(renderers: tuple[str, ...]) -> Iterator[str]:
    """Yield what a person should know of the renderers that were used."""
    for name in renderers:
        slow = " (software: no GPU was used)" if is_software(name) else ""
        yield f"renders: drawn by {name}{slow}"
    if len(renderers) > 1:
        yield (
            "renders: several renderers drew these objects, so that bytes differ by node; give "
            "all nodes that render the same device and driver to make them again"
        )


class ShardRenderer:
    """Renders the objects of a shard one after the other in a child process."""

    def __init__(self, settings: RenderSettings, objects: Artifact) -> None:
        self.objects = objects
        self.worker = RenderWorker(settings)
        self.made_with = ""

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in self.objects.read(task.name):
            key = sample["__key__"]
            try:
                rendered = self.worker.render(sample["glb"], seed=_seed(key))
            except BadSampleError as error:
                yield Quarantined(key=key, step=STEP.name, reason=str(error))
            else:
                self.made_with = rendered.renderer
                yield _sample(json.loads(sample["json"]), rendered)

    def close(self) -> None:
        """End the child."""
        self.worker.close()


def _seed(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")


def _sample(described: dict, rendered: RenderedObject) -> Sample:
    views = {f"view{i:02d}.png": encode_png(view) for i, view in enumerate(rendered.rgba)}
    cameras, placed = rendered.cameras, rendered.normalisation
    source = {"centre": [float(c) for c in placed.centre], "scale": float(placed.scale)}
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

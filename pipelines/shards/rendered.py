"""rendered: pairs of rendered objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np

from pipelines.execution.bulk import ShardTask
from pipelines.objects.mirror import ObjectRecord
from pipelines.shards.step import ShardsConfig
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import (
    TEACHER_SIGNAL,
    Sample,
    decode_array,
    encode_json,
    encode_signal,
    view_names,
)
from vitlens_core import modalities
from vitlens_core.captions import object_captions
from vitlens_core.models.tower import TowerSettings

_STAGE_BASELINE_M = 0.075  # of the imagined camera that sees the stage: a Kinect's


class RenderedPairs:
    """Turns one shard of rendered objects into one shard of pairs."""

    def __init__(
        self,
        config: ShardsConfig,
        tower: TowerSettings,
        renders: Artifact,
        teacher: TowerSettings | None = None,
    ) -> None:
        self.config = config
        self.renders = renders
        self.tower, self.teacher = tower, teacher
        self.signal = modalities.load_lensed(tower.modality).SIGNAL

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in self.renders.read(task.name):
            yield from self._pairs(sample)

    def _pairs(self, sample: Sample) -> Iterator[Sample]:
        """The whole object as a cloud, or one sample per view: the map and its picture."""
        names = view_names(sample)
        if self.tower.modality == "point_cloud":
            yield self._pair(sample, sample["__key__"], names)
            return
        for name in names[: self.config.views]:
            key = f"{sample['__key__']}-{name.removesuffix('.png')}"
            yield self._pair(sample, key, [name])

    def _pair(self, sample: Sample, key: str, views: list[str]) -> Sample:
        taught = {}
        if self.teacher:
            taught[TEACHER_SIGNAL] = encode_signal(self._signals(sample, self.teacher, views))
        return {
            "__key__": key,
            "json": self._described(sample),
            self.signal: encode_signal(self._signals(sample, self.tower, views)[0]),
            **taught,
            **{f"view{i:02d}.png": sample[name] for i, name in enumerate(views)},
        }

    def _signals(self, sample: Sample, tower: TowerSettings, views: list[str]) -> np.ndarray:
        """What a tower sees of an object: its cloud [1, N, 6], or each view's map [V, H, W]."""
        if tower.modality == "point_cloud":
            return decode_array(sample["points.npy"])[None, : self.config.points]
        disparity = modalities.load(tower.modality).disparity
        depth_m = np.load(io.BytesIO(sample["depth.npz"]))["depth_m"]
        focal_px = np.load(io.BytesIO(sample["cameras.npz"]))["intrinsics_px"][0, 0]
        numbers = [view_names(sample).index(name) for name in views]
        raws = [disparity(depth_m[n], focal_px, _STAGE_BASELINE_M) for n in numbers]
        return np.stack([tower.signal.store(raw) for raw in raws])

    def _described(self, sample: Sample) -> bytes:
        described = json.loads(sample["json"])
        record = ObjectRecord(**{k: described[k] for k in ObjectRecord.__dataclass_fields__})
        named = self.config.label_captions and described["split"] == "train"
        kept = ("label", "split", "name", "licence", "creator")
        paired = {key: described[key] for key in kept}
        paired["group"] = sample["__key__"]
        paired["captions"] = list(object_captions(record, use_label=named))
        return encode_json(paired)

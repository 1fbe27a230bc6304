"""shards: paired samples of a modality, ready for training and evaluation.

Reads     renders.
Writes    `<split>-NNNNN.tar`, one per renders shard; per object
            points.npy       fp16 [N, 6], the modality's signal
            view00.png …     the images it is paired with
            json             label, captions (with the class name on training objects only),
                             split, name, licence, creator
Promises  deterministic names and bytes; bounded size; readable by plain webdataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines.artifacts import Artifact, Quarantined
from pipelines.cluster import ShardTask, build_shards, tasks_of
from pipelines.mirror import ObjectRecord
from pipelines.runtime import Runtime
from pipelines.shard_io import (
    Sample,
    decode_array,
    encode_array,
    encode_json,
    read_shard,
    view_names,
)
from vitlens_core.captions import object_captions

STEP = "shards"
VERSION = 1


class ShardsConfig(BaseModel):
    """What a paired sample holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(10_000, ge=16, description="points stored per cloud")
    label_captions: bool = Field(
        True, description="whether captions of *training* objects name their class"
    )


def run(runtime: Runtime, config: ShardsConfig, renders: Artifact) -> Artifact:
    """Pair every object's points with its views and captions."""
    build = runtime.store.begin(STEP, VERSION, config, {"renders": renders})
    if build.existing:
        return build.existing
    return build_shards(runtime, build, tasks_of(renders), partial(PairStage, config, renders))


class PairStage:
    """Turns one shard of renders into one shard of pairs."""

    def __init__(self, config: ShardsConfig, renders: Artifact) -> None:
        self.config = config
        self.renders = renders

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in read_shard(self.renders.path(f"{task.name}.tar")):
            yield self._pair(sample)

    def _pair(self, sample: Sample) -> Sample:
        described = json.loads(sample["json"])
        record = ObjectRecord(**{k: described[k] for k in ObjectRecord.__dataclass_fields__})
        named = self.config.label_captions and described["split"] == "train"
        kept = ("label", "split", "name", "licence", "creator")
        paired = {key: described[key] for key in kept}
        paired["captions"] = list(object_captions(record, use_label=named))
        points = decode_array(sample["points.npy"])[: self.config.points]
        return {
            "__key__": sample["__key__"],
            "json": encode_json(paired),
            "points.npy": encode_array(points.astype(np.float16)),
            **{name: sample[name] for name in view_names(sample)},
        }

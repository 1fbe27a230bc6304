"""targets: the frozen foundation's embeddings of every view and caption, computed once.

Reads     shards and foundation.
Writes    `<split>-NNNNN.tar`, one per shard; per sample
            <signal>.npy         as in the shards
            image_targets.npy    fp16 [V, E], unit norm; V = 0 without images
            text_targets.npy     fp16 [C, E], unit norm; C = 0 without captions
            json                 name, label, group, split, captions
Promises  training reads these tars alone: the foundation's towers never run there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from pipelines.artifacts import Artifact
from pipelines.cluster import ShardTask, build_shards, tasks_of
from pipelines.foundation import Features, composite_views, fitted_features, open_foundation
from pipelines.runtime import Runtime
from pipelines.shard_io import Sample, encode_array, encode_json, read_shard
from vitlens_core.foundation import LitFoundation

STEP = "targets"
VERSION = 2


def run(runtime: Runtime, shards: Artifact, foundation: Artifact) -> Artifact:
    """Encode every view and caption; Ray Data actors hold the frozen towers."""
    inputs = {"shards": shards, "foundation": foundation}
    build = runtime.store.begin(STEP, VERSION, {}, inputs)
    if build.existing:
        return build.existing
    stage = partial(TargetStage, shards, foundation, runtime.resources.gpus_per_worker > 0)
    return build_shards(runtime, build, tasks_of(shards), stage, needs_gpu=True)


class TargetStage:
    """Holds the foundation and encodes one shard after the other."""

    def __init__(self, shards: Artifact, foundation: Artifact, on_gpu: bool) -> None:
        self.shards = shards
        self.artifact = foundation
        self.foundation = open_foundation(foundation).to("cuda" if on_gpu else "cpu")
        self.background = foundation.read_json("foundation.json")["background"]

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        known = fitted_features(self.artifact, self.shards, task.name)
        for sample in read_shard(self.shards.path(f"{task.name}.tar")):
            described = json.loads(sample["json"])
            images, texts = (
                self._projected(known[sample["__key__"]])
                if sample["__key__"] in known
                else self._encoded(sample, described["captions"])
            )
            kept = {k: described[k] for k in ("name", "label", "group", "split", "captions")}
            yield {
                "__key__": sample["__key__"],
                **{name: data for name, data in sample.items() if name.endswith(".npy")},
                "image_targets.npy": _encode(images),
                "text_targets.npy": _encode(texts),
                "json": encode_json(kept),
            }

    def _encoded(self, sample: Sample, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        none = torch.zeros(0, self.foundation.embed_dim)
        views = composite_views(sample, self.background)
        images = self.foundation.encode_image(views) if len(views) else none
        return images, self.foundation.encode_text(captions) if captions else none

    def _projected(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """What a `lit` foundation was fitted on is not run through its towers again."""
        assert isinstance(self.foundation, LitFoundation)
        device = self.foundation.mean.device
        images, texts = features.images.to(device), features.texts.to(device)
        return self.foundation.project(images, texts)


def _encode(embeddings: torch.Tensor) -> bytes:
    return encode_array(embeddings.cpu().numpy().astype(np.float16))

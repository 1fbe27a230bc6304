"""targets: the frozen foundation's embeddings of every view and caption, computed once.

Reads     shards and foundation, with the lens that teaches if there is one.
Writes    `<split>-NNNNN.tar`, one per shard; per sample
            <signal>.npy         as in the shards
            image_targets.npy    fp16 [V, E], unit norm; V = 0 without images
            text_targets.npy     fp16 [C, E], unit norm; C = 0 without captions
            teacher_targets.npy  fp16 [K, E], unit norm, of its signals; only if a lens teaches
            json                 name, label, group, split, captions
Promises  training reads these tars alone: the foundation's towers never run there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.artifacts import Artifact
from pipelines.cluster import ShardTask, build_shards, tasks_of
from pipelines.foundation import (
    Features,
    composite_views,
    fitted_features,
    has_teacher,
    open_foundation,
    open_lens,
)
from pipelines.runtime import Runtime
from pipelines.shard_io import Sample, decode_array, encode_array, encode_json
from pipelines.teacher import LENS
from pipelines.teacher import SIGNAL as TEACHER_SIGNAL
from vitlens_core.foundation import LitFoundation

STEP = "targets"
VERSION = 3


def run(runtime: Runtime, shards: Artifact, foundation: Artifact) -> Artifact:
    """Encode every view and caption; Ray Data actors hold the frozen towers."""
    inputs = {"shards": shards, "foundation": foundation}
    build = runtime.store.begin(STEP, VERSION, {}, inputs)
    if build.existing:
        return build.existing
    stage = partial(TargetStage, shards, foundation, runtime.resources.device)
    return build_shards(runtime, build, tasks_of(shards), stage, needs_gpu=True)


class TargetStage:
    """Holds the foundation and encodes one shard after the other."""

    def __init__(self, shards: Artifact, foundation: Artifact, device: str) -> None:
        self.shards = shards
        self.artifact = foundation
        self.foundation = open_foundation(foundation).to(device)
        self.teacher = None
        if has_teacher(foundation):
            self.teacher = open_lens(foundation, LENS, self.foundation)
        self.texts: dict[str, torch.Tensor] = {}
        self.background = foundation.read_json("foundation.json")["background"]

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        known = fitted_features(self.artifact, self.shards, task.name)
        self.texts = {}
        for sample in self.shards.read(task.name):
            described = json.loads(sample["json"])
            images, texts = (
                self._projected(known[sample["__key__"]])
                if sample["__key__"] in known
                else self._encoded(sample, described["captions"])
            )
            kept = {k: described[k] for k in ("name", "label", "group", "split", "captions")}
            signals = {n: d for n, d in sample.items() if n.endswith(".npy")}
            shown = signals.pop(TEACHER_SIGNAL, None)
            yield {
                "__key__": sample["__key__"],
                **signals,
                **self._taught(shown),
                "image_targets.npy": _encode(images),
                "text_targets.npy": _encode(texts),
                "json": encode_json(kept),
            }

    def _encoded(self, sample: Sample, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        none = torch.zeros(0, self.foundation.embed_dim)
        views = composite_views(sample, self.background)
        images = self.foundation.encode_image(views) if len(views) else none
        return images, self._of_texts(captions) if captions else none

    def _of_texts(self, captions: list[str]) -> torch.Tensor:
        """[C, E]. Samples of one class share most of theirs: a shard's captions run once."""
        new = [text for text in dict.fromkeys(captions) if text not in self.texts]
        if new:
            self.texts |= zip(new, self.foundation.encode_text(new), strict=True)
        return torch.stack([self.texts[text] for text in captions])

    @torch.inference_mode()
    def _taught(self, shown: bytes | None) -> Sample:
        """The teacher's targets, if there is a teacher."""
        if self.teacher is None or shown is None:
            return {}
        tower, settings = self.teacher
        stored = torch.from_numpy(decode_array(shown).copy())
        device = next(tower.parameters()).device
        embedded = tower(settings.signal.prepare(stored).to(device))
        return {"teacher_targets.npy": _encode(F.normalize(embedded.float(), dim=-1))}

    def _projected(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """What a `lit` foundation was fitted on is not run through its towers again."""
        assert isinstance(self.foundation, LitFoundation)
        device = self.foundation.mean.device
        images, texts = features.images.to(device), features.texts.to(device)
        return self.foundation.project(images, texts)


def _encode(embeddings: torch.Tensor) -> bytes:
    return encode_array(embeddings.cpu().numpy().astype(np.float16))

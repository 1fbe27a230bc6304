"""targets: workers hold the frozen towers and encode shard by shard; see `step`.

Axes: V views, C captions, K signals of the teacher, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.execution.bulk import ShardTask, build_shards, tasks_of
from pipelines.execution.prefetch import prefetch
from pipelines.execution.runtime import Runtime
from pipelines.foundation.features import Features, composite_views, fitted_features
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import has_teacher, open_foundation, open_lens
from pipelines.foundation.teacher import LENS
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import (
    TEACHER_SIGNAL,
    Sample,
    decode_array,
    targets_file,
)
from pipelines.targets.step import STEP, TargetsConfig
from pipelines.targets.stored import encode_targets
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.precision import tf32

_IMAGES_TOGETHER = 96  # keep a large GPU busy, and still fit beside a trunk


def run(
    runtime: Runtime, config: TargetsConfig, shards: Artifact, foundation: Artifact
) -> Artifact:
    """Encode every view and caption; Ray Data actors hold the frozen towers."""
    inputs = {"shards": shards, "foundation": foundation}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    processor = partial(TargetEncoder, config, shards, foundation, runtime.resources.device)
    return build_shards(runtime, build, tasks_of(shards), processor, needs_gpu=True)


@dataclass(frozen=True)
class Decoded:
    """A sample that is ready to be encoded.

    Attributes:
        info: what is said of it.
        views: uint8 [V, H, W, 3].
        teacher_signals: what the teacher sees [K, …].
        features: those of views and captions where the foundation was fitted on them.
    """

    sample: Sample
    info: SampleInfo
    views: Tensor
    teacher_signals: Tensor
    features: Features | None


class TargetEncoder:
    """Holds the foundation and encodes one shard after the other.

    Samples are decoded in a thread, several at a time, while those before are encoded.
    """

    def __init__(
        self, config: TargetsConfig, shards: Artifact, foundation: Artifact, device: str
    ) -> None:
        self.config, self.shards = config, shards
        self.artifact = foundation
        self.device = torch.device(device)
        self.foundation = open_foundation(foundation)
        self.teacher = None
        if has_teacher(foundation):
            tower, settings = open_lens(foundation, LENS, self.foundation)
            self.teacher = tower.to(self.device), settings
        self.foundation.to(self.device)
        self.texts: dict[str, Tensor] = {}
        self.background = read_info(foundation).background

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        self.texts = {}
        with closing(prefetch(self._groups(task))) as groups:
            for group in groups:
                yield from self._encoded(group)

    def _groups(self, task: ShardTask) -> Iterator[list[Decoded]]:
        known = fitted_features(self.artifact, self.shards, task.name)
        group: list[Decoded] = []
        for sample in self.shards.read(task.name):
            group.append(self._decoded(sample, known.get(sample["__key__"])))
            if sum(max(1, len(one.views)) for one in group) >= _IMAGES_TOGETHER:
                yield group
                group = []
        yield group

    def _decoded(self, sample: Sample, features: Features | None) -> Decoded:
        views = composite_views(sample if features is None else {}, self.background)
        signals = torch.zeros(0)
        if self.teacher and TEACHER_SIGNAL in sample:
            signals = torch.from_numpy(decode_array(sample[TEACHER_SIGNAL]).copy())
        return Decoded(sample, SampleInfo.of(sample), views, signals, features)

    def _encoded(self, group: list[Decoded]) -> Iterator[Sample]:
        new = [one for one in group if one.features is None]
        with tf32(self.device):
            images = self._by_sample(self.foundation.encode_image, [one.views for one in group])
            teacher = self._by_sample(self._encode_teacher, [one.teacher_signals for one in group])
            self._learn_texts([text for one in new for text in one.info.captions])
        for one, of_images, of_teacher in zip(group, images, teacher, strict=True):
            signals = {n: d for n, d in one.sample.items() if n.endswith(".npy")}
            has_signals = signals.pop(TEACHER_SIGNAL, None) is not None
            if self.teacher and has_signals:
                signals[targets_file("teacher")] = self._stored(of_teacher)
            own = (of_images, self._of_texts(one)) if one.features is None else self._projected(one)
            yield {
                "__key__": one.sample["__key__"],
                **signals,
                targets_file("image"): self._stored(own[0]),
                targets_file("text"): self._stored(own[1]),
                "json": one.info.encode(without={"licence", "creator"}),
            }

    def _by_sample(self, encode: Callable[[Tensor], Tensor], items: list[Tensor]) -> list[Tensor]:
        """Embeddings [n, E] of each sample's items [n, …]; those of one shape together."""
        found = [torch.zeros(0, self.foundation.embed_dim)] * len(items)
        for shape in dict.fromkeys(own.shape[1:] for own in items if len(own)):
            alike = [n for n, own in enumerate(items) if len(own) and own.shape[1:] == shape]
            encoded = encode(torch.cat([items[n] for n in alike]))
            for n, rows in zip(alike, encoded.split([len(items[n]) for n in alike]), strict=True):
                found[n] = rows
        return found

    def _learn_texts(self, captions: list[str]) -> None:
        """Samples of one class share most captions: each of a shard's is encoded once."""
        new = [text for text in dict.fromkeys(captions) if text not in self.texts]
        if new:
            self.texts |= zip(new, self.foundation.encode_text(new), strict=True)

    def _of_texts(self, one: Decoded) -> Tensor:
        """[C, E]."""
        if not one.info.captions:
            return torch.zeros(0, self.foundation.embed_dim)
        return torch.stack([self.texts[text] for text in one.info.captions])

    @torch.inference_mode()
    def _encode_teacher(self, signals: Tensor) -> Tensor:
        """The teacher's embeddings [K, E] of its stored signals [K, …]."""
        assert self.teacher is not None
        tower, settings = self.teacher
        prepared = settings.tokenizer_config.prepare(signals, settings.signal_needed)
        embedded = tower(prepared.to(self.device))
        return F.normalize(embedded.float(), dim=-1)

    def _projected(self, one: Decoded) -> tuple[Tensor, Tensor]:
        """What a `lit` foundation was fitted on is not run through its towers again."""
        assert isinstance(self.foundation, LitFoundation)
        assert one.features is not None
        images, texts = one.features.images, one.features.texts
        return self.foundation.project(images.to(self.device), texts.to(self.device))

    def _stored(self, embeddings: Tensor) -> bytes:
        return encode_targets(embeddings, self.config.stored_as)

"""job: encodes shards in workers that hold the frozen towers; `step` declares it.

Axes: V views, C captions, K signals for a teacher, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.execution.bulk import build_shards
from pipelines.execution.prefetch import prefetch
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, tasks_of
from pipelines.foundation.features import Features, composite_views, fitted_features
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.foundation.teachers import lens_file
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array, ready_file, targets_file, teacher_file
from pipelines.targets.ready import ReadyEmbeddings
from pipelines.targets.step import OF_FOUNDATION, STEP, TOKENS, TargetsConfig, kind_of_teacher
from pipelines.targets.stored import encode_targets
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import tf32

_IMAGES_TOGETHER = 96  # enough to keep a large GPU busy, and few enough to fit beside a trunk


def run(
    runtime: Runtime, config: TargetsConfig, shards: Artifact, foundation: Artifact
) -> Artifact:
    """Encode every view and caption; Ray Data actors hold the frozen towers."""
    inputs = {"shards": shards, "foundation": foundation}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    processor = partial(TargetEncoder, config, shards, foundation, runtime.resources.device)
    return build_shards(runtime, build, tasks_of(shards), processor, encodes=True)


@dataclass(frozen=True)
class Decoded:
    """A sample that is ready to be encoded.

    Attributes:
        info: its record.
        views: uint8 [V, H, W, 3].
        teacher_signals: stored signals for each teacher [K, …].
        features: features of views and captions, if the foundation was fitted on them.
        ready: embeddings of images [V, E] and captions [C, E] that the data set brought.
        shown: uint8 [K, H, W, 3], the views whose tokens are stored.
    """

    sample: Sample
    info: SampleInfo
    views: Tensor
    teacher_signals: Mapping[str, Tensor]
    features: Features | None
    ready: tuple[Tensor, Tensor] | None
    shown: Tensor


class TargetEncoder:
    """Holds the foundation and encodes one shard after the other.

    The next group of samples is decoded in a thread while the present one is encoded.
    """

    def __init__(
        self, config: TargetsConfig, shards: Artifact, foundation: Artifact, device: str
    ) -> None:
        self.config, self.shards = config, shards
        self.artifact = foundation
        self.device = torch.device(device)
        self.foundation = open_foundation(foundation)
        info = read_info(foundation)
        self.teachers: dict[str, tuple[Tower, TowerSettings]] = {}
        for name in info.teachers:
            tower, settings = open_lens(foundation, lens_file(name), self.foundation)
            self.teachers[name] = tower.to(self.device), settings
        self.foundation.to(self.device)
        self.texts: dict[str, Tensor] = {}
        self.background = info.background
        self.ready = ReadyEmbeddings(self.foundation, info)

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
        signals = {
            name: torch.from_numpy(decode_array(sample[teacher_file(name)]).copy())
            for name in self.teachers
        }
        told = SampleInfo.of(sample)
        if not self.foundation.has_text:  # nothing stands for a caption
            told = told.model_copy(update={"captions": ()})
        ready = self.ready.of(sample, told)
        shown = composite_views(sample if self.config.token_views else {}, self.background)
        chosen = evenly(len(shown), self.config.token_views)
        return Decoded(sample, told, views, signals, features, ready, shown[chosen])

    def _encoded(self, group: list[Decoded]) -> Iterator[Sample]:
        new = [one for one in group if one.features is None and one.ready is None]
        with tf32(self.device):
            images = self._by_sample(self.foundation.encode_image, [one.views for one in group])
            taught = {
                name: self._by_sample(
                    partial(self._encode_taught, name), [one.teacher_signals[name] for one in group]
                )
                for name in self.teachers
            }
            tokens = self._by_sample(self._image_tokens, [one.shown for one in group])
            self._learn_texts([text for one in new for text in one.info.captions])
        shown = {*map(teacher_file, self.teachers), *map(ready_file, OF_FOUNDATION)}
        for number, (one, of_images) in enumerate(zip(group, images, strict=True)):
            signals = {
                n: data for n, data in one.sample.items() if n.endswith(".npy") and n not in shown
            }
            for name, by_sample in taught.items():
                file = targets_file(kind_of_teacher(name))
                signals[file] = self._stored(by_sample[number])
            if self.config.token_views:
                signals[targets_file(TOKENS)] = self._stored(tokens[number])
            own = self._own(one, of_images)
            yield {
                "__key__": one.sample["__key__"],
                **signals,
                targets_file("image"): self._stored(own[0]),
                targets_file("text"): self._stored(own[1]),
                "json": one.info.encode(without={"licence", "creator"}),
            }

    def _own(self, one: Decoded, of_images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of images [V, E] and captions [C, E]."""
        if one.ready is not None:
            return one.ready
        if one.features is not None:
            return self._projected(one)
        return of_images, self._of_texts(one)

    def _by_sample(self, encode: Callable[[Tensor], Tensor], items: list[Tensor]) -> list[Tensor]:
        """Return embeddings [n, E] of each sample's items [n, …], encoded together by shape."""
        by_sample = [torch.zeros(0, self.foundation.embed_dim)] * len(items)
        for shape in dict.fromkeys(own.shape[1:] for own in items if len(own)):
            alike = [n for n, own in enumerate(items) if len(own) and own.shape[1:] == shape]
            encoded = encode(torch.cat([items[n] for n in alike]))
            for n, rows in zip(alike, encoded.split([len(items[n]) for n in alike]), strict=True):
                by_sample[n] = rows
        return by_sample

    def _learn_texts(self, captions: list[str]) -> None:
        """Encode each caption of a shard once: samples of one class share most captions."""
        new = [text for text in dict.fromkeys(captions) if text not in self.texts]
        if new:
            self.texts |= zip(new, self.foundation.encode_text(new), strict=True)

    def _of_texts(self, one: Decoded) -> Tensor:
        """Return the embeddings of a sample's captions [C, E]."""
        if not one.info.captions:
            return torch.zeros(0, self.foundation.embed_dim)
        return torch.stack([self.texts[text] for text in one.info.captions])

    @torch.inference_mode()
    def _image_tokens(self, views: Tensor) -> Tensor:
        """Return the tokens [V, P+T, W] of views at the readout, normed."""
        trunk, base = self.foundation.trunk, self.foundation
        (states,) = trunk.states([base.image_tokens(base.preprocess(views))])
        return trunk.readout.final_norm(states)

    @torch.inference_mode()
    def _encode_taught(self, name: str, signals: Tensor) -> Tensor:
        """Return a teacher's embeddings [K, E] of its stored signals [K, …]."""
        tower, settings = self.teachers[name]
        prepared = settings.tokenizer_config.prepare(signals, settings.signal_needed)
        embedded = tower(prepared.to(self.device))
        return F.normalize(embedded.float(), dim=-1)

    def _projected(self, one: Decoded) -> tuple[Tensor, Tensor]:
        """Project the stored features of a sample that a `lit` foundation was fitted on.

        This gives its targets without running the towers again.
        """
        assert isinstance(self.foundation, LitFoundation)
        assert one.features is not None
        images, texts = one.features.images, one.features.texts
        return self.foundation.project(images.to(self.device), texts.to(self.device))

    def _stored(self, embeddings: Tensor) -> bytes:
        return encode_targets(embeddings, self.config.stored_as)


def evenly(count: int, wanted: int) -> list[int]:
    """Choose some of `count` numbers at even distances, all if there are no more."""
    most = min(count, wanted)
    return [index * count // most for index in range(most)]

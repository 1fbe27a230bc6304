"""encoder: encodes shards with the frozen towers, in the workers of the step.

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

from pipelines.execution.prefetch import prefetch
from pipelines.execution.shard_tasks import ShardTask
from pipelines.foundation.features import composite_views, fitted_features
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.foundation.picture_features import PictureFeatures, ShardFeatures
from pipelines.foundation.teachers import lens_file
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import (
    Sample,
    decode_array,
    ready_file,
    targets_file,
    teacher_file,
    view_names,
)
from pipelines.targets.ready import ReadyEmbeddings
from pipelines.targets.step import OF_FOUNDATION, TOKENS, TargetsConfig, kind_of_teacher
from pipelines.targets.stored import encode_targets
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import tf32

_IMAGES_TOGETHER = 96  # enough to keep a large GPU busy, and few enough to fit beside a trunk


@dataclass(frozen=True)
class Stored:
    """A sample as it is stored, with what is known of it.

    Attributes:
        image_features: features of its views [V, Fi], if they are known.
        text_features: features of its captions [C, Ft], if the foundation was fitted on them.
    """

    sample: Sample
    image_features: Tensor | None
    text_features: Tensor | None


@dataclass(frozen=True)
class Decoded:
    """A sample that is ready to be encoded.

    Attributes:
        info: its record.
        views: uint8 [V, H, W, 3]; none if their features are known.
        teacher_signals: stored signals for each teacher [K, …].
        shown: uint8 [K, H, W, 3], the views whose tokens are stored.
    """

    stored: Stored
    info: SampleInfo
    views: Tensor
    teacher_signals: Mapping[str, Tensor]
    shown: Tensor

    @property
    def sample(self) -> Sample:
        return self.stored.sample


class TargetEncoder:
    """Holds the foundation and encodes one shard after the other.

    The next groups of samples are decoded in threads while the present one is encoded. Pictures
    whose features the store has are neither decoded nor encoded.
    """

    def __init__(
        self,
        config: TargetsConfig,
        shards: Artifact,
        foundation: Artifact,
        device: str,
        threads: int = 1,
    ) -> None:
        self.config, self.shards, self.threads = config, shards, threads
        self.artifact = foundation
        self.device = torch.device(device)
        self.foundation = open_foundation(foundation)
        info = read_info(foundation)
        self.background = info.background
        self.pictures: PictureFeatures | None = None
        if isinstance(self.foundation, LitFoundation):  # before it moves: it is hashed
            self.pictures = PictureFeatures(shards, self.foundation, self.background)
        self.teachers: dict[str, tuple[Tower, TowerSettings]] = {}
        for name in info.teachers:
            tower, settings = open_lens(foundation, lens_file(name), self.foundation)
            self.teachers[name] = tower.to(self.device), settings
        self.foundation.to(self.device)
        self.texts: dict[str, Tensor] = {}
        self.ready = ReadyEmbeddings(self.foundation, info)

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        self.texts = {}
        known = self.pictures.of_shard(task.name) if self.pictures else None
        groups = self._groups(task, known)
        reading = prefetch(groups, self._decoded, threads=self.threads, ahead=self.threads)
        with closing(reading) as decoded:
            for group in decoded:
                yield from self._encoded(group, known)
        if known:
            known.save()

    def _groups(self, task: ShardTask, known: ShardFeatures | None) -> Iterator[list[Stored]]:
        """Yield samples in groups that are encoded together."""
        fitted = fitted_features(self.artifact, self.shards, task.name)
        group: list[Stored] = []
        pictures = 0
        for sample in self.shards.read(task.name):
            features = fitted.get(sample["__key__"])
            images = features.images if features else known.find(sample) if known else None
            group.append(Stored(sample, images, features.texts if features else None))
            pictures += max(1, len(view_names(sample)) if images is None else 0)
            if pictures >= _IMAGES_TOGETHER:
                yield group
                group, pictures = [], 0
        yield group

    def _decoded(self, group: list[Stored]) -> list[Decoded]:
        return [self._decode(stored) for stored in group]

    def _decode(self, stored: Stored) -> Decoded:
        sample = stored.sample
        is_new = stored.image_features is None
        views = composite_views(sample if is_new else {}, self.background)
        signals = {
            name: torch.from_numpy(decode_array(sample[teacher_file(name)]).copy())
            for name in self.teachers
        }
        told = SampleInfo.of(sample)
        if not self.foundation.has_text:  # nothing stands for a caption
            told = told.model_copy(update={"captions": ()})
        shown = composite_views(sample if self.config.token_views else {}, self.background)
        chosen = evenly(len(shown), self.config.token_views)
        return Decoded(stored, told, views, signals, shown[chosen])

    def _encoded(self, group: list[Decoded], known: ShardFeatures | None) -> Iterator[Sample]:
        # Embeddings of images [V, E] and captions [C, E] that the data set brought, if it did.
        ready = [self.ready.of(one.sample, one.info) for one in group]
        new = [
            one
            for one, brought in zip(group, ready, strict=True)
            if one.stored.text_features is None and brought is None
        ]
        with tf32(self.device):
            images = self._of_images(group, known)
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
            own = ready[number] or (of_images, self._of_texts(one))
            yield {
                "__key__": one.sample["__key__"],
                **signals,
                targets_file("image"): self._stored(own[0]),
                targets_file("text"): self._stored(own[1]),
                "json": one.info.encode(without={"licence", "creator"}),
            }

    def _of_images(self, group: list[Decoded], known: ShardFeatures | None) -> list[Tensor]:
        """Return the embeddings of each sample's views [V, E]."""
        foundation, views = self.foundation, [one.views for one in group]
        if known is None or not isinstance(foundation, LitFoundation):
            return self._by_sample(foundation.encode_image, views)
        features = self._by_sample(foundation.image_features, views)
        for one, encoded in zip(group, features, strict=True):
            if len(one.views):
                known.add(one.sample, encoded)
        found = [one.stored.image_features for one in group]
        both = [new if old is None else old for new, old in zip(features, found, strict=True)]
        # One by one: the size of a batch decides the last bits, and features that were found make
        # other batches than those that were encoded.
        return [
            foundation.project_images(rows.to(self.device)) if len(rows) else rows for rows in both
        ]

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
        features = one.stored.text_features
        if features is not None:
            assert isinstance(self.foundation, LitFoundation)
            return self.foundation.project_texts(features.to(self.device))
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

    def _stored(self, embeddings: Tensor) -> bytes:
        return encode_targets(embeddings, self.config.stored_as)


def evenly(count: int, wanted: int) -> list[int]:
    """Choose some of `count` numbers at even distances, all if there are no more."""
    most = min(count, wanted)
    return [index * count // most for index in range(most)]

"""embedding: embeds the labelled samples of a split, and collects their targets.

Axes: B samples, C captions in all, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.evaluation.step import STEP, EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array, targets_file
from pipelines.targets.step import kind_of_teacher
from pipelines.targets.stored import decode_targets
from vitlens_core import metrics, modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.text import TextEncoder
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import autocast


@dataclass(frozen=True)
class EmbeddedSplit:
    """The split's labelled samples and their embeddings."""

    keys: list[str]
    names: list[str]
    labels: list[str]
    groups: list[str]
    embeddings: np.ndarray  # [B, E] of the modality
    images: np.ndarray | None  # [B, E] mean image targets; None if a sample has no image
    texts: np.ndarray | None  # [C, E] of the distinct captions; None if a sample has none
    captions_of: list[list[int]]  # [B] indices of each sample's captions
    # [B, E] mean targets of each teacher, by name
    teacher_embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        """Every label once, sorted."""
        return sorted(set(self.labels))

    def label_ids(self, names: Sequence[str]) -> np.ndarray:
        """Return int [B]: the index of each sample's label among the classes."""
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[label] for label in self.labels])


def embed_split(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    tower: Tower,
    settings: TowerSettings,
    teachers: Collection[str] = (),
) -> EmbeddedSplit:
    """Embed the labelled samples of `config.split`.

    Args:
        teachers: names of the lenses that taught, whose targets are collected too.

    Raises:
        ConfigError: there are no such samples.
    """
    tower.to(runtime.resources.device)
    shards, collector = targets.shards(config.split), _SplitCollector(teachers)
    with runtime.progress(STEP.name, len(shards), "shards") as bar:
        for path in shards:
            known = labelled(targets.read(path))
            while batch := list(islice(known, config.batch_size)):
                embeddings = embed(tower, settings, [sample for sample, _ in batch])
                collector.add(batch, embeddings)
            bar.advance()
    if not collector.keys:
        raise ConfigError(
            f"no labelled objects in the {config.split!r} split; select more objects per class, "
            "or see which were quarantined"
        )
    return collector.whole()


def has_labels(targets: Artifact, split: str) -> bool:
    """Whether any sample of the split has a label."""
    read = (targets.read(path, only=("json",)) for path in targets.shards(split))
    return any(True for samples in read for _ in labelled(samples))


@torch.inference_mode()
def embed(tower: Tower, settings: TowerSettings, samples: Sequence[Sample]) -> np.ndarray:
    """Embed the samples' signals on the tower's device: [B, E], unit norm."""
    device = next(tower.parameters()).device
    file = modalities.load_lensed(settings.modality).signal_file
    signal, tokenizer = settings.signal_config, settings.tokenizer_config
    stored = torch.from_numpy(np.stack([decode_array(s[file]) for s in samples]))
    with autocast("auto", device):
        embedded = tower(tokenizer.prepare(stored, signal).to(device))
    return F.normalize(embedded.float(), dim=-1).cpu().numpy()


def class_embeddings(
    encoder: TextEncoder, names: Sequence[str], templates: tuple[str, ...]
) -> np.ndarray:
    """Embed classes, [K, E]: the mean over a class's prompts, normalised before and after."""
    prompts = [encoder.encode_text(class_prompts(name, templates)) for name in names]
    return metrics.class_embeddings(torch.stack(prompts).cpu().numpy())


def unit(vectors: np.ndarray) -> np.ndarray:
    """Normalise vectors [..., E] to unit norm."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class _SplitCollector:
    """Collects a few vectors of every sample, so that its signal need not stay in memory."""

    def __init__(self, teachers: Collection[str]) -> None:
        self.teachers = teachers
        self.keys: list[str] = []
        self.infos: list[SampleInfo] = []
        self.embeddings: list[np.ndarray] = []
        kinds = ("image", *map(kind_of_teacher, teachers))
        self.means: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        # Views of one object share its captions, so a caption is one item of the gallery. With a
        # copy per view, a sample's own copy would hardly ever be the nearest.
        self.texts: dict[str, np.ndarray] = {}

    def add(self, samples: Sequence[tuple[Sample, SampleInfo]], embeddings: np.ndarray) -> None:
        self.embeddings.append(embeddings)
        for sample, info in samples:
            self.keys.append(sample["__key__"])
            self.infos.append(info)
            for kind, means in self.means.items():
                file = targets_file(kind)
                if file in sample and len(targets := decode_targets(sample[file])):
                    means.append(unit(targets.mean(0)))
            texts = decode_targets(sample[targets_file("text")])
            self.texts.update(zip(info.captions, texts, strict=True))

    def whole(self) -> EmbeddedSplit:
        number = {caption: place for place, caption in enumerate(self.texts)}
        captions = [info.captions for info in self.infos]
        taught = {name: self._of_all(kind_of_teacher(name)) for name in self.teachers}
        return EmbeddedSplit(
            keys=self.keys,
            names=[info.name for info in self.infos],
            labels=[info.label or "" for info in self.infos],
            groups=[info.group for info in self.infos],
            embeddings=np.concatenate(self.embeddings),
            images=self._of_all("image"),
            texts=np.stack(list(self.texts.values())) if all(captions) else None,
            captions_of=[[number[caption] for caption in dict.fromkeys(own)] for own in captions],
            teacher_embeddings={name: e for name, e in taught.items() if e is not None},
        )

    def _of_all(self, kind: str) -> np.ndarray | None:
        """Return the means of a kind of targets [B, E], or None if a sample has none."""
        means = self.means[kind]
        return np.stack(means) if len(means) == len(self.keys) else None


def labelled(samples: Iterator[Sample]) -> Iterator[tuple[Sample, SampleInfo]]:
    """Yield the samples that have a label, with their records."""
    for sample in samples:
        info = SampleInfo.of(sample)
        if info.label:
            yield sample, info

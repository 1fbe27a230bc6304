"""features: computes frozen features of views and captions, and fits a `lit` foundation on them.

Axes: V views, C captions, Fi and Ft widths of image and text features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from upath import UPath

from pipelines.execution.bulk import write_shards
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, shard_sizes
from pipelines.foundation.picture_features import PictureFeatures, ShardFeatures
from pipelines.foundation.step import FoundationConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import FileEntry, write_atomic
from pipelines.store.shards import (
    Sample,
    decode_array,
    decode_png,
    encode_array,
    read_shard,
    view_names,
)
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.lit import LitFoundation, fit_projections
from vitlens_core.model_files import PROJECTIONS_FILE

_MOST_FITTED = 10_000  # samples whose features are in memory; two projections need no more


def fitted_features(foundation: Artifact, shards: Artifact, name: str) -> dict[str, Features]:
    """Return the features of a shard that `foundation` was fitted on, by key; else nothing."""
    path = foundation.path(f"{name}.tar")
    fitted_here = foundation.manifest.inputs.get("shards") == shards.fingerprint
    return _features(path) if fitted_here and path.exists() else {}


def composite_views(sample: Sample, background: int) -> torch.Tensor:
    """Return the sample's views, RGBA ones over a grey level: uint8 RGB [V, H, W, 3]."""
    names = view_names(sample)
    if not names:
        return torch.zeros(0, 1, 1, 3, dtype=torch.uint8)
    rgba = np.stack([decode_png(sample[name]) for name in names])
    if rgba.shape[-1] == 3:
        return torch.from_numpy(rgba)
    rgb, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return torch.from_numpy(((rgb * alpha + background * (255 - alpha)) // 255).astype(np.uint8))


@dataclass(frozen=True)
class Features:
    """Frozen features of one object: images [V, Fi], texts [C, Ft]."""

    images: torch.Tensor
    texts: torch.Tensor


class FeatureEncoder:
    """Frozen features of one shard's views and captions, before any projection."""

    def __init__(self, config: FoundationConfig, shards: Artifact, device: str = "cpu") -> None:
        foundation = load_foundation(config.spec, config.embed_dim, config.image_size_px)
        assert isinstance(foundation, LitFoundation)
        self.background = config.background
        self.shards = shards
        self.pictures = PictureFeatures(shards, foundation, self.background)
        self.foundation = foundation.to(device)

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        known = self.pictures.of_shard(task.name)
        for sample in self.shards.read(task.name):
            captions = SampleInfo.of(sample).captions
            if not view_names(sample) or not captions:
                continue  # not a pair to fit on; `targets` encodes such samples
            texts = self.foundation.text_features(list(captions))
            yield {
                "__key__": sample["__key__"],
                "image_features.npy": encode_array(self._images(sample, known).cpu().numpy()),
                "text_features.npy": encode_array(texts.cpu().numpy()),
            }
        known.save()

    def _images(self, sample: Sample, known: ShardFeatures) -> torch.Tensor:
        """Return the features of a sample's views [V, Fi]; only new pictures are encoded."""
        found = known.find(sample)
        if found is None:
            found = self.foundation.image_features(composite_views(sample, self.background))
            known.add(sample, found)
        return found


def fit(
    runtime: Runtime,
    build: Build,
    config: FoundationConfig,
    foundation: LitFoundation,
    shards: Artifact,
) -> list[FileEntry]:
    """Fit a foundation's projections on the training shards; return the artifact's files."""
    tasks = _fitted_on(shards)
    encoder = partial(FeatureEncoder, config, shards, runtime.resources.device)
    records = write_shards(runtime, build, tasks, encoder, encodes=True)
    images, texts, sample_ids = _read_features(build.folder, tasks)
    settings = config.fit
    with runtime.progress("fit", settings.steps, "steps") as bar:
        fit_projections(
            foundation.projections.requires_grad_(True),
            images,
            texts,
            sample_ids,
            settings,
            on_step=lambda step, loss: bar.at(step + 1, f"loss {loss:.3f}"),
        )
    foundation.freeze()
    state = foundation.projections.state_dict()
    projections = write_atomic(build.folder / PROJECTIONS_FILE, save_safetensors(state))
    return [record.file for record in records] + [projections]


def _fitted_on(shards: Artifact) -> list[ShardTask]:
    """Return tasks for the first training shards, up to some `_MOST_FITTED` samples."""
    tasks, samples = [], 0
    for name, size in zip(shards.shard_names("train"), shard_sizes(shards, "train"), strict=True):
        if samples < _MOST_FITTED:
            tasks.append(ShardTask(name))
            samples += size
    return tasks


def _read_features(
    folder: UPath, tasks: list[ShardTask]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read image features [P, V, Fi], text features [C, Ft] and the sample of each text [C].

    Raises:
        ConfigError: no sample has both, or samples differ in their number of images.
    """
    by_sample = [f for task in tasks for f in _features(folder / f"{task.name}.tar").values()]
    views = sorted({len(features.images) for features in by_sample})
    if len(views) != 1:
        raise ConfigError(
            "a `lit` foundation is fitted on training samples with captions and an equal number of "
            f"images; found {views or 'none'}. Share the foundation of another workflow "
            "(foundation_of in defs.yaml), or choose an open_clip foundation"
        )
    sample_ids = [number for number, features in enumerate(by_sample) for _ in features.texts]
    images = torch.stack([features.images for features in by_sample])
    return images, torch.cat([features.texts for features in by_sample]), torch.tensor(sample_ids)


def _features(path: UPath) -> dict[str, Features]:
    return {
        sample["__key__"]: Features(
            torch.from_numpy(decode_array(sample["image_features.npy"]).copy()),
            torch.from_numpy(decode_array(sample["text_features.npy"]).copy()),
        )
        for sample in read_shard(path)
    }

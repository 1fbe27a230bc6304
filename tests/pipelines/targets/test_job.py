"""targets: the foundation's own embeddings of every view and caption, beside the signal."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
import torch

from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardTask, read_record
from pipelines.foundation import job as foundation
from pipelines.foundation.features import composite_views
from pipelines.foundation.opening import open_foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array, read_shard, view_names
from pipelines.targets.encoder import TargetEncoder
from pipelines.targets.step import StoredAs, TargetsConfig
from pipelines.targets.stored import bytes_per_value, decode_targets, encode_targets
from vitlens_core.foundation.base import Foundation

# fp16 keeps 11 bits of numbers below 1.
TOLERANCE = 1e-3


def _expect(sample: Sample, stored: Sample, foundation: Foundation) -> None:
    described = json.loads(sample["json"])
    images = foundation.encode_image(composite_views(sample, 255)).numpy()
    texts = foundation.encode_text(described["captions"]).numpy()
    for name, embeddings in (("image_targets.npy", images), ("text_targets.npy", texts)):
        found = decode_array(stored[name])
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, embeddings, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(np.linalg.norm(found.astype(float), axis=1), 1, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["train-00000", "test-00000"])
def test_targets_are_the_foundations_embeddings(
    targets_artifact: Artifact, shards_artifact: Artifact, foundation_artifact: Artifact, name: str
) -> None:
    """Also where they come from the features the foundation was fitted on."""
    opened = open_foundation(foundation_artifact)
    pairs = zip(
        read_shard(shards_artifact.path(f"{name}.tar")),
        read_shard(targets_artifact.path(f"{name}.tar")),
        strict=True,
    )
    for sample, stored in pairs:
        _expect(sample, stored, opened)
        assert len(decode_array(stored["image_targets.npy"])) == len(view_names(sample))


def test_every_sample_keeps_its_shard_signal_and_annotations(
    targets_artifact: Artifact, shards_artifact: Artifact
) -> None:
    targets_artifact.verify()
    assert targets_artifact.manifest.counts == shards_artifact.manifest.counts
    for before, after in zip(shards_artifact.shards(), targets_artifact.shards(), strict=True):
        assert before.name == after.name
        for sample, stored in zip(read_shard(before), read_shard(after), strict=True):
            assert stored["__key__"] == sample["__key__"]
            assert stored["points.npy"] == sample["points.npy"]
            described = json.loads(sample["json"])
            kept = json.loads(stored["json"])
            assert kept == {
                k: described[k] for k in ("name", "label", "group", "split", "captions")
            }
        name = before.name.removesuffix(".tar")
        assert read_record(targets_artifact.folder, name).samples == len(list(read_shard(after)))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_open_clip_foundation_encodes_everything_itself(
    runtime: Runtime, shards_artifact: Artifact, tiny_open_clip: str, threads: int
) -> None:
    made = foundation.run(runtime, FoundationConfig(spec=tiny_open_clip), {}, shards_artifact)
    processor = TargetEncoder(TargetsConfig(), shards_artifact, made, "cpu", threads)
    samples = read_shard(shards_artifact.path("train-00000.tar"))
    for sample, stored in zip(samples, processor.samples(ShardTask("train-00000")), strict=True):
        _expect(sample, stored, open_foundation(made))


@pytest.mark.parametrize(("stored_as", "error"), [("fp16", 2**-11), ("fp32", 0.0)])
def test_targets_are_read_as_fp32_whatever_they_are_stored_as(
    stored_as: StoredAs, error: float
) -> None:
    """A float type keeps its own bits of numbers below 1."""
    embeddings = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    found = decode_targets(encode_targets(embeddings, stored_as))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, embeddings.numpy(), atol=error, rtol=0)


@pytest.mark.parametrize("stored_as", get_args(StoredAs))
def test_a_value_takes_the_bytes_that_are_planned(stored_as: StoredAs) -> None:
    one, three = (len(encode_targets(torch.zeros(n, 8), stored_as)) for n in (1, 3))
    assert three - one == 2 * 8 * bytes_per_value(stored_as)

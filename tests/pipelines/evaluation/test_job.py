"""evaluation: the figures of a run, against what they must be for a perfect and a blind lens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation import embedding
from pipelines.evaluation import job as evaluation
from pipelines.evaluation.classes import Classes
from pipelines.evaluation.embedding import EmbeddedSplit
from pipelines.evaluation.result import Supervision, read_predictions, read_result
from pipelines.evaluation.scoring import predict, score
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import decode_array, read_shard
from tests.pipelines import synthetic
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import ConfigError

BOTH = Supervision({"image": 1.0, "text": 1.0})


def _embedded(embeddings: np.ndarray | None = None) -> tuple[EmbeddedSplit, Classes]:
    """Six objects of three classes whose images lie on their class, two captions each."""
    rng = np.random.default_rng(0)
    names = ["car", "chair", "lamp"]
    classes = np.eye(3, 8)
    images = np.repeat(classes, 2, axis=0) + 0.1 * rng.normal(size=(6, 8))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts = np.repeat(images, 2, axis=0)
    return (
        EmbeddedSplit(
            keys=[f"k{i}" for i in range(6)],
            names=[f"object {i}" for i in range(6)],
            labels=[name for name in names for _ in range(2)],
            groups=[f"k{i}" for i in range(6)],
            embeddings=images if embeddings is None else embeddings,
            images=images,
            texts=texts,
            captions_of=[[2 * i, 2 * i + 1] for i in range(6)],
        ),
        Classes(names, classes),
    )


def test_a_lens_that_gives_the_image_targets_reaches_the_ceiling() -> None:
    split, classes = _embedded()
    found = score("point_cloud", EvaluationConfig(), split, classes, BOTH)
    assert found.zero_shot == found.foundation_image_zero_shot
    assert (found.zero_shot.top1.value, found.ratio_to_foundation) == (1, 1)
    assert found.times_chance == pytest.approx(3)
    assert found.confusion == ((2, 0, 0), (0, 2, 0), (0, 0, 2))
    # All of 6 are right: the exact interval has a width. R@10 of 6 images says nothing.
    recalls = found.retrieval["point_to_image"]
    assert recalls.r10 is None
    assert recalls.r1 == recalls.r5
    assert recalls.r1.low == pytest.approx(0.025 ** (1 / 6))


def test_a_lens_that_sees_nothing_scores_chance() -> None:
    split, classes = _embedded(np.tile(np.eye(1, 8), (6, 1)))
    found = score("point_cloud", EvaluationConfig(), split, classes, BOTH)
    assert found.zero_shot.top1.value == pytest.approx(1 / 3)
    assert found.ratio_to_foundation == pytest.approx(1 / 3)
    assert found.retrieval["point_to_image"].r1.value <= 1 / 6


def test_a_foundation_that_sees_nothing_does_not_divide_by_zero() -> None:
    split, classes = _embedded()
    assert split.images is not None
    blind = replace(split, images=-split.images)
    found = score("point_cloud", EvaluationConfig(), blind, classes, BOTH)
    assert found.ratio_to_foundation is not None
    assert np.isfinite(found.ratio_to_foundation)


def test_without_images_and_captions_what_needs_them_is_left_out() -> None:
    split, classes = _embedded()
    bare = replace(split, images=None, texts=None)
    found = score(
        "point_cloud", EvaluationConfig(), bare, classes, Supervision({"teacher_depth": 1.0})
    )
    assert found.retrieval == {}
    assert (found.foundation_image_zero_shot, found.ratio_to_foundation) == (None, None)
    assert found.emergent
    assert predict(bare, classes)[0].neighbours[0] == "k0"


def test_predictions_are_ranked_and_point_at_the_nearest_images() -> None:
    split, classes = _embedded()
    found = predict(split, classes)
    assert [prediction.key for prediction in found] == split.keys
    for prediction in found:
        assert prediction.predicted[0] == prediction.label
        assert sorted(prediction.predicted) == classes.names
        assert list(prediction.scores) == sorted(prediction.scores, reverse=True)
        assert prediction.neighbours[0] == prediction.key
        assert len(set(prediction.neighbours)) == 5


# --- of the flow ----------------------------------------------------------------------------


def test_the_held_out_objects_are_evaluated(
    evaluation_artifact: Artifact, targets_artifact: Artifact
) -> None:
    evaluation_artifact.verify()
    found = read_result(evaluation_artifact)
    keys = [s["__key__"] for path in targets_artifact.shards("test") for s in read_shard(path)]
    assert [prediction.key for prediction in read_predictions(evaluation_artifact)] == keys
    assert (found.modality, found.split) == ("point_cloud", "test")
    for scores in (found.zero_shot, found.foundation_image_zero_shot):
        assert scores is not None
        assert (scores.n, scores.chance) == (len(keys), pytest.approx(1 / 3))
    assert set(found.retrieval) == {"point_to_text", "point_to_image"}
    assert np.sum(found.confusion) == len(keys)
    assert found.classes == ("box", "chair", "table")
    assert found.supervision.kinds == ("image", "text")


def _again(
    folder: Path, artifacts: tuple[Artifact, Artifact, Artifact], **settings: Any
) -> Artifact:
    config = EvaluationConfig.model_validate(settings)
    return evaluation.run(quiet_runtime(folder), config, *artifacts)


@pytest.fixture
def inputs(
    targets_artifact: Artifact, foundation_artifact: Artifact, lens_artifact: Artifact
) -> tuple[Artifact, Artifact, Artifact]:
    return targets_artifact, foundation_artifact, lens_artifact


def test_neither_place_nor_batch_size_changes_a_figure(
    evaluation_artifact: Artifact, inputs: tuple[Artifact, Artifact, Artifact], tmp_path: Path
) -> None:
    again = _again(tmp_path / "there", inputs)
    assert again.fingerprint == evaluation_artifact.fingerprint
    assert again.manifest.files == evaluation_artifact.manifest.files
    one_by_one = _again(tmp_path / "there", inputs, batch_size=1)
    assert read_result(one_by_one) == read_result(again)


def test_tuning_has_a_split_of_its_own(
    inputs: tuple[Artifact, Artifact, Artifact], tmp_path: Path
) -> None:
    found = _again(tmp_path, inputs, split="val")
    keys = {s["__key__"] for path in inputs[0].shards("val") for s in read_shard(path)}
    assert {prediction.key for prediction in read_predictions(found)} == keys
    assert read_result(found).split == "val"


def test_the_ceiling_is_that_of_the_mean_view(
    evaluation_artifact: Artifact,
    inputs: tuple[Artifact, Artifact, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lens that gave exactly the mean of its object's views would reach it."""

    def perfect(tower: Any, settings: Any, samples: list[Any], *rest: Any) -> np.ndarray:
        views = [decode_array(s["image_targets.npy"]).astype(np.float32).mean(0) for s in samples]
        return np.stack([view / np.linalg.norm(view) for view in views])

    monkeypatch.setattr(embedding, "embed", perfect)
    found = read_result(_again(tmp_path, inputs))
    ceiling = read_result(evaluation_artifact).foundation_image_zero_shot
    assert found.zero_shot == found.foundation_image_zero_shot == ceiling
    assert found.retrieval["point_to_image"].r1.value == 1


def test_a_split_without_objects_is_refused(
    runtime: Runtime, inputs: tuple[Artifact, Artifact, Artifact]
) -> None:
    empty = synthetic.targets(runtime.store, {"train": (3,)})
    with pytest.raises(ConfigError, match="no labelled objects in the 'test' split"):
        evaluation.run(runtime, EvaluationConfig(), empty, *inputs[1:])

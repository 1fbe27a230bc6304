"""evaluation: the figures of a run, against what they must be for a perfect and a blind lens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation import job as evaluation
from pipelines.evaluation.job import Evaluated, predictions, score
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import decode_array, read_shard
from tests.pipelines import synthetic
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import ConfigError

FIGURES = {"top1", "top3", "top5", "class_mean", "chance", "ci95", "n"}


def _evaluated(embeddings: np.ndarray | None = None) -> tuple[Evaluated, list[str], np.ndarray]:
    """Six objects of three classes whose images lie on their class, two captions each."""
    rng = np.random.default_rng(0)
    names = ["car", "chair", "lamp"]
    classes = np.eye(3, 8)
    images = np.repeat(classes, 2, axis=0) + 0.1 * rng.normal(size=(6, 8))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts = np.repeat(images, 2, axis=0)
    return (
        Evaluated(
            keys=[f"k{i}" for i in range(6)],
            names=[f"object {i}" for i in range(6)],
            labels=[name for name in names for _ in range(2)],
            groups=[f"k{i}" for i in range(6)],
            embeddings=images if embeddings is None else embeddings,
            images=images,
            texts=texts,
            described_by=[[2 * i, 2 * i + 1] for i in range(6)],
        ),
        names,
        classes,
    )


def test_a_lens_that_gives_the_image_targets_reaches_the_ceiling() -> None:
    evaluated, names, classes = _evaluated()
    found = score("point_cloud", evaluated, names, classes, EvaluationConfig())
    assert found["zero_shot"] == found["foundation_image_zero_shot"]
    assert (found["zero_shot"]["top1"], found["ratio_to_foundation"]) == (1, 1)
    assert found["times_chance"] == pytest.approx(3)
    assert found["confusion"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    for ways in found["retrieval"].values():
        assert ways == {
            "r1": 1,
            "r5": 1,
            "r10": 1,
            "ci95": {k: [1, 1] for k in ("r1", "r5", "r10")},
        }


def test_a_lens_that_sees_nothing_scores_chance() -> None:
    evaluated, names, classes = _evaluated(np.tile(np.eye(1, 8), (6, 1)))
    found = score("point_cloud", evaluated, names, classes, EvaluationConfig())
    assert found["zero_shot"]["top1"] == pytest.approx(1 / 3)
    assert found["ratio_to_foundation"] == pytest.approx(1 / 3)
    assert found["retrieval"]["point_to_image"]["r1"] <= 1 / 6


def test_a_foundation_that_sees_nothing_does_not_divide_by_zero() -> None:
    evaluated, names, classes = _evaluated()
    assert evaluated.images is not None
    blind = replace(evaluated, images=-evaluated.images)
    found = score("point_cloud", blind, names, classes, EvaluationConfig())
    assert np.isfinite(found["ratio_to_foundation"])


def test_predictions_are_ranked_and_point_at_the_nearest_images() -> None:
    evaluated, names, classes = _evaluated()
    found = predictions(evaluated, names, classes)
    assert [p["key"] for p in found] == evaluated.keys
    for entry in found:
        assert entry["predicted"][0] == entry["label"]
        assert sorted(entry["predicted"]) == names
        assert entry["scores"] == sorted(entry["scores"], reverse=True)
        assert entry["neighbours"][0] == entry["key"]
        assert len(set(entry["neighbours"])) == 5


# --- of the flow ----------------------------------------------------------------------------


def test_the_held_out_objects_are_evaluated(
    evaluation_artifact: Artifact, targets_artifact: Artifact
) -> None:
    evaluation_artifact.verify()
    found = evaluation_artifact.read_json("metrics.json")
    keys = [s["__key__"] for path in targets_artifact.shards("test") for s in read_shard(path)]
    assert [p["key"] for p in evaluation_artifact.read_json("predictions.json")] == keys
    assert (found["modality"], found["split"]) == ("point_cloud", "test")
    for figures in (found["zero_shot"], found["foundation_image_zero_shot"]):
        assert set(figures) == FIGURES
        assert (figures["n"], figures["chance"]) == (len(keys), pytest.approx(1 / 3))
    assert set(found["retrieval"]) == {"point_to_text", "point_to_image"}
    assert np.sum(found["confusion"]) == len(keys)
    assert found["classes"] == ["box", "chair", "table"]


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
    assert one_by_one.read_json("metrics.json") == again.read_json("metrics.json")


def test_tuning_has_a_split_of_its_own(
    inputs: tuple[Artifact, Artifact, Artifact], tmp_path: Path
) -> None:
    found = _again(tmp_path, inputs, split="val")
    keys = {s["__key__"] for path in inputs[0].shards("val") for s in read_shard(path)}
    assert {p["key"] for p in found.read_json("predictions.json")} == keys
    assert found.read_json("metrics.json")["split"] == "val"


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

    monkeypatch.setattr(evaluation, "embed", perfect)
    found = _again(tmp_path, inputs).read_json("metrics.json")
    ceiling = evaluation_artifact.read_json("metrics.json")["foundation_image_zero_shot"]
    assert found["zero_shot"] == found["foundation_image_zero_shot"] == ceiling
    assert found["retrieval"]["point_to_image"]["r1"] == 1


def test_a_split_without_objects_is_refused(
    runtime: Runtime, inputs: tuple[Artifact, Artifact, Artifact]
) -> None:
    empty = synthetic.targets(runtime.store, {"train": (3,)})
    with pytest.raises(ConfigError, match="no labelled objects in the 'test' split"):
        evaluation.run(runtime, EvaluationConfig(), empty, *inputs[1:])

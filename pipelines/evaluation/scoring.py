"""scoring: an embedded split against classes, captions and images.

Axes: B samples, C captions in all, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.embedding import EmbeddedSplit
from pipelines.evaluation.result import (
    Calibration,
    EvaluationResult,
    Prediction,
    Recalls,
    Scores,
    Supervision,
)
from pipelines.evaluation.step import EvaluationConfig
from vitlens_core import metrics, modalities
from vitlens_core.metrics import Bootstrap

_BLOCK = 1024  # samples that are compared with all others at a time


@dataclass(frozen=True)
class Classes:
    """The classes that samples are held against."""

    names: list[str]
    embeddings: np.ndarray  # [K, E]


def bootstrap_of(config: EvaluationConfig, split: EmbeddedSplit) -> Bootstrap:
    """How the intervals of a split's figures are drawn."""
    return Bootstrap(config.resamples, config.seed, split.groups)


def score(
    modality: str,
    config: EvaluationConfig,
    split: EmbeddedSplit,
    classes: Classes,
    supervision: Supervision,
    calibration: Calibration | None = None,
) -> EvaluationResult:
    """Everything in `metrics.json`."""
    label_ids, bootstrap = split.label_ids(classes.names), bootstrap_of(config, split)

    def classified(embeddings: np.ndarray) -> metrics.ZeroShot:
        return metrics.zero_shot(embeddings, classes.embeddings, label_ids, bootstrap)

    own = classified(split.embeddings)
    taught_by, images = split.teacher_embeddings, split.images
    ceiling = None if images is None else classified(images)
    return EvaluationResult(
        modality=modality,
        split=config.split,
        classes=tuple(classes.names),
        zero_shot=Scores.of(own),
        times_chance=own.top1.value / own.chance,
        retrieval=_retrieval(modalities.load(modality).metric_prefix, split, bootstrap),
        supervision=supervision,
        emergent=supervision.text is None,
        teacher_zero_shot=None if taught_by is None else Scores.of(classified(taught_by)),
        foundation_image_zero_shot=None if ceiling is None else Scores.of(ceiling),
        ratio_to_foundation=None if ceiling is None else _ratio(own, ceiling),
        calibration=calibration,
        confusion=tuple(map(tuple, own.confusion.tolist())),
    )


def predict(split: EmbeddedSplit, classes: Classes) -> tuple[Prediction, ...]:
    """Per sample: its five best classes, and the five samples whose images lie nearest.

    Without images nearness is that of the modality's own embeddings.
    """
    scores = split.embeddings @ classes.embeddings.T
    gallery = split.embeddings if split.images is None else split.images
    nearest = _nearest(split.embeddings, gallery)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    right = hits(split, classes)
    return tuple(
        Prediction(
            key=split.keys[i],
            group=split.groups[i],
            name=split.names[i],
            label=split.labels[i],
            correct=bool(right[i]),
            predicted=tuple(classes.names[k] for k in best[i]),
            scores=tuple(round(float(scores[i, k]), 4) for k in best[i]),
            neighbours=tuple(split.keys[k] for k in nearest[i]),
        )
        for i in range(len(split.keys))
    )


def hits(split: EmbeddedSplit, classes: Classes) -> np.ndarray:
    """bool [B]: whether a sample's nearest class is its own."""
    label_ids = split.label_ids(classes.names)
    return metrics.ranks(split.embeddings, classes.embeddings, label_ids) == 0


def _ratio(own: metrics.ZeroShot, ceiling: metrics.ZeroShot) -> float:
    # A foundation below chance is no ceiling: nothing would pass a gate more easily.
    return own.top1.value / max(ceiling.top1.value, own.chance)


def _retrieval(prefix: str, split: EmbeddedSplit, bootstrap: Bootstrap) -> dict[str, Recalls]:
    """Recalls of the sample's own captions and of its own image, where there are any."""
    count, found = len(split.keys), {}

    def recalls(gallery: np.ndarray, own: Sequence[Sequence[int]]) -> Recalls:
        return Recalls(**metrics.retrieval(split.embeddings, gallery, own, bootstrap))

    if split.texts is not None:
        found[f"{prefix}_to_text"] = recalls(split.texts, split.captions_of)
    if split.images is not None:
        found[f"{prefix}_to_image"] = recalls(split.images, [[number] for number in range(count)])
    return found


def _nearest(embeddings: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """[B, 5]: the numbers of the nearest items, in blocks that fit into memory."""
    most, found = min(5, len(gallery)), []
    for start in range(0, len(embeddings), _BLOCK):
        distances = -embeddings[start : start + _BLOCK] @ gallery.T
        some = np.argpartition(distances, most - 1, axis=1)[:, :most]
        order = np.argsort(np.take_along_axis(distances, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)

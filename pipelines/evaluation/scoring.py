"""scoring: scores an embedded split against classes, captions and images.

Axes: B samples, C captions in all, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation.classes import Classes
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

_BLOCK = 1024  # samples compared with all others at a time, to bound memory


def bootstrap_of(config: EvaluationConfig, split: EmbeddedSplit) -> Bootstrap:
    """Return the bootstrap of a split's figures, which resamples whole groups."""
    return Bootstrap(config.resamples, config.seed, split.groups)


def score(
    modality: str,
    config: EvaluationConfig,
    split: EmbeddedSplit,
    classes: Classes,
    supervision: Supervision,
    calibration: Calibration | None = None,
) -> EvaluationResult:
    """Compute everything in `metrics.json`."""
    label_ids, bootstrap = split.label_ids(classes.names), bootstrap_of(config, split)

    def classified(embeddings: np.ndarray) -> metrics.ZeroShot:
        return metrics.zero_shot(embeddings, classes.embeddings, label_ids, bootstrap)

    scores = classified(split.embeddings)
    images = split.images
    ceiling = None if images is None else classified(images)
    return EvaluationResult(
        modality=modality,
        split=config.split,
        classes=tuple(classes.names),
        zero_shot=Scores.of(scores),
        times_chance=scores.top1.value / scores.chance,
        retrieval=_retrieval(modalities.load(modality).metric_prefix, split, bootstrap),
        supervision=supervision,
        classes_by=classes.by,
        emergent=classes.by == "words" and "text" not in supervision.root,
        teacher_zero_shot={
            name: Scores.of(classified(embeddings))
            for name, embeddings in split.teacher_embeddings.items()
        },
        foundation_image_zero_shot=None if ceiling is None else Scores.of(ceiling),
        ratio_to_foundation=None if ceiling is None else _ratio(scores, ceiling),
        calibration=calibration,
        confusion=tuple(map(tuple, scores.confusion.tolist())),
    )


def predict(split: EmbeddedSplit, classes: Classes) -> tuple[Prediction, ...]:
    """Return each sample's five best classes, and the five samples with the nearest images.

    Without images, the modality's own embeddings are compared instead.
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
    """Return bool [B]: whether a sample's nearest class is its own."""
    label_ids = split.label_ids(classes.names)
    return metrics.ranks(split.embeddings, classes.embeddings, label_ids) == 0


def _ratio(own: metrics.ZeroShot, ceiling: metrics.ZeroShot) -> float:
    # Chance as the least ceiling: a foundation below it would make the gate easy to pass.
    return own.top1.value / max(ceiling.top1.value, own.chance)


def _retrieval(prefix: str, split: EmbeddedSplit, bootstrap: Bootstrap) -> dict[str, Recalls]:
    """Compute the recall of each sample's own captions and own image, if there are any."""
    count, by_way = len(split.keys), {}

    def recalls(gallery: np.ndarray, own: Sequence[Sequence[int]]) -> Recalls:
        found = metrics.retrieval(split.embeddings, gallery, own, bootstrap)
        # Among as many as there are, every item is found.
        told = {n: figure for n, figure in found.items() if n == "r1" or int(n[1:]) < len(gallery)}
        return Recalls(**told)

    if split.texts is not None:
        by_way[f"{prefix}_to_text"] = recalls(split.texts, split.captions_of)
    if split.images is not None:
        by_way[f"{prefix}_to_image"] = recalls(split.images, [[number] for number in range(count)])
    return by_way


def _nearest(embeddings: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the indices of the nearest items [B, 5], computed in blocks that fit into memory."""
    most, blocks = min(5, len(gallery)), []
    for start in range(0, len(embeddings), _BLOCK):
        distances = -embeddings[start : start + _BLOCK] @ gallery.T
        some = np.argpartition(distances, most - 1, axis=1)[:, :most]
        order = np.argsort(np.take_along_axis(distances, some, axis=1), axis=1, kind="stable")
        blocks.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(blocks)

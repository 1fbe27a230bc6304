"""Zero-shot, retrieval and calibration metrics with intervals; a paired comparison.

Axes: B samples, K classes, M gallery items, E embedding. Embeddings are unit norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitlens_core.errors import InputError
from vitlens_core.intervals import FEW_GROUPS, Bootstrap, Draws, Floats, Interval, Ints

# Queries whose similarities are in memory at a time: those of a large split do not fit.
_BLOCK = 1024


@dataclass(frozen=True)
class ZeroShot:
    """Top-k accuracies, mean of per-class accuracies, and the confusion matrix [K, K].

    A top-k over all K classes is always 1, and left out (None).
    """

    top1: Interval
    top3: Interval | None
    top5: Interval | None
    class_mean: Interval
    chance: float
    n: int
    groups: int
    confusion: Ints


_EACH_SAMPLE = Bootstrap()


def class_embeddings(prompt_embeddings: Floats) -> Floats:
    """Average unit-norm [K, prompts, E] over prompts and normalise again, [K, E] (CLIP)."""
    mean = prompt_embeddings.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def zero_shot(
    embeddings: Floats,
    classes: Floats,
    labels: Ints,
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> ZeroShot:
    """Classify [B, E] by the nearest of [K, E] and compare with labels [B] in 0..K-1.

    Ties count as errors: a model that scores all classes alike is never right.

    Raises:
        InputError: no samples, shapes that do not fit, NaN, or labels out of range.
    """
    scores = _scores(embeddings, classes, labels)
    rank = _ranks(scores, labels)
    draws = bootstrap.draws(len(labels))
    correct = rank == 0
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
    return ZeroShot(
        top1=draws.share(correct),
        top3=draws.share(rank < 3) if len(classes) > 3 else None,
        top5=draws.share(rank < 5) if len(classes) > 5 else None,
        class_mean=_class_mean_interval(correct, labels, draws),
        chance=1 / len(classes),
        n=len(labels),
        groups=draws.groups,
        confusion=confusion,
    )


def ranks(embeddings: Floats, classes: Floats, labels: Ints) -> Ints:
    """Count the other classes of [K, E] at least as near to each of [B, E] as its own, [B].

    Raises:
        InputError: no samples, shapes that do not fit, NaN, or labels out of range.
    """
    return _ranks(_scores(embeddings, classes, labels), labels)


def _scores(embeddings: Floats, classes: Floats, labels: Ints) -> Floats:
    """Check the labels and compute the similarities [B, K]."""
    if not len(embeddings) or len(embeddings) != len(labels):
        raise InputError(f"{len(embeddings)} embeddings for {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise InputError(f"labels must lie in 0..{len(classes) - 1}")
    return _similarities(embeddings, classes)


def _ranks(scores: Floats, labels: Ints) -> Ints:
    of_label = scores[np.arange(len(labels)), labels]
    # ≥ lets ties count against; the 1 is the label's own score, which equals itself.
    return (scores >= of_label[:, None]).sum(axis=1) - 1


def paired_difference(
    hits: NDArray[np.bool_],
    others: NDArray[np.bool_],
    confidence: float,
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> tuple[float, float]:
    """Compute the mean of hits − others on the same B samples, and its one-sided lower bound.

    Args:
        hits, others: [B] which samples two models got right.
        confidence: of the bound, such as 0.95 (paired bootstrap; over few groups, Student's t).

    Raises:
        InputError: no samples, or unequal numbers of them.
    """
    if not len(hits) or hits.shape != others.shape:
        raise InputError(
            f"expected two results on the same samples, found {hits.shape} and {others.shape}"
        )
    # As integers: numpy does not subtract booleans.
    differences = hits.astype(np.int64) - others
    bound = bootstrap.draws(len(hits)).lower_bound(
        lambda times: times @ differences / times.sum(axis=1), confidence
    )
    return float(differences.mean()), max(-1.0, bound)


def retrieval(
    queries: Floats,
    gallery: Floats,
    relevant: NDArray[np.bool_] | Sequence[Sequence[int]],
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> dict[str, Interval]:
    """Compute R@1/5/10: the share of queries [B, E] with a relevant item among their nearest k.

    Args:
        gallery: [M, E].
        relevant: a mask [B, M], or (where M is large) the indices of each query's items; at least
            one item per query.

    Raises:
        InputError: shapes that do not fit, NaN, or a query without a relevant item.
    """
    items = [np.flatnonzero(row) if _is_mask(row) else np.asarray(row) for row in relevant]
    misshapen = isinstance(relevant, np.ndarray) and relevant.shape != (len(queries), len(gallery))
    if misshapen or len(items) != len(queries) or not all(map(len, items)):
        raise InputError("every query needs a relevant item in the gallery")
    starts = range(0, len(queries), _BLOCK)
    blocks = (slice(start, start + _BLOCK) for start in starts)
    ahead = np.concatenate([_ahead(queries[rows], gallery, items[rows]) for rows in blocks])
    draws = bootstrap.draws(len(queries))
    return {f"r{k}": draws.share(ahead < k) for k in (1, 5, 10)}


def mean_over_runs(
    hits: NDArray[np.bool_ | np.number],
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> Interval:
    """Compute the mean of hits [S, B] of S runs (with different draws, say) on the same B samples.

    The interval resamples both: the runs, and the groups of samples.

    Raises:
        InputError: the hits are not [S, B] with at least one run and one sample.
    """
    if hits.ndim != 2 or not hits.size:
        raise InputError(f"expected hits [runs, samples], found {list(hits.shape)}")
    runs, count = hits.shape
    draws = bootstrap.draws(count)
    if draws.groups < FEW_GROUPS:
        return draws.share(hits.mean(axis=0))
    of_run = draws.times @ hits.T / draws.times.sum(axis=1, keepdims=True)
    # A stream of its own: with the seed alone, runs would be drawn by the groups' numbers.
    rng = np.random.default_rng([bootstrap.seed, runs])
    times = rng.multinomial(runs, [1 / runs] * runs, bootstrap.resamples)
    return _interval(float(hits.mean()), (times * of_run).sum(axis=1) / runs)


def softmax(logits: Floats) -> Floats:
    """Compute the softmax over the last axis, in float64."""
    # Without its maximum a row of large logits would overflow.
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def expected_calibration_error(
    probabilities: Floats,
    labels: Ints,
    bootstrap: Bootstrap = _EACH_SAMPLE,
    bins: int = 15,
) -> Interval:
    """Compute the mean gap of confidence and accuracy over equal bins (Guo et al. 2017).

    Args:
        probabilities: [B, K], rows summing to 1; the largest is the confidence.
        labels: [B] in 0..K-1.

    Raises:
        InputError: no samples, shapes that do not fit, or rows that are not probabilities.
    """
    _check_labels(probabilities, labels)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise InputError("expected probabilities [B, K] of 0 and above, rows summing to 1")
    confidence = probabilities.max(axis=1).astype(np.float64)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    # Bins are closed above; a confidence of 0 belongs to the first.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    in_bin = np.eye(bins)[place] * gap[:, None]
    return bootstrap.draws(len(labels)).interval(
        lambda times: np.abs(times @ in_bin).sum(axis=1) / times.sum(axis=1)
    )


def fit_temperature(scores: Floats, labels: Ints) -> float:
    """Find the T in 1e-4..1e4 that makes the labels likeliest under softmax(scores / T).

    Args:
        scores: [B, K] of held-out validation samples, not of the samples that are then measured.
        labels: [B] in 0..K-1.

    The negative log-likelihood is convex in 1/T, so its slope is bisected. It has no minimum if
    every sample is right (then T is the lower bound) or if the scores are worse than chance (then
    T is the upper bound).

    Raises:
        InputError: no samples, shapes that do not fit, or NaN.
    """
    _check_labels(scores, labels)
    # float64: with 1/T up to 1e4, logits in fp32 would keep three decimals.
    scores = scores.astype(np.float64)
    of_label = scores[np.arange(len(labels)), labels]
    low, high = np.log(1e-4), np.log(1e4)  # of 1/T
    # 60 halvings narrow the interval to the last bit of a float64.
    for _ in range(60):
        middle = (low + high) / 2
        logits = np.exp(middle) * scores
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = (weights * scores).sum(axis=1) / weights.sum(axis=1)
        low, high = (middle, high) if (expected - of_label).mean() <= 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def _check_labels(scores: Floats, labels: Ints) -> None:
    if scores.ndim != 2 or not len(scores) or len(scores) != len(labels):
        raise InputError(f"{list(scores.shape)} scores for {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(f"labels must lie in 0..{scores.shape[1] - 1}")
    if not np.isfinite(scores).all():
        raise InputError("scores hold NaN or infinite numbers; the model that made them is broken")


def _is_mask(row: Sequence[int] | NDArray) -> bool:
    return isinstance(row, np.ndarray) and row.dtype == bool


def _ahead(queries: Floats, gallery: Floats, items: Sequence[Ints]) -> Ints:
    """Count the irrelevant items at least as near as each query's nearest relevant one, [B]."""
    scores = _similarities(queries, gallery)
    best = np.array([row[own].max() for row, own in zip(scores, items, strict=True)])
    # Relevant items that tie with the best are no wrong answers.
    tied = [(row[own] >= top).sum() for row, own, top in zip(scores, items, best, strict=True)]
    return (scores >= best[:, None]).sum(axis=1) - np.array(tied)


def _similarities(embeddings: Floats, others: Floats) -> Floats:
    scores = embeddings @ others.T
    # Every comparison with NaN is false, so a broken model would rank first.
    if not np.isfinite(scores).all():
        raise InputError(
            "embeddings hold NaN or infinite numbers; the model that made them is broken"
        )
    return scores


def _class_mean_interval(correct: NDArray[np.bool_], labels: Ints, draws: Draws) -> Interval:
    if correct.all() or not correct.any():
        return draws.share(correct)
    of_class = np.eye(labels.max() + 1)[labels]

    def class_means(times: Ints) -> Floats:
        """[R, B] → [R]: mean over the classes that have a sample in the resample."""
        totals, hits = times @ of_class, times @ (of_class * correct[:, None])
        shares = np.divide(hits, totals, out=np.zeros_like(hits), where=totals > 0)
        return shares.sum(axis=1) / (totals > 0).sum(axis=1)

    return draws.interval(class_means)


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))

"""Zero-shot, retrieval and calibration metrics with bootstrap intervals; two models compared.

Axes: B samples, K classes, M gallery items, E embedding. Embeddings are unit norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitlens_core.errors import InputError

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


_BLOCK = 1024  # queries whose similarities are in memory at a time


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ZeroShot:
    """Top-k accuracies, mean of per-class accuracies, and the confusion matrix [K, K]."""

    top1: Interval
    top3: Interval
    top5: Interval
    class_mean: Interval
    chance: float
    n: int
    confusion: Ints


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals of figures over B samples are drawn.

    Attributes:
        groups: [B] what each sample belongs to (an object, a subject). Samples of one group are
            not independent, so whole groups are resampled. Each sample is its own if not given.
    """

    resamples: int = 2000
    seed: int = 0
    groups: Sequence[str] | None = None

    def of(self, groups: Sequence[str]) -> Bootstrap:
        """The same over samples of these groups [B]."""
        return replace(self, groups=groups)

    def draws(self, count: int) -> Ints:
        """[R, count] how often each sample counts when as many groups as there are are drawn."""
        _, own = np.unique(np.asarray(self.groups or range(count)), return_inverse=True)
        groups = int(own.max()) + 1
        drawn = np.random.default_rng(self.seed).integers(groups, size=(self.resamples, groups))
        return np.stack([np.bincount(row, minlength=groups) for row in drawn])[:, own]


_EACH_SAMPLE = Bootstrap()


def class_embeddings(prompt_embeddings: Floats) -> Floats:
    """[K, prompts, E] unit-norm → [K, E]: averaged over prompts, normalised again (CLIP)."""
    mean = prompt_embeddings.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def zero_shot(
    embeddings: Floats,
    classes: Floats,
    labels: Ints,
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> ZeroShot:
    """Classify [B, E] by the nearest of [K, E] and compare with labels [B] in 0..K-1.

    Ties count against: a constant model scores chance.

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
        top1=_mean_interval(correct, draws),
        top3=_mean_interval(rank < 3, draws),
        top5=_mean_interval(rank < 5, draws),
        class_mean=_class_mean_interval(correct, labels, draws),
        chance=1 / len(classes),
        n=len(labels),
        confusion=confusion,
    )


def ranks(embeddings: Floats, classes: Floats, labels: Ints) -> Ints:
    """[B]: how many classes [K, E] lie at least as near to each of [B, E] as its own.

    Raises:
        InputError: no samples, shapes that do not fit, NaN, or labels out of range.
    """
    return _ranks(_scores(embeddings, classes, labels), labels)


def _scores(embeddings: Floats, classes: Floats, labels: Ints) -> Floats:
    """Similarities [B, K], once it is known that the labels fit them."""
    if not len(embeddings) or len(embeddings) != len(labels):
        raise InputError(f"{len(embeddings)} embeddings for {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise InputError(f"labels must lie in 0..{len(classes) - 1}")
    return _similarities(embeddings, classes)


def _ranks(scores: Floats, labels: Ints) -> Ints:
    own = scores[np.arange(len(labels)), labels]
    return (scores >= own[:, None]).sum(axis=1) - 1


def paired_difference(
    hits: NDArray[np.bool_],
    others: NDArray[np.bool_],
    confidence: float,
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> tuple[float, float]:
    """Mean of hits − others on the same B samples, and its one-sided lower bound.

    Args:
        hits, others: [B] what two models got right.
        confidence: that the difference lies above the bound, such as 0.95 (paired bootstrap).

    Raises:
        InputError: no samples, or not the same number.
    """
    if not len(hits) or hits.shape != others.shape:
        raise InputError(f"expected two results of the same samples: {hits.shape}, {others.shape}")
    differences = hits.astype(np.int64) - others
    draws = bootstrap.draws(len(hits))
    resampled = draws @ differences / draws.sum(axis=1)
    return float(differences.mean()), float(np.quantile(resampled, 1 - confidence))


def retrieval(
    queries: Floats,
    gallery: Floats,
    relevant: NDArray[np.bool_] | Sequence[Sequence[int]],
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> dict[str, Interval]:
    """R@1/5/10: the share of queries [B, E] with a relevant item among their nearest k.

    Args:
        gallery: [M, E].
        relevant: [B, M], or per query the numbers of its items, where M is large; at least
            one item per query.

    Raises:
        InputError: shapes that do not fit, NaN, or a query without a relevant item.
    """
    owned = [np.flatnonzero(own) if _is_mask(own) else np.asarray(own) for own in relevant]
    is_mask = isinstance(relevant, np.ndarray) and relevant.shape != (len(queries), len(gallery))
    if is_mask or len(owned) != len(queries) or not all(map(len, owned)):
        raise InputError("every query needs a relevant item in the gallery")
    # In blocks: all similarities of a large split do not fit into memory.
    starts = range(0, len(queries), _BLOCK)
    blocks = (slice(start, start + _BLOCK) for start in starts)
    ahead = np.concatenate([_ahead(queries[rows], gallery, owned[rows]) for rows in blocks])
    draws = bootstrap.draws(len(queries))
    return {f"r{k}": _mean_interval(ahead < k, draws) for k in (1, 5, 10)}


def mean_over_runs(
    hits: NDArray[np.bool_ | np.number],
    bootstrap: Bootstrap = _EACH_SAMPLE,
) -> Interval:
    """Mean of [S, B]: how S runs (of other draws, say) did on the same B samples.

    The interval draws both anew: which runs, and the groups of samples.

    Raises:
        InputError: not [S, B] with a run and a sample.
    """
    if hits.ndim != 2 or not hits.size:
        raise InputError(f"expected hits [runs, samples], found {list(hits.shape)}")
    runs, count = hits.shape
    draws = bootstrap.draws(count)
    of_run = draws @ hits.T / draws.sum(axis=1, keepdims=True)
    rng = np.random.default_rng([bootstrap.seed, runs])
    times = rng.multinomial(runs, [1 / runs] * runs, bootstrap.resamples)
    return _interval(float(hits.mean()), (times * of_run).sum(axis=1) / runs)


def softmax(logits: Floats) -> Floats:
    """Over the last axis, in float64."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def expected_calibration_error(
    probabilities: Floats,
    labels: Ints,
    bootstrap: Bootstrap = _EACH_SAMPLE,
    bins: int = 15,
) -> Interval:
    """How far confidence is from accuracy, over equal bins of confidence (Guo et al. 2017).

    Args:
        probabilities: [B, K], rows summing to 1; the largest is the confidence.
        labels: [B] in 0..K-1.

    Raises:
        InputError: no samples, shapes that do not fit, or rows that are no probabilities.
    """
    _check_labels(probabilities, labels)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise InputError("expected probabilities [B, K] of 0 and above, rows summing to 1")
    confidence = probabilities.max(axis=1).astype(np.float64)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    in_bin = np.eye(bins)[place] * gap[:, None]
    draws = bootstrap.draws(len(labels))
    value = float(np.abs(in_bin.sum(axis=0)).sum() / len(labels))
    return _interval(value, np.abs(draws @ in_bin).sum(axis=1) / draws.sum(axis=1))


def fit_temperature(scores: Floats, labels: Ints) -> float:
    """The T above 0 that makes softmax(scores / T) likeliest, between 1e-4 and 1e4.

    Args:
        scores: [B, K] of held-out validation samples: not those that are then measured.
        labels: [B] in 0..K-1.

    The negative log-likelihood is convex in 1/T: its slope is bisected. It has no minimum where
    every sample is right (T is the lower bound) or scores tell less than nothing (the upper).

    Raises:
        InputError: no samples, shapes that do not fit, or NaN.
    """
    _check_labels(scores, labels)
    scores = scores.astype(np.float64)
    own = scores[np.arange(len(labels)), labels]
    low, high = np.log(1e-4), np.log(1e4)  # of 1/T
    for _ in range(60):
        middle = (low + high) / 2
        logits = np.exp(middle) * scores
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = (weights * scores).sum(axis=1) / weights.sum(axis=1)
        low, high = (middle, high) if (expected - own).mean() <= 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def _check_labels(scores: Floats, labels: Ints) -> None:
    if scores.ndim != 2 or not len(scores) or len(scores) != len(labels):
        raise InputError(f"{list(scores.shape)} scores for {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(f"labels must lie in 0..{scores.shape[1] - 1}")
    if not np.isfinite(scores).all():
        raise InputError("scores hold NaN or infinite numbers; the model that made them broke")


def _is_mask(own: Sequence[int] | NDArray) -> bool:
    return isinstance(own, np.ndarray) and own.dtype == bool


def _ahead(queries: Floats, gallery: Floats, owned: Sequence[Ints]) -> Ints:
    """[B]: how many items that are not a query's own lie at least as near as its nearest own."""
    scores = _similarities(queries, gallery)
    best = np.array([row[own].max() for row, own in zip(scores, owned, strict=True)])
    mine = [(row[own] >= top).sum() for row, own, top in zip(scores, owned, best, strict=True)]
    return (scores >= best[:, None]).sum(axis=1) - np.array(mine)


def _similarities(embeddings: Floats, others: Floats) -> Floats:
    scores = embeddings @ others.T
    # Every comparison with NaN is false: a broken model would rank first.
    if not np.isfinite(scores).all():
        raise InputError("embeddings hold NaN or infinite numbers; the model that made them broke")
    return scores


def _mean_interval(hits: NDArray[np.bool_], draws: Ints) -> Interval:
    return _interval(float(hits.mean()), draws @ hits / draws.sum(axis=1))


def _class_mean_interval(correct: NDArray[np.bool_], labels: Ints, draws: Ints) -> Interval:
    of_class = np.eye(labels.max() + 1)[labels]

    def class_means(times: Ints) -> Floats:
        """[R, B] → [R]: mean over the classes that were drawn at all."""
        totals, hits = times @ of_class, times @ (of_class * correct[:, None])
        shares = np.divide(hits, totals, out=np.zeros_like(hits), where=totals > 0)
        return shares.sum(axis=1) / (totals > 0).sum(axis=1)

    whole = np.ones((1, len(labels)), dtype=draws.dtype)
    return _interval(float(class_means(whole)[0]), class_means(draws))


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))

"""protocols: computes figures from the embeddings of a benchmark.

    zero-shot        the nearest class embedding is the prediction
    mAP              of several labels: average precision of each class, averaged
    retrieval        caption → recording, and back
    few-shot         the nearest mean of k labelled recordings of a class
    linear probe     logistic regression on frozen embeddings
    calibration      error of softmax confidences, before and after fitting a temperature

Each returns `Figure`s with 95 % intervals that resample whole groups.

Axes: B recordings, C captions, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.benchmarks.embedded import Embedded, of_classes
from vitlens_core import metrics
from vitlens_core.metrics import Bootstrap, Interval

_MAP_RESAMPLES = 100  # each takes some 2 s over AudioSet's 527 classes


@dataclass(frozen=True)
class Figure:
    """One value of a table.

    Attributes:
        kind: "zero-shot", "4-shot", …
        metric: "top1", "map", "text_to_audio_r1", …
        n: number of recordings, or captions.
        chance: the value of guessing; None if that has no meaning.
        with_text: whether text is compared with; not so for few-shot and linear probe.
    """

    kind: str
    metric: str
    interval: Interval
    n: int
    chance: float | None
    notes: tuple[str, ...] = ()
    with_text: bool = True


def zero_shot(
    scores: np.ndarray, labels: np.ndarray, groups: Sequence[str], bootstrap: Bootstrap
) -> list[Figure]:
    """Compute top-1/3/5 and class mean of scores [B, K] for labels [B].

    A top-k over all K classes is left out, as it is always 1.
    """
    count = scores.shape[1]
    # Compared with the unit vectors, scores stay scores; so the metric takes them unchanged.
    result = metrics.zero_shot(
        scores, np.eye(count, dtype=scores.dtype), labels, bootstrap.of(groups)
    )
    by_k = {1: result.top1, 3: result.top3, 5: result.top5}
    figures = [
        Figure("zero-shot", f"top{k}", interval, result.n, k / count)
        for k, interval in by_k.items()
        if interval is not None
    ]
    return [*figures, Figure("zero-shot", "class_mean", result.class_mean, result.n, result.chance)]


def merged(scores: np.ndarray, labels_of_classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Merge scores [B, K] of fine classes to scores [B, M] of labels: the best of each label."""
    names = list(dict.fromkeys(labels_of_classes))
    label_of = np.array([names.index(label) for label in labels_of_classes])
    best = [scores[:, label_of == place].max(axis=1) for place in range(len(names))]
    return np.stack(best, axis=1), names


def mean_average_precision(
    scores: np.ndarray, relevant: np.ndarray, groups: Sequence[str], bootstrap: Bootstrap
) -> list[Figure]:
    """Compute mAP of scores [B, K] for relevant bool [B, K].

    Classes without a positive are left out. Its interval has 100 resamples at most, since each is
    a whole mAP.
    """
    present = relevant.any(axis=0)
    scores, relevant = scores[:, present], relevant[:, present]
    value = _map(scores, relevant, np.ones(len(scores)))
    few = replace(bootstrap.of(groups), resamples=min(bootstrap.resamples, _MAP_RESAMPLES))
    draws = few.draws(len(scores)).times
    # A draw that has no positive at all has no mAP.
    resampled = [_map(scores, relevant, draw) for draw in draws if (draw @ relevant).any()]
    low, high = np.percentile(resampled or [value], [2.5, 97.5])
    absent = int((~present).sum())
    notes = (f"{absent} classes have no recording and are left out",) if absent else ()
    chance = float(relevant.mean(axis=0).mean())
    interval = Interval(value, float(low), float(high))
    return [Figure("zero-shot", "map", interval, len(scores), chance, notes)]


def _map(scores: np.ndarray, relevant: np.ndarray, times: np.ndarray) -> float:
    """Compute mAP with each recording counted `times` often, over classes with a positive."""
    from sklearn.metrics import average_precision_score  # late: takes seconds

    drawn = times @ relevant > 0
    precisions = [
        average_precision_score(relevant[:, k], scores[:, k], sample_weight=times)
        for k in np.flatnonzero(drawn)
    ]
    return float(np.mean(precisions))


def retrieval(
    embedded: Embedded, captions: np.ndarray, word: str, bootstrap: Bootstrap
) -> list[Figure]:
    """Compute R@1/5/10 of captions → recordings and back.

    Args:
        captions: embeddings [C, E] of `distinct_captions`.
        word: name of a recording in metrics ("audio").
    """
    distinct, belongs = distinct_captions(embedded)
    # A caption of several recordings counts with the group of the first.
    first = [int(belongs[place].argmax()) for place in range(len(distinct))]
    caption_groups = [embedded.groups[recording] for recording in first]
    ways = (
        (f"text_to_{word}", captions, embedded.embeddings, belongs, caption_groups),
        (f"{word}_to_text", embedded.embeddings, captions, belongs.T, embedded.groups),
    )
    figures = []
    for name, queries, gallery, relevant, groups in ways:
        recalls = metrics.retrieval(queries, gallery, relevant, bootstrap.of(groups))
        figures += [
            Figure(
                "retrieval", f"{name}_{k}", interval, len(queries), by_luck(relevant, int(k[1:]))
            )
            for k, interval in recalls.items()
        ]
    return figures


def distinct_captions(embedded: Embedded) -> tuple[list[str], np.ndarray]:
    """Return the distinct captions, and bool [C, B]: whether a caption is a recording's."""
    distinct = list(dict.fromkeys(text for texts in embedded.texts for text in texts))
    places = {text: index for index, text in enumerate(distinct)}
    belongs = np.zeros((len(distinct), len(embedded)), dtype=bool)
    for recording, texts in enumerate(embedded.texts):
        belongs[[places[text] for text in texts], recording] = True
    return distinct, belongs


def by_luck(relevant: np.ndarray, k: int) -> float:
    """Return R@k of a random order of the gallery, for relevant bool [queries, gallery]."""
    gallery = relevant.shape[1]
    wrong = gallery - relevant.sum(axis=1)
    # Probability that the first k items, drawn without replacement, are all wrong.
    missed = np.ones(len(relevant))
    for drawn in range(min(k, gallery)):
        missed *= np.clip(wrong - drawn, 0, None) / (gallery - drawn)
    return float(1 - missed.mean())


def few_shot(
    support: Embedded, query: Embedded, shots: Sequence[int], draws: int, bootstrap: Bootstrap
) -> list[Figure]:
    """Compute k-shot top-1 with the nearest prototype: the normalised mean of k recordings.

    It is the mean over `draws` seeded draws of the k recordings, which the interval resamples too.
    A k is left out if a class of `query` has fewer recordings.

    Source: Snell et al., NeurIPS 2017, on frozen embeddings.
    """
    classes = sorted({labels[0] for labels in query.labels})
    pools = {
        name: [i for i, labels in enumerate(support.labels) if labels[0] == name]
        for name in classes
    }
    labels = of_classes(query, classes)
    figures = []
    for k in shots:
        if min(map(len, pools.values())) < k:
            continue
        rng = np.random.default_rng([bootstrap.seed, k])
        hits = np.stack(
            [
                (query.embeddings @ _prototypes(support, pools, k, rng).T).argmax(axis=1) == labels
                for _ in range(draws)
            ]
        )
        interval = metrics.mean_over_runs(hits, bootstrap.of(query.groups))
        figures.append(
            Figure(
                f"{k}-shot",
                "top1",
                interval,
                len(query),
                1 / len(classes),
                (f"mean of {draws} draws",),
                with_text=False,
            )
        )
    return figures


def _prototypes(
    support: Embedded, pools: dict[str, list[int]], k: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the prototypes [K, E] of one draw."""
    drawn = [rng.choice(pool, k, replace=False) for pool in pools.values()]
    means = np.stack([support.embeddings[places].mean(axis=0) for places in drawn])
    return means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)


def linear_probe(
    support: Embedded, query: Embedded, strength: float, bootstrap: Bootstrap
) -> list[Figure]:
    """Compute top-1 of a logistic regression on standardised embeddings of the support.

    Args:
        strength: inverse of the L2 penalty, fixed beforehand, so that nothing is tuned on `query`.
    """
    from sklearn.linear_model import LogisticRegression  # late: takes seconds
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = sorted({labels[0] for labels in (*support.labels, *query.labels)})
    known = of_classes(support, classes)
    if len(set(known.tolist())) < 2:
        return []
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    probe.fit(support.embeddings, known)
    hits = probe.predict(query.embeddings) == of_classes(query, classes)
    interval = metrics.mean_over_runs(hits[None], bootstrap.of(query.groups))
    note = f"on {len(support)} recordings"
    chance = 1 / len(classes)
    return [Figure("linear probe", "top1", interval, len(query), chance, (note,), with_text=False)]


def calibration(
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    groups: Sequence[str],
    temperature: float,
    bootstrap: Bootstrap,
) -> list[Figure]:
    """Compute the expected calibration error of softmax(cosine / T) on `test`.

    There are two figures: with the model's temperature, and with one fitted on `validation`.

    Args:
        validation, test: scores [B, K] and labels [B] of recordings that share no group.
        groups: groups of `test`.
        temperature: the model's own temperature.
    """
    fitted = metrics.fit_temperature(*validation)
    scores, labels = test
    figures = []
    for metric, used in (("ece", temperature), ("ece_fitted", fitted)):
        interval = metrics.expected_calibration_error(
            metrics.softmax(scores / used), labels, bootstrap.of(groups)
        )
        notes = (f"temperature {used:.4g}",)
        figures.append(Figure("calibration", metric, interval, len(labels), None, notes))
    return figures

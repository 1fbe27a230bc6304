"""arithmetic: measures whether a recording of one thing plus the word for another finds both.

Definition. Let a and b be two classes, and the gallery all recordings with two or more labels.
The query is normalise(x + t): x is the embedding of a recording whose only label is a, t the class
embedding (mean of prompts) of b, both of unit norm. A recording of the gallery is relevant if it is
labelled a and b. There is one query for each ordered pair (a, b) for which the gallery has a
relevant recording and some recording has the label a alone; x is drawn by seed. R@1/5/10 is the
share of queries with a relevant recording among the nearest k. The same queries are scored with x
alone and with t alone: composition helps if the sum is above both.

No recording is both in the gallery and in a query. Intervals resample unordered pairs {a, b}.

Source: the idea, with pictures found by a picture and a sound, is from ImageBind (arXiv 2305.05665)
§4.4, which shows examples without scores; the definition is ours.

Axes: B recordings, Q queries, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.benchmarks.embedded import Embedded
from pipelines.benchmarks.protocols import Figure, by_luck
from vitlens_core import metrics
from vitlens_core.metrics import Bootstrap

KIND = "embedding arithmetic"


@dataclass(frozen=True)
class Queries:
    """The queries: indices of x among the recordings and of b among the classes, and the pairs."""

    recordings: list[int]
    words: list[int]
    pairs: list[str]
    relevant: np.ndarray  # bool [Q, gallery]


def composed(
    embedded: Embedded, classes: Sequence[str], class_embeddings: np.ndarray, bootstrap: Bootstrap
) -> list[Figure]:
    """Compute the figures defined above; there are none if no pair of classes can be queried.

    Args:
        class_embeddings: embeddings [K, E] of `classes`.
    """
    gallery = [i for i, labels in enumerate(embedded.labels) if len(labels) > 1]
    asked = queries(embedded.labels, gallery, classes, bootstrap.seed)
    if not asked.recordings:
        return []
    x, t = embedded.embeddings[asked.recordings], class_embeddings[asked.words]
    fused = (x + t) / np.linalg.norm(x + t, axis=1, keepdims=True).clip(1e-12)
    figures = []
    for name, vectors in (("composed", fused), ("recording_alone", x), ("text_alone", t)):
        recalls = metrics.retrieval(
            vectors, embedded.embeddings[gallery], asked.relevant, bootstrap.of(asked.pairs)
        )
        figures += [
            Figure(
                KIND,
                f"{name}_{k}",
                interval,
                len(asked.pairs),
                by_luck(asked.relevant, int(k[1:])),
            )
            for k, interval in recalls.items()
        ]
    return figures


def queries(
    labels: Sequence[tuple[str, ...]], gallery: Sequence[int], classes: Sequence[str], seed: int
) -> Queries:
    """Return a query for every possible ordered pair, in the order of the classes."""
    alone: dict[str, list[int]] = {}
    for place, own in enumerate(labels):
        if len(own) == 1:
            alone.setdefault(own[0], []).append(place)
    sets = [set(labels[place]) for place in gallery]
    together = {(a, b) for own in sets for a in own for b in own if a != b and a in alone}
    rng = np.random.default_rng(seed)
    order = {name: place for place, name in enumerate(classes)}
    recordings, words, pairs, relevant = [], [], [], []
    for a, b in sorted(together, key=lambda pair: (order[pair[0]], order[pair[1]])):
        recordings.append(int(rng.choice(alone[a])))
        words.append(order[b])
        pairs.append(" + ".join(sorted((a, b))))
        relevant.append([{a, b} <= own for own in sets])
    return Queries(recordings, words, pairs, np.array(relevant, dtype=bool))

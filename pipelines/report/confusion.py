"""confusion: what is taken for what, at a size people can read.

Reads     the confusion matrix of `metrics.json`: rows are true classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEGIBLE = 40  # classes a matrix shows before it keeps the most confused ones only
_PAIRS = 10


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, or the part of it where most confusions lie."""

    labels: list[str]
    counts: list[list[int]]
    totals: list[int]  # objects of each class, those outside of the part included
    classes: int  # how many there are in all


@dataclass(frozen=True)
class Pair:
    """Objects of one class taken for another."""

    true: str
    predicted: str
    count: int
    total: int


def matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> Matrix:
    """All classes where they are legible, else those most involved in confusions."""
    counts = np.asarray(confusion)
    wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-wrong, kind="stable")[:LEGIBLE])
    return Matrix(
        labels=[classes[k] for k in kept],
        counts=counts[np.ix_(kept, kept)].tolist(),
        totals=counts.sum(1)[kept].tolist(),
        classes=len(classes),
    )


def most_frequent(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Pair]:
    """The confusions of most objects, most first; up to ten."""
    counts = np.asarray(confusion)
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [
        Pair(classes[row], classes[column], int(wrong[row, column]), int(counts[row].sum()))
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column]
    ]

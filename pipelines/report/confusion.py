"""confusion: reduces the confusion matrix to a readable size.

Reads     the confusion matrix of `metrics.json`: rows are true classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEGIBLE = 40  # most classes of a shown matrix; with more, only the most confused are shown
_PAIRS = 10


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, or the part of it where most confusions lie."""

    labels: list[str]
    counts: list[list[int]]
    totals: list[int]  # objects of each class, including those outside the part
    classes: int  # number of all classes


@dataclass(frozen=True)
class Pair:
    """Objects of one class taken for another."""

    true: str
    predicted: str
    count: int
    total: int


def matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> Matrix:
    """Return all classes if they are legible, or else those with the most confusions."""
    counts = np.asarray(confusion)
    wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-wrong, kind="stable")[:LEGIBLE])
    return Matrix(
        labels=[classes[k] for k in shown],
        counts=counts[np.ix_(shown, shown)].tolist(),
        totals=counts.sum(1)[shown].tolist(),
        classes=len(classes),
    )


def most_frequent(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Pair]:
    """Return up to ten confusions with the most objects, most first."""
    counts = np.asarray(confusion)
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [
        Pair(classes[row], classes[column], int(wrong[row, column]), int(counts[row].sum()))
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column]
    ]
